//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// TestClients lets clients that others wrote look at a local AWS while a deployment goes on there: the
// AWS CLI, boto3, crane, docker and curl.
func TestClients(t *testing.T) {
	need(t, "aws")
	w := newTeam(t)
	first := w.commitAndPush("v1.0.0")
	w.slipway("deploy", "qa", "--image", "v1.0.0")
	second := w.commitAndPush("v2.0.0")

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var said strings.Builder
	deploy := command(ctx, w.work, w.env, slipway, "deploy", "qa", "--image", "v2.0.0")
	deploy.Stdout, deploy.Stderr = &said, &said
	if err := deploy.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, 60*time.Second, "the second deployment begins", func() (bool, string) {
		s := w.service()
		return s != nil && len(s.Deployments) > 1, said.String()
	})
	group := aws.ToString(w.service().LoadBalancers[0].TargetGroupArn)

	t.Run("while it goes on", func(t *testing.T) {
		t.Run("aws", func(t *testing.T) { w.on(t).awsCLI(group, first, second) })
		t.Run("boto3", func(t *testing.T) { w.on(t).boto3(group, second) })
		t.Run("crane", func(t *testing.T) { w.on(t).crane(second) })
		t.Run("docker", func(t *testing.T) { w.on(t).docker(second) })
		t.Run("curl", func(t *testing.T) { w.on(t).curl() })
	})
	if err := deploy.Wait(); err != nil {
		t.Fatalf("the deployment: %v\n%s", err, said.String())
	}
	w.settled(second, "v2.0.0")
}

// on is the team as a subtest sees it.
func (w *team) on(t *testing.T) *team {
	sub := *w
	sub.t = t
	return &sub
}

// aws runs the AWS CLI and decodes what it prints.
func (w *team) aws(into any, args ...string) {
	w.t.Helper()
	r := runCommand(w.t, time.Minute, w.tmp, w.env, "aws", append(args, "--output", "json")...)
	if r.code != 0 {
		w.t.Fatalf("aws %s: %s", strings.Join(args, " "), r)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(r.stdout), into); err != nil {
			w.t.Fatalf("aws %s: %v in %s", strings.Join(args, " "), err, r.stdout)
		}
	}
}

func (w *team) awsCLI(group, first, second string) {
	t := w.t
	var services struct {
		Services []struct {
			Status       string
			DesiredCount int
			Deployments  []struct{ Status, RolloutState string }
		}
		Failures []any
	}
	w.aws(&services, "ecs", "describe-services", "--cluster", clusterName, "--services", serviceName)
	if len(services.Services) != 1 || len(services.Failures) != 0 || services.Services[0].Status != "ACTIVE" || services.Services[0].DesiredCount != 2 || len(services.Services[0].Deployments) == 0 || services.Services[0].Deployments[0].Status != "PRIMARY" {
		t.Errorf("ecs describe-services: %+v", services)
	}
	var images struct {
		ImageDetails []struct {
			ImageDigest string
			ImageTags   []string
		}
	}
	w.aws(&images, "ecr", "describe-images", "--repository-name", "iplookup")
	tags := map[string]string{}
	for _, i := range images.ImageDetails {
		for _, tag := range i.ImageTags {
			tags[tag] = i.ImageDigest
		}
	}
	if tags["v1.0.0"] != first || tags["v2.0.0"] != second || tags["latest"] != second {
		t.Errorf("ecr describe-images: %v; v1 is %s, v2 is %s", tags, first, second)
	}
	var health struct {
		TargetHealthDescriptions []struct{ TargetHealth struct{ State string } }
	}
	w.aws(&health, "elbv2", "describe-target-health", "--target-group-arn", group)
	healthy := 0
	for _, h := range health.TargetHealthDescriptions {
		if h.TargetHealth.State == "healthy" {
			healthy++
		}
	}
	if healthy == 0 {
		t.Errorf("elbv2 describe-target-health, in the middle of a rolling deployment: nothing is healthy: %+v", health)
	}
	w.aws(nil, "ecs", "wait", "services-stable", "--cluster", clusterName, "--services", serviceName)
	w.aws(nil, "elbv2", "wait", "target-in-service", "--target-group-arn", group)
}

const boto3Script = `
import sys, boto3
cluster, service, group, digest = sys.argv[1:]
ecs, ecr, elb = boto3.client("ecs"), boto3.client("ecr"), boto3.client("elbv2")
found = ecs.describe_services(cluster=cluster, services=[service])
assert not found["failures"] and found["services"][0]["desiredCount"] == 2, found
images = {i["imageDigest"]: i for i in ecr.describe_images(repositoryName="iplookup")["imageDetails"]}
assert "v2.0.0" in images[digest]["imageTags"] and images[digest]["imageSizeInBytes"] > 0, images
health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
assert any(h["TargetHealth"]["State"] == "healthy" for h in health), health
ecs.get_waiter("services_stable").wait(cluster=cluster, services=[service], WaiterConfig={"Delay": 1, "MaxAttempts": 90})
after = ecs.describe_services(cluster=cluster, services=[service])["services"][0]
assert len(after["deployments"]) == 1 and after["runningCount"] == after["desiredCount"], after
try:
    ecs.describe_services(cluster="none", services=[service])
    raise AssertionError("a cluster that is not there was found")
except ecs.exceptions.ClusterNotFoundException:
    print("ok")
`

