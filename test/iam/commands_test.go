package iam

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/aws/smithy-go"
	mem "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/iampolicy"
	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/virtual"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/service"
)

// definition is a service that uses everything the policies are about.
const definition = `service: shop
build: { image: IMAGE }
cluster: main
state: states
container:
  port: 8080
  cpu: 16
  memory: 64
  stop_timeout: 2s
  secrets: { KEY: "ssm:/shop/key", TOKEN: "secretsmanager:shop/token", COPY: "exec:vault item" }
route:
  paths: ["/shop/*"]
  health: { path: /healthz, interval: 5s, timeout: 2s }
  deregistration_delay: 1s
scaling: { min: 1, max: 3, cpu: 60 }
discovery: { kind: cloudmap, namespace: shop.local }
deployment:
  timeout: 3m
  before: [{ name: migrate, command: [migrate] }]
  smoke: { path: /shop/ }
promotion:
  prod: { from: qa, tests: true, approvals: 1, max_severity: high }
notify:
  chat: { webhook: "ssm:/shop/chat", token: "secretsmanager:shop/chat", on: [started] }
environments:
  qa:   { route: { listener: qa } }
  prod: { route: { listener: prod }, discovery: { kind: cloudmap, namespace: shop.local, name: shop-prod } }
`

// world is a local AWS with a cluster and a service's folder, which is the working directory.
type world struct {
	*testing.T
	url   string
	asked *recorder
	cfg   aws.Config
	dir   string
	built string // where images are that were built elsewhere, without the tag
	made  int    // how many
}

func newWorld(t *testing.T) *world {
	t.Helper()
	answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "hello") }))
	t.Cleanup(answers.Close)
	containers := virtual.Behavior{
		// One-off tasks end, services do not.
		Exit: func(_ runtime.TaskSpec, c runtime.ContainerSpec) (time.Duration, int, bool) {
			return 0, 0, len(c.Command) > 0
		},
		Endpoint: func(runtime.TaskSpec, int, string) (string, bool) {
			return strings.TrimPrefix(answers.URL, "http://"), true
		},
	}
	w := &world{T: t, dir: t.TempDir()}
	findings := filepath.Join(t.TempDir(), "findings.json")
	if err := os.WriteFile(findings, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.url, w.asked = start(t, func(c *local.Config) { c.Containers, c.ScanFindings = &containers, findings })
	w.cfg = account(t, w.url)
	ctx := t.Context()
	owner, err := awscloud.Open(ctx, awscloud.Options{Region: "us-east-1", Endpoint: w.url})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := owner.Clusters().Apply(ctx, clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 2, Max: 2},
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"qa": {Port: 8080}, "prod": {Port: 8081}}}}, nil); err != nil {
		t.Fatal(err)
	}
	made := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	made(ecr.NewFromConfig(w.cfg).CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("shop")}))
	made(s3.NewFromConfig(w.cfg, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("states")}))
	made(servicediscovery.NewFromConfig(w.cfg).CreatePrivateDnsNamespace(ctx, &servicediscovery.CreatePrivateDnsNamespaceInput{Name: aws.String("shop.local"), Vpc: aws.String("vpc-12345678")}))
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(hook.Close)
	for name, value := range map[string]string{"/shop/key": "k", "/shop/chat": hook.URL} {
		made(ssm.NewFromConfig(w.cfg).PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeSecureString}))
	}
	for _, name := range []string{"shop/token", "shop/chat"} {
		made(secretsmanager.NewFromConfig(w.cfg).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String("s")}))
	}
	elsewhere := httptest.NewServer(mem.New(mem.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(elsewhere.Close)
	w.built = strings.TrimPrefix(elsewhere.URL, "http://") + "/built:"
	w.write("bin/slipway-secret-vault", "#!/bin/sh\necho '{\"value\":\"v\",\"version\":\"1\"}'\n")
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": w.url, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
		"AWS_S3_USE_PATH_STYLE": "true", "PATH": filepath.Join(w.dir, "bin") + ":" + os.Getenv("PATH"), "SLIPWAY_BY": "ci@example.com", "GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1",
		"GIT_AUTHOR_NAME": "Dev", "GIT_AUTHOR_EMAIL": "dev@example.com", "GIT_COMMITTER_NAME": "Dev", "GIT_COMMITTER_EMAIL": "dev@example.com"} {
		t.Setenv(name, value)
	}
	t.Chdir(w.dir)
	w.git("init", "-q", "-b", "main")
	w.commit()
	return w
}

