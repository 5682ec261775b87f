//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/slipway-ecs/slipway/examples"
	"github.com/slipway-ecs/slipway/internal/tfexec"
)

// team is what a team has: a local AWS with its state on disk, a cluster on it that Terraform made,
// and a service with a git history.
type team struct {
	t        *testing.T
	tmp      string   // TMPDIR of all it starts
	state    string   // --dir of the local AWS
	flags    []string // of its start
	work     string   // the service's folder
	port     int
	endpoint string
	url      string // of the service
	env      []string
	ecs      *ecs.Client
	ecr      *ecr.Client
	elb      *elb.Client
	ssm      *ssm.Client
}

const clusterName, serviceName = "demo", "iplookup-qa"

const definition = `service: iplookup
build: { ko: . }
test: { command: [go, version] }
cluster: demo
container:
  port: 8080
  cpu: 64
  memory: 64
route:
  listener: qa
  paths: ["/*"]
  health: { path: /healthz, interval: 5s, timeout: 2s }
  deregistration_delay: 5s
environments:
  qa: { count: 2 }
`

const platform = `terraform {
  required_providers {
    slipway = { source = "slipway/slipway" }
  }
}
resource "slipway_cluster" "demo" {
  name      = "demo"
  instances = { type = "t3.small", min = 2, max = 2 }
  balancer  = { listeners = { qa = { port = 8080 }, prod = { port = 9090 } } }
}
resource "slipway_repository" "iplookup" { name = "iplookup" }
output "urls" { value = slipway_cluster.demo.urls }
`

// newTeam starts a local AWS, with these flags, and makes the cluster. Everything ends with the test.
func newTeam(t *testing.T, flags ...string) *team {
	t.Helper()
	needSandbox(t)
	need(t, "git")
	before := bridges(t)
	w := &team{t: t, tmp: t.TempDir(), port: freePort(t), flags: flags}
	w.endpoint = "http://127.0.0.1:" + strconv.Itoa(w.port)
	w.state, w.work = filepath.Join(w.tmp, "aws"), filepath.Join(w.tmp, "iplookup")
	w.env = environment(w.tmp, "AWS_ENDPOINT_URL="+w.endpoint, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=local", "AWS_SECRET_ACCESS_KEY=local", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=",
		"SLIPWAY_BY=e2e@example.com", "XDG_CACHE_HOME="+cacheHome(t))
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &w.endpoint, Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")}
	w.ecs, w.ecr, w.elb = ecs.NewFromConfig(cfg), ecr.NewFromConfig(cfg), elb.NewFromConfig(cfg)
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	w.ssm = ssm.NewFromConfig(cfg)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if out, err := command(ctx, w.tmp, w.env, slipway, "local", "down", "--dir", w.state, "--purge").CombinedOutput(); err != nil {
			t.Errorf("ending the local AWS: %v\n%s", err, out)
		}
		nothingLeft(t, w.tmp, before)
	})
	w.up()
	w.makePlatform()
	if err := os.CopyFS(w.tmp, examples.IPLookup); err != nil {
		t.Fatal(err)
	}
	w.write("slipway.yaml", definition)
	w.write("go.mod", "module iplookup\n\ngo 1.24\n")
	w.git("init", "-q", "-b", "main")
	return w
}

// cacheHome is where an OpenTofu that was built once is found again.
func cacheHome(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (w *team) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.work, name), []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

func (w *team) git(args ...string) {
	w.t.Helper()
	env := append(slices.Clone(w.env), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Dev", "GIT_AUTHOR_EMAIL=dev@example.com", "GIT_COMMITTER_NAME=Dev", "GIT_COMMITTER_EMAIL=dev@example.com")
	if r := runCommand(w.t, time.Minute, w.work, env, "git", args...); r.code != 0 {
		w.t.Fatalf("git %v: %s", args, r)
	}
}

// slipway runs a command in the service's folder; it must end well.
func (w *team) slipway(args ...string) result {
	w.t.Helper()
	r := runCommand(w.t, 3*time.Minute, w.work, w.env, slipway, args...)
	if r.code != 0 {
		w.t.Fatalf("slipway %s: %s", strings.Join(args, " "), r)
	}
	return r
}

// up starts the local AWS on its state and port.
func (w *team) up() {
	w.t.Helper()
	r := runCommand(w.t, time.Minute, w.tmp, w.env, slipway, append([]string{"local", "up", "--dir", w.state, "--port", strconv.Itoa(w.port), "--runtime", "sandbox"}, w.flags...)...)
	if r.code != 0 {
		w.t.Fatal(r)
	}
}

// kill ends the local AWS as a crash does, and waits until it is gone.
func (w *team) kill() {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.state, "running.json"))
	var running struct{ PID int }
	if err == nil {
		err = json.Unmarshal(data, &running)
	}
	if err == nil {
		err = syscall.Kill(running.PID, syscall.SIGKILL)
	}
	if err != nil {
		w.t.Fatalf("killing the local AWS: %v", err)
	}
	until(w.t, 10*time.Second, "the killed process ends", func() (bool, string) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", running.PID))
		return err != nil || strings.Contains(string(stat), ") Z "), string(stat)
	})
}