func (w *team) boto3(group, digest string) {
	python := need(w.t, "python3")
	if exec.Command(python, "-c", "import boto3").Run() != nil {
		missing(w.t, "python3 has no boto3")
	}
	r := runCommand(w.t, 2*time.Minute, w.tmp, w.env, python, "-c", boto3Script, clusterName, serviceName, group, digest)
	if r.code != 0 || !strings.HasSuffix(r.stdout, "ok\n") {
		w.t.Error(r)
	}
}

// crane pulls by tag and by digest, with the password that ECR gives.
func (w *team) crane(digest string) {
	t := w.t
	crane := filepath.Join(w.tmp, "crane")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if r := runCommand(t, 2*time.Minute, here, os.Environ(), "go", "build", "-o", crane, "github.com/google/go-containerregistry/cmd/crane"); r.code != 0 {
		t.Fatalf("building crane: %s", r)
	}
	host := strings.TrimPrefix(w.endpoint, "http://")
	env := append(w.env, "DOCKER_CONFIG="+filepath.Join(w.tmp, "docker"))
	login := command(t.Context(), w.tmp, env, crane, "auth", "login", host, "-u", "AWS", "--password-stdin")
	login.Stdin = strings.NewReader(w.password())
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("crane auth login: %v\n%s", err, out)
	}
	if r := runCommand(t, time.Minute, w.tmp, env, crane, "digest", host+"/iplookup:v2.0.0"); strings.TrimSpace(r.stdout) != digest {
		t.Errorf("crane digest: %s, not %s", r, digest)
	}
	for _, ref := range []string{":v2.0.0", "@" + digest} {
		tar := filepath.Join(w.tmp, "image.tar")
		r := runCommand(t, time.Minute, w.tmp, env, crane, "pull", host+"/iplookup"+ref, tar)
		if info, err := os.Stat(tar); r.code != 0 || err != nil || info.Size() < 1<<20 {
			t.Errorf("crane pull %s: %s (%v)", ref, r, err)
		}
	}
	if r := runCommand(t, time.Minute, w.tmp, env, crane, "validate", "--remote", host+"/iplookup@"+digest); r.code != 0 {
		t.Errorf("crane validate: %s", r)
	}
}

// password is what 'docker login' is given.
func (w *team) password() string {
	r := runCommand(w.t, time.Minute, w.tmp, w.env, "aws", "ecr", "get-login-password")
	if r.code != 0 {
		w.t.Fatalf("aws ecr get-login-password: %s", r)
	}
	return strings.TrimSpace(r.stdout)
}

func (w *team) docker(digest string) {
	t := w.t
	docker := need(t, "docker")
	if r := runCommand(t, time.Minute, w.tmp, os.Environ(), docker, "version", "--format", "{{.Server.Version}}"); r.code != 0 {
		missing(t, "no Docker engine answers: %s", strings.TrimSpace(r.stderr))
	}
	host := strings.TrimPrefix(w.endpoint, "http://")
	env := append(os.Environ(), "DOCKER_CONFIG="+filepath.Join(w.tmp, "docker-engine"))
	login := command(t.Context(), w.tmp, env, docker, "login", host, "-u", "AWS", "--password-stdin")
	login.Stdin = strings.NewReader(w.password())
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("docker login: %v\n%s", err, out)
	}
	ref := host + "/iplookup@" + digest
	t.Cleanup(func() {
		_ = command(context.WithoutCancel(t.Context()), w.tmp, env, docker, "image", "rm", ref, host+"/iplookup:v2.0.0").Run() // it may not have got there
	})
	for _, ref := range []string{host + "/iplookup:v2.0.0", ref} {
		if r := runCommand(t, 2*time.Minute, w.tmp, env, docker, "pull", ref); r.code != 0 || !strings.Contains(r.stdout, digest) {
			t.Errorf("docker pull %s: %s", ref, r)
		}
	}
}

func (w *team) curl() {
	r := runCommand(w.t, time.Minute, w.tmp, w.env, need(w.t, "curl"), "-fsS", "-m", "10", "-i", w.url+"/")
	if r.code != 0 || !strings.HasPrefix(r.stdout, "HTTP/1.1 200") || !strings.Contains(r.stdout, `"version":"v`) {
		w.t.Errorf("curl: %s", r)
	}
}
