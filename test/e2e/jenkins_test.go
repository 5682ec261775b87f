//go:build linux

package e2e

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// TestJenkinsExample plans and applies examples/jenkins by Terraform on the local AWS: the controller with its
// home on EFS behind the balancer, and the agents' task definition, which is then run as the Jenkins plugin
// runs it. The images are stand-ins (testdata/jenkins): Jenkins' own are on Docker Hub.
func TestJenkinsExample(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	w := newTeam(t)
	if _, err := w.ssm.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/jenkins/admin-password"), Value: aws.String("canary-of-admin"), Type: ssmtypes.ParameterTypeSecureString}); err != nil {
		t.Fatal(err)
	}
	for folder, service := range map[string]string{"controller": "jenkins", "agent": "jenkins-agent"} {
		w.in("../../examples/jenkins/"+folder, folder)
		if _, err := w.ecr.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &service}); err != nil {
			t.Fatal(err)
		}
		image := filepath.Join(w.tmp, folder+"-image")
		if err := os.CopyFS(image, os.DirFS("testdata/jenkins")); err != nil {
			t.Fatal(err)
		}
		in := *w
		in.work = image
		in.write("go.mod", "module standin\n\ngo 1.24\n")
		in.write("slipway.yaml", "service: "+service+"\nbuild: { ko: . }\ntest: []\ncluster: demo\nkind: job\nenvironments: { prod: {} }\n")
		in.git("init", "-q", "-b", "main")
		in.git("add", "-A")
		in.git("commit", "-q", "-m", "stand-in")
		in.git("tag", "v1")
		in.slipway("push")
	}
	controller, agent := *w, *w
	controller.work, agent.work = filepath.Join(w.tmp, "controller"), filepath.Join(w.tmp, "agent")

	if out := controller.slipway("plan", "prod", "--image", "v1").stdout; !strings.Contains(out, "to add") {
		t.Errorf("the first plan adds nothing:\n%s", out)
	}
	controller.slipway("deploy", "prod", "--image", "v1")
	agent.slipway("deploy", "prod", "--image", "v1")
	for _, in := range []*team{&controller, &agent} {
		if out := in.slipway("plan", "prod", "--image", "v1").stdout; !strings.Contains(out, "No changes") {
			t.Errorf("the plan after it is not empty:\n%s", out)
		}
	}
	url := strings.Replace(w.url, ":8080", ":9090", 1)
	get := func(path string) string {
		resp, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %s %v", path, resp.Status, body, err)
		}
		return string(body)
	}
	if out := get("/login"); !strings.Contains(out, "https://jenkins.example.com/") {
		t.Errorf("the controller says %q", out)
	}

	// A new controller finds the home of the one before, which has ended by then.
	controller.slipway("restart", "prod")
	if out := get("/history"); out != "start\nend\nstart\n" {
		t.Errorf("the home after a restart: %q", out)
	}

	// As the plugin does: RunTask with the command and the environment of the agent's container set.
	run, err := w.ecs.RunTask(t.Context(), &ecs.RunTaskInput{Cluster: aws.String(clusterName), TaskDefinition: aws.String("jenkins-agent-prod"), LaunchType: ecstypes.LaunchTypeEc2,
		PropagateTags: ecstypes.PropagateTagsTaskDefinition, Tags: []ecstypes.Tag{{Key: aws.String("jenkins.label"), Value: aws.String("slipway")}},
		Overrides: &ecstypes.TaskOverride{ContainerOverrides: []ecstypes.ContainerOverride{{Name: aws.String("jenkins-agent"), Command: []string{"-url", url, "s3cr3t", "ecs-slipway-x7k2p"},
			Environment: []ecstypes.KeyValuePair{{Name: aws.String("SLAVE_NODE_NAME"), Value: aws.String("ecs-slipway-x7k2p")}, {Name: aws.String("SLAVE_NODE_SECRET"), Value: aws.String("s3cr3t")}}}}}})
	if err != nil {
		t.Fatalf("running an agent: %v", err)
	}
	for _, f := range run.Failures {
		t.Fatalf("running an agent: %s %s", aws.ToString(f.Reason), aws.ToString(f.Detail))
	}
	until(t, time.Minute, "the agent ends", func() (bool, string) {
		out, err := w.ecs.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String(clusterName), Tasks: []string{aws.ToString(run.Tasks[0].TaskArn)}})
		if err != nil || len(out.Tasks) != 1 {
			return false, "it is not there"
		}
		c := out.Tasks[0].Containers[0]
		if aws.ToString(out.Tasks[0].LastStatus) == "STOPPED" && aws.ToInt32(c.ExitCode) != 0 {
			t.Fatalf("the agent ended with %d: %s\n%s", aws.ToInt32(c.ExitCode), aws.ToString(out.Tasks[0].StoppedReason), agent.slipway("logs", "prod"))
		}
		return aws.ToString(out.Tasks[0].LastStatus) == "STOPPED", aws.ToString(out.Tasks[0].LastStatus)
	})
	if out := get("/history"); !strings.HasSuffix(out, "agent ecs-slipway-x7k2p\n") {
		t.Errorf("the agent did not connect: %q", out)
	}
	controller.slipway("delete", "prod", "--yes")
	agent.slipway("delete", "prod", "--yes")
}

// in copies a folder into one of the team's with a git history.
func (w *team) in(from, name string) {
	w.t.Helper()
	c := *w
	c.work = filepath.Join(w.tmp, name)
	if err := os.CopyFS(c.work, os.DirFS(from)); err != nil {
		w.t.Fatal(err)
	}
	c.git("init", "-q", "-b", "main")
	c.git("add", "-A")
	c.git("commit", "-q", "-m", name)
}