func (w *team) makePlatform() {
	w.t.Helper()
	dir := filepath.Join(w.tmp, "platform")
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(platform), 0o644); err != nil {
		w.t.Fatal(err)
	}
	if r := runCommand(w.t, time.Minute, w.tmp, w.env, slipway, "provider", "install", "--dir", filepath.Join(w.tmp, "plugins")); r.code != 0 {
		w.t.Fatal(r)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 15*time.Minute) // OpenTofu may have to be built
	defer cancel()
	tool, err := tfexec.Find(ctx, tfexec.Options{Progress: func(line string) { w.t.Log(line) }})
	if err != nil {
		w.t.Fatal(err)
	}
	r := tfexec.Runner{Tool: tool, Dir: dir, Env: w.env, ConfigFile: filepath.Join(w.tmp, "plugins", "terraform.rc")}
	if err = r.Init(ctx); err == nil {
		_, err = r.Plan(ctx, "plan", tfexec.PlanOptions{})
	}
	if err == nil {
		_, err = r.Apply(ctx, "plan")
	}
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := r.Output(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	urls, _ := out["urls"].Value.(map[string]any)
	if w.url, _ = urls["qa"].(string); w.url == "" {
		w.t.Fatalf("the cluster has no URL: %v", urls)
	}
}

// commitAndPush makes a commit with a tag and pushes its image; it returns the digest. The program takes
// two seconds to start, so that a deployment has a middle.
func (w *team) commitAndPush(tag string) string {
	w.t.Helper()
	w.write("release.go", "package main\n\nimport \"time\"\n\nfunc init() {\n\tversion = \""+tag+"\"\n\ttime.Sleep(2 * time.Second)\n}\n")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", tag)
	w.git("tag", tag)
	r := w.slipway("push", "--json")
	for line := range strings.Lines(r.stdout) {
		var e event
		if json.Unmarshal([]byte(line), &e) == nil && e.Event == "pushed" {
			return e.Data["digest"].(string)
		}
	}
	w.t.Fatalf("no image was pushed: %s", r)
	return ""
}

// service is what ECS says of the service; nil where it is not there or nothing answers.
func (w *team) service() *ecstypes.Service {
	out, err := w.ecs.DescribeServices(w.t.Context(), &ecs.DescribeServicesInput{Cluster: aws.String(clusterName), Services: []string{serviceName}})
	if err != nil || len(out.Services) == 0 || aws.ToString(out.Services[0].Status) != "ACTIVE" {
		return nil
	}
	return &out.Services[0]
}

// tasks are the service's tasks, also those that are being stopped.
func (w *team) tasks() []ecstypes.Task {
	var arns []string
	for _, desired := range []ecstypes.DesiredStatus{ecstypes.DesiredStatusRunning, ecstypes.DesiredStatusStopped} {
		out, err := w.ecs.ListTasks(w.t.Context(), &ecs.ListTasksInput{Cluster: aws.String(clusterName), ServiceName: aws.String(serviceName), DesiredStatus: desired})
		if err == nil {
			arns = append(arns, out.TaskArns...)
		}
	}
	if len(arns) == 0 {
		return nil
	}
	out, err := w.ecs.DescribeTasks(w.t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String(clusterName), Tasks: arns[:min(len(arns), 100)]})
	if err != nil {
		return nil
	}
	return out.Tasks
}

