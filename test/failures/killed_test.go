package failures

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// TestKilledAfterEveryCall ends the deploying process, with SIGKILL, after each call that changes
// something has reached AWS and before its answer is seen; the second run must leave what a run that
// nobody killed leaves. (What only reads can be killed anywhere: nothing has happened since the call before.)
func TestKilledAfterEveryCall(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime and time")
	}
	s := newStage(t)
	calls := s.writesOf(t, s.full("count"))
	if len(calls) < 12 || !slices.Contains(calls, "RunTask") || !slices.Contains(calls, "CreateService") {
		t.Fatalf("a deployment makes these calls: %q", calls)
	}
	for i, op := range calls {
		t.Run(fmt.Sprintf("%02d-%s", i+1, op), func(t *testing.T) {
			t.Parallel()
			target := s.full(fmt.Sprintf("k%02d", i+1))
			s.applyUntil(t, target, i+1)
			if _, err := s.cloud.Deploy().Apply(t.Context(), target, s.log(t)); err != nil {
				t.Fatalf("the second run: %v", err)
			}
			s.whole(t, target)
		})
	}
}

// full is a service with something of every kind.
func (s *stage) full(name string) deploy.Target {
	t := s.target(name)
	t.Spec.TaskRole.Statements = []service.Statement{{Effect: "Allow", Actions: []string{"sqs:SendMessage"}, Resources: []string{"*"}}}
	t.Spec.Deployment.Before = []service.Step{{Name: "prepare", Command: []string{"exit"}}}
	t.Spec.Scaling = &service.Scaling{Min: 1, Max: 3, Targets: []service.ScalingTarget{{Metric: "cpu", Target: 60}}}
	t.Spec.Alarms = []service.Alarm{{Name: "busy", Metric: "cpu", Threshold: 95, Periods: 3, Period: time.Minute}}
	return t
}

// writesOf deploys a target and returns the calls that changed something.
func (s *stage) writesOf(t *testing.T, target deploy.Target) (calls []string) {
	t.Helper()
	var mu sync.Mutex
	c := s.through(t, between{after: func(op string) {
		mu.Lock()
		defer mu.Unlock()
		if writes(op) {
			calls = append(calls, op)
		}
	}})
	if _, err := c.Deploy().Apply(t.Context(), target, s.log(t)); err != nil {
		t.Fatal(err)
	}
	s.whole(t, target)
	return calls
}

// applyUntil deploys in a process of its own and kills it when its nth change has been made.
func (s *stage) applyUntil(t *testing.T, target deploy.Target, n int) {
	t.Helper()
	spec, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	var mu sync.Mutex
	made := 0
	endpoint := between{after: func(op string) {
		mu.Lock()
		defer mu.Unlock()
		if !writes(op) || made >= n {
			return
		}
		if made++; made == n {
			_ = cmd.Process.Kill()
			_, _ = cmd.Process.Wait() // its answer finds nobody
		}
	}}.start(t, s.aws.Endpoint)
	cmd.Env = append(os.Environ(), "SLIPWAY_TEST_APPLY="+string(spec), "SLIPWAY_TEST_ENDPOINT="+endpoint)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if mu.Lock(); made != n {
		t.Fatalf("it ended after %d changes:\n%s", made, said.String())
	}
	mu.Unlock()
}

// whole says what is missing, or there more than once, of a deployed service.
func (s *stage) whole(t *testing.T, target deploy.Target) {
	t.Helper()
	ctx, name := t.Context(), target.Ref().Service
	plan, err := s.cloud.Deploy().Plan(ctx, target)
	if err != nil || !plan.Empty() {
		t.Errorf("there is something left to do: %+v, %v", plan.Changes, err)
	}
	api, balancers := ecs.NewFromConfig(s.aws.Config), elb.NewFromConfig(s.aws.Config)
	if got, err := api.ListTaskDefinitions(ctx, &ecs.ListTaskDefinitionsInput{FamilyPrefix: &name}); err != nil || len(got.TaskDefinitionArns) != 1 {
		t.Errorf("task definitions: %v, %v", got.TaskDefinitionArns, err)
	}
	seen, err := s.cloud.Deploy().Status(ctx, target.Ref())
	if err != nil || seen.Observed.Last == nil || seen.Observed.Last.Status != "SUCCESSFUL" || len(seen.Deployments) != 1 {
		t.Errorf("deployments: %+v, %v", seen.Deployments, err)
	}
	steps := 0
	for _, status := range []string{"RUNNING", "STOPPED"} {
		got, err := s.tasksOf(t, name, status)
		if err != nil {
			t.Fatal(err)
		}
		steps += got
	}
	if steps != 1 {
		t.Errorf("the step before ran %d times", steps)
	}
	groups, err := balancers.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range groups.TargetGroups {
		if strings.HasPrefix(aws.ToString(g.TargetGroupName), name+"-") {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d target groups", n)
	}
	if answer, failure := s.aws.CLI(t, "ssm", "get-parameter", "--name", "/slipway/deploy/main/"+name); failure == "" {
		t.Errorf("the lease is still there: %v", answer)
	}
}

// tasksOf counts the one-off tasks of a service.
func (s *stage) tasksOf(t *testing.T, family, status string) (int, error) {
	t.Helper()
	answer := s.aws.Must(t, "ecs", "list-tasks", "--cluster", "main", "--family", family, "--desired-status", status)
	arns, _ := answer["taskArns"].([]any)
	if len(arns) == 0 {
		return 0, nil
	}
	args := []string{"ecs", "describe-tasks", "--cluster", "main", "--tasks"}
	for _, a := range arns {
		args = append(args, fmt.Sprint(a))
	}
	n := 0
	tasks, _ := s.aws.Must(t, args...)["tasks"].([]any)
	for _, task := range tasks {
		if m, ok := task.(map[string]any); ok && strings.HasPrefix(fmt.Sprint(m["startedBy"]), "slipway/") {
			n++
		}
	}
	return n, nil
}