func (w *world) write(name, text string) {
	w.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		w.Fatal(err)
	}
}

func (w *world) git(args ...string) {
	w.Helper()
	if out, err := exec.CommandContext(w.Context(), "git", args...).CombinedOutput(); err != nil {
		w.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

func (w *world) gitText(args ...string) string {
	w.Helper()
	out, err := exec.CommandContext(w.Context(), "git", args...).Output()
	if err != nil {
		w.Fatalf("git %q: %v", args, err)
	}
	return string(out)
}

// commit commits and builds, elsewhere.
func (w *world) commit(change ...string) {
	w.Helper()
	img, err := random.Image(64, 1)
	if err != nil {
		w.Fatal(err)
	}
	w.made++
	tag := fmt.Sprint(w.made)
	if _, err := (registry.Client{}).Push(w.Context(), strings.TrimSuffix(w.built, ":"), img, tag); err != nil {
		w.Fatal(err)
	}
	w.write("slipway.yaml", strings.NewReplacer(append(change, "IMAGE", w.built+tag)...).Replace(definition))
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", "change")
}

// TestCommands runs the commands of CI and of deployers, each with no more than the policy printed for it,
// and tasks whose execution role has no more than the one printed for that.
func TestCommands(t *testing.T) {
	if _, err := exec.LookPath("terraform"); err != nil && os.Getenv("CI") == "" {
		t.Skip("needs terraform")
	}
	w := newWorld(t)
	ci := printed(t, "ci", "--account", "000000000000")
	deployer := printed(t, "deployer", "--account", "000000000000", "--exec")

	as(t, w.url, "ci", ci.Text())
	slipway(t, 0, "test")
	slipway(t, 0, "push", "--tested")
	slipway(t, 0, "push", "--tested") // again
	slipway(t, 0, "pipeline", "run", "--until", "scan")
	slipway(t, 0, "history")

	as(t, w.url, "deployer", deployer.Text())
	slipway(t, 0, "plan", "qa")
	slipway(t, 0, "deploy", "qa")
	slipway(t, 0, "check", "--online")
	slipway(t, 0, "status")
	slipway(t, 0, "approve", "prod")
	slipway(t, 0, "pipeline", "notify", "started")
	slipway(t, 0, "promote", "--from", "qa", "--to", "prod")
	w.commit("interval: 5s", "interval: 6s", `"/shop/*"`, `"/shop/*", "/store/*"`)
	as(t, w.url, "ci", "")
	slipway(t, 0, "push", "--tested")
	as(t, w.url, "deployer", "")
	slipway(t, 0, "deploy", "qa")
	slipway(t, 0, "rollback", "qa")
	slipway(t, 0, "logs", "qa")
	slipway(t, 0, "history")
	slipway(t, 0, "why", "prod")
	slipway(t, 0, "diff", "qa", "prod")
	slipway(t, 0, "drift", "qa")
	slipway(t, 0, "run", "qa", "--", "migrate")
	w.execute("shop-qa")
	slipway(t, 0, "scale", "qa", "2")
	slipway(t, 0, "restart", "qa")
	slipway(t, 0, "delete", "qa", "--yes")
	needed(t, run{ci, w.asked.enough(t, "ci")})

	curator := printed(t, "images", "--account", "000000000000")
	as(t, w.url, "curator", curator.Text())
	slipway(t, 0, "images", "ls")
	slipway(t, 0, "images", "du")
	w.write("policy.json", `{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":50},"action":{"type":"expire"}}]}`)
	slipway(t, 0, "images", "preview", "--policy", "policy.json")
	tags := strings.Fields(w.gitText("rev-list", "--abbrev-commit", "--abbrev=7", "HEAD"))
	slipway(t, 0, "images", "protect", tags[0])
	slipway(t, 0, "images", "prune", tags[0], "--yes")
	needed(t, run{curator, w.asked.enough(t, "curator")})

	nightly := worker()
	nightly.Name, nightly.Kind, nightly.Schedule, nightly.Scaling, nightly.Alarms, nightly.Volumes = "nightly", service.KindJob, "rate(1 day)", nil, nil, nil
	needed(t, run{deployer, w.asked.enough(t, "deployer")}, w.life(worker()), w.life(nightly))

	for _, role := range w.asked.roles("slipway-shop-") { // the execution roles that deploying made
		w.asked.enough(t, role)
	}
	execution := printed(t, "execution", "--account", "000000000000")
	needed(t, run{execution, w.execution(execution)})
}

// execute runs a command in a task as slipway exec does. The service has not asked for ECS Exec, so it is
// refused, but not for want of rights.
func (w *world) execute(service string) {
	w.Helper()
	cfg, err := config.LoadDefaultConfig(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	c := ecs.NewFromConfig(cfg)
	list, err := c.ListTasks(w.Context(), &ecs.ListTasksInput{Cluster: aws.String("main"), ServiceName: &service})
	if err != nil || len(list.TaskArns) == 0 {
		w.Fatal(list, err)
	}
	_, err = c.ExecuteCommand(w.Context(), &ecs.ExecuteCommandInput{Cluster: aws.String("main"), Task: &list.TaskArns[0], Command: aws.String("ls"), Interactive: true})
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "InvalidParameterException" {
		w.Errorf("ECS Exec: %v", err)
	}
}

// life is one of a service that is made, changed and removed; no file describes it.
func (w *world) life(spec service.Spec) run {
	w.Helper()
	target := deploy.Target{Spec: spec, Image: image, Release: "one"}
	policy := printed(w.T, "deployer", target.Ref().Service, "--cluster", "main", "--account", "000000000000")
	as(w.T, w.url, spec.Name, policy.Text())
	c, err := awscloud.Open(w.Context(), awscloud.Options{})
	if err != nil {
		w.Fatal(err)
	}
	if target.Infra, err = c.Infra(w.Context(), "main", ""); err != nil {
		w.Fatal(err)
	}
	for _, value := range []string{"1", "2"} {
		target.Spec.Containers[0].Env["A"] = value
		if _, err := c.Deploy().Apply(w.Context(), target, func(deploy.Event) {}); err != nil {
			w.Fatal(err)
		}
	}
	if err := c.Deploy().Delete(w.Context(), target.Ref(), deploy.DeleteOptions{}, func(deploy.Event) {}); err != nil {
		w.Error(err)
	}
	return run{policy, w.asked.enough(w.T, spec.Name)}
}

// execution starts a task as ECS does with the role of the policy, and returns what was asked for.
func (w *world) execution(policy iampolicy.Document) []evaluate.Request {
	w.Helper()
	as(w.T, w.url, "execution", policy.Text())
	ctx, c := w.Context(), ecs.NewFromConfig(w.cfg)
	secret := func(name, from string) ecstypes.Secret { return ecstypes.Secret{Name: &name, ValueFrom: &from} }
	if _, err := cloudwatchlogs.NewFromConfig(w.cfg).CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: aws.String("/slipway/qa/shop")}); err != nil {
		w.Fatal(err)
	}
	definition, err := c.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("mine"), ExecutionRoleArn: aws.String("arn:aws:iam::000000000000:role/execution"),
		ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: aws.String(strings.TrimPrefix(w.url, "http://") + "/shop:latest"), Command: []string{"once"}, Memory: aws.Int32(32), Essential: aws.Bool(true),
			Secrets:          []ecstypes.Secret{secret("KEY", "/shop/key"), secret("TOKEN", "arn:aws:secretsmanager:us-east-1:000000000000:secret:shop/token")},
			LogConfiguration: &ecstypes.LogConfiguration{LogDriver: ecstypes.LogDriverAwslogs, Options: map[string]string{"awslogs-group": "/slipway/qa/shop", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "mine"}}}}})
	if err != nil {
		w.Fatal(err)
	}
	out, err := c.RunTask(ctx, &ecs.RunTaskInput{Cluster: aws.String("main"), TaskDefinition: definition.TaskDefinition.TaskDefinitionArn})
	if err != nil || len(out.Tasks) != 1 {
		w.Fatal(out, err)
	}
	in := &ecs.DescribeTasksInput{Cluster: aws.String("main"), Tasks: []string{*out.Tasks[0].TaskArn}}
	if err := ecs.NewTasksStoppedWaiter(c, func(o *ecs.TasksStoppedWaiterOptions) { o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second }).Wait(ctx, in, time.Minute); err != nil {
		w.Fatal(err)
	}
	seen, err := c.DescribeTasks(ctx, in)
	if err != nil {
		w.Fatal(err)
	}
	if x := seen.Tasks[0]; x.StopCode != ecstypes.TaskStopCodeEssentialContainerExited {
		w.Errorf("the task ended with %s: %s", x.StopCode, aws.ToString(x.StoppedReason))
	}
	return w.asked.enough(w.T, "execution")
}