// answers gets the service's URL n times; each must be answered, by this release.
func (w *team) answers(n int, release string) {
	w.t.Helper()
	client := &http.Client{Timeout: 5 * time.Second}
	for range n {
		resp, err := client.Get(w.url)
		if err != nil {
			w.t.Fatalf("traffic through the balancer: %v", err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"version":"`+release+`"`) {
			w.t.Fatalf("traffic through the balancer: %s %s (%v), not of %s", resp.Status, body, err, release)
		}
	}
}

// settled waits until the last deployment has ended well, and checks that all AWS says fits together:
// the service, its tasks, the instances they are on, and the targets.
func (w *team) settled(digest, release string) {
	w.t.Helper()
	ctx := w.t.Context()
	until(w.t, 90*time.Second, "the deployment ends well", func() (bool, string) {
		s := w.service()
		if s == nil || len(s.Deployments) == 0 {
			return false, "the service is not there"
		}
		d := s.Deployments[0]
		why := fmt.Sprintf("%d deployments, %s %s, %d running, %d pending", len(s.Deployments), aws.ToString(d.Status), d.RolloutState, s.RunningCount, s.PendingCount)
		if len(s.Events) > 0 {
			why += "; " + aws.ToString(s.Events[0].Message)
		}
		return len(s.Deployments) == 1 && d.RolloutState == ecstypes.DeploymentRolloutStateCompleted && s.RunningCount == s.DesiredCount && s.PendingCount == 0, why
	})
	s := w.service()
	list, err := w.ecs.ListServiceDeployments(ctx, &ecs.ListServiceDeploymentsInput{Cluster: aws.String(clusterName), Service: aws.String(serviceName)})
	if err != nil || len(list.ServiceDeployments) == 0 {
		w.t.Fatalf("listing service deployments: %v, %v", list, err)
	}
	open := 0
	newest := slices.MaxFunc(list.ServiceDeployments, func(a, b ecstypes.ServiceDeploymentBrief) int { return a.CreatedAt.Compare(*b.CreatedAt) })
	for _, d := range list.ServiceDeployments {
		if d.Status == ecstypes.ServiceDeploymentStatusInProgress || d.Status == ecstypes.ServiceDeploymentStatusPending {
			open++
		}
	}
	if newest.Status != ecstypes.ServiceDeploymentStatusSuccessful || open > 0 {
		w.t.Errorf("the newest service deployment is %s (%s), %d are open", newest.Status, aws.ToString(newest.StatusReason), open)
	}
	running, perInstance := 0, map[string]int32{}
	for _, task := range w.tasks() {
		if aws.ToString(task.LastStatus) != "RUNNING" || aws.ToString(task.DesiredStatus) != "RUNNING" {
			continue
		}
		running++
		perInstance[aws.ToString(task.ContainerInstanceArn)]++
		if got := aws.ToString(task.TaskDefinitionArn); got != aws.ToString(s.TaskDefinition) {
			w.t.Errorf("a task runs %s, the service %s", got, aws.ToString(s.TaskDefinition))
		}
		for _, c := range task.Containers {
			if aws.ToString(c.ImageDigest) != digest || aws.ToString(c.LastStatus) != "RUNNING" {
				w.t.Errorf("container %s is %s and runs %s, not %s", aws.ToString(c.Name), aws.ToString(c.LastStatus), aws.ToString(c.ImageDigest), digest)
			}
		}
	}
	if running != int(s.DesiredCount) {
		w.t.Errorf("%d tasks run, the service wants %d", running, s.DesiredCount)
	}
	w.instancesFit(perInstance)
	until(w.t, 30*time.Second, "the targets are those of the tasks", func() (bool, string) {
		health, err := w.elb.DescribeTargetHealth(ctx, &elb.DescribeTargetHealthInput{TargetGroupArn: s.LoadBalancers[0].TargetGroupArn})
		if err != nil {
			return false, err.Error()
		}
		healthy := 0
		var said []string
		for _, h := range health.TargetHealthDescriptions {
			said = append(said, fmt.Sprintf("%s:%d %s", aws.ToString(h.Target.Id), aws.ToInt32(h.Target.Port), h.TargetHealth.State))
			if h.TargetHealth.State == elbtypes.TargetHealthStateEnumHealthy {
				healthy++
			}
		}
		return healthy == running && len(said) == running, strings.Join(said, ", ")
	})
	w.answers(20, release)
}

// instancesFit checks that what instances say of their tasks and resources is what the tasks say.
func (w *team) instancesFit(tasks map[string]int32) {
	w.t.Helper()
	list, err := w.ecs.ListContainerInstances(w.t.Context(), &ecs.ListContainerInstancesInput{Cluster: aws.String(clusterName)})
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := w.ecs.DescribeContainerInstances(w.t.Context(), &ecs.DescribeContainerInstancesInput{Cluster: aws.String(clusterName), ContainerInstances: list.ContainerInstanceArns})
	if err != nil || len(out.ContainerInstances) != 2 {
		w.t.Fatalf("the cluster should have 2 instances: %d, %v", len(out.ContainerInstances), err)
	}
	cpu := func(all []ecstypes.Resource) int32 {
		for _, r := range all {
			if aws.ToString(r.Name) == "CPU" {
				return r.IntegerValue
			}
		}
		return -1
	}
	for _, i := range out.ContainerInstances {
		arn := aws.ToString(i.ContainerInstanceArn)
		if used := cpu(i.RegisteredResources) - cpu(i.RemainingResources); i.RunningTasksCount != tasks[arn] || used != 64*tasks[arn] || !i.AgentConnected {
			w.t.Errorf("%s: %d tasks and %d CPU units in use (agent connected: %v), its tasks: %d", arn, i.RunningTasksCount, used, i.AgentConnected, tasks[arn])
		}
	}
}
