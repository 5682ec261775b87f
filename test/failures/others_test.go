package failures

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
)

// others are failures that take more than a definition.
var others = []struct {
	name string
	run  func(*testing.T, *stage) row
}{
	{"cluster without instances", noInstances},
	{"listener full", listenerFull},
	{"an alarm goes off", alarm},
	{"apply killed with -9", killed},
	{"drift", drift},
	{"deletion with tasks running", deletion},
	{"role wrong", roleWrong},
	{"quota reached", quota},
	{"API throttled", throttled},
	{"lock held", lockHeld},
}

func diagnosed(t *testing.T, err error, cause deploy.Cause, says string) row {
	t.Helper()
	var f *deploy.Failure
	if !errors.As(err, &f) {
		t.Fatalf("no diagnosis: %v", err)
	}
	if f.Diagnosis.Cause != cause || !strings.Contains(f.Diagnosis.Sentence, says) {
		t.Errorf("cause %s: %s", f.Diagnosis.Cause, f.Diagnosis.Sentence)
	}
	return row{sentence: f.Diagnosis.Sentence, fix: f.Diagnosis.Fix}
}

func (s *stage) log(t *testing.T) func(deploy.Event) {
	return func(e deploy.Event) { t.Logf("%s %s %s %s", e.At.Format("05.0"), e.Kind, e.Status, e.Message) }
}

// bare is a cluster of its own with a balancer and no instance.
func (s *stage) bare(t *testing.T, name string, port int) deploy.Infra {
	t.Helper()
	if _, err := s.cloud.Clusters().Apply(t.Context(), clusterinfra.Spec{Name: name,
		Balancer: &clusterinfra.Balancer{Listeners: map[string]clusterinfra.Listener{"web": {Port: port}}}}, nil); err != nil {
		t.Fatal(err)
	}
	in, err := s.cloud.Infra(t.Context(), name, "web")
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func noInstances(t *testing.T, s *stage) row {
	target := s.target("lonely")
	target.Infra, target.Spec.Cluster = s.bare(t, "bare", 8081), "bare"
	waits(&target, 8*time.Second)
	_, err := s.cloud.Deploy().Apply(t.Context(), target, s.log(t))
	return diagnosed(t, err, deploy.CauseNoInstances, "the cluster has no container instances")
}

func listenerFull(t *testing.T, s *stage) row {
	target := s.target("late")
	target.Infra, target.Spec.Cluster = s.bare(t, "full", 8082), "full"
	api := elb.NewFromConfig(s.aws.Config)
	for i := range 100 {
		if _, err := api.CreateRule(t.Context(), &elb.CreateRuleInput{ListenerArn: &target.Infra.Listener, Priority: aws.Int32(int32(1 + i)),
			Conditions: []elbtypes.RuleCondition{{Field: aws.String("path-pattern"), Values: []string{fmt.Sprintf("/old/%d", i)}}},
			Actions:    []elbtypes.Action{{Type: elbtypes.ActionTypeEnumFixedResponse, FixedResponseConfig: &elbtypes.FixedResponseActionConfig{StatusCode: aws.String("410")}}}}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.cloud.Deploy().Apply(t.Context(), target, s.log(t))
	var refused *deploy.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "rules") {
		t.Fatalf("error %v", err)
	}
	return row{sentence: err.Error()}
}

func alarm(t *testing.T, s *stage) row {
	target := s.target("alarmed")
	api := cloudwatch.NewFromConfig(s.aws.Config)
	if _, err := api.PutMetricAlarm(t.Context(), &cloudwatch.PutMetricAlarmInput{AlarmName: aws.String("orders-lost"), Namespace: aws.String("Shop"), MetricName: aws.String("Lost"),
		Statistic: cwtypes.StatisticSum, Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(0), ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.cloud.Deploy().Apply(t.Context(), target, s.log(t)); err != nil {
		t.Fatal(err)
	}
	target.Spec.Deployment.RollbackOnAlarms = []string{"orders-lost"}
	mode("slow-start")(s, &target) // so that there is time
	target.Spec.Route.GracePeriod = time.Minute
	fired := false
	_, err := s.cloud.Deploy().Apply(t.Context(), target, func(e deploy.Event) {
		s.log(t)(e)
		if e.Kind == deploy.EventProgress && !fired {
			fired = true
			if _, err := api.SetAlarmState(t.Context(), &cloudwatch.SetAlarmStateInput{AlarmName: aws.String("orders-lost"), StateValue: cwtypes.StateValueAlarm, StateReason: aws.String("3 orders lost")}); err != nil {
				t.Error(err)
			}
		}
	})
	return diagnosed(t, err, deploy.CauseAlarm, "orders-lost")
}

// applyAndDie is the process that is killed: it applies a target and says what it does.
func applyAndDie(spec string) {
	var target deploy.Target
	if err := json.Unmarshal([]byte(spec), &target); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	c, err := awscloud.Open(context.Background(), awscloud.Options{Region: "us-east-1", Endpoint: os.Getenv("SLIPWAY_TEST_ENDPOINT")})
	if err == nil {
		_, err = c.Deploy().Apply(context.Background(), target, func(e deploy.Event) { fmt.Println(e.Message) })
	}
	fmt.Println(err)
	os.Exit(0)
}

func killed(t *testing.T, s *stage) row {
	target := s.target("killed")
	spec, err := json.Marshal(target)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SLIPWAY_TEST_APPLY="+string(spec), "SLIPWAY_TEST_ENDPOINT="+s.aws.Endpoint)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if t.Log(lines.Text()); strings.HasPrefix(lines.Text(), "service killed-qa runs") {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it ended before it was killed")
	}
	got, err := s.cloud.Deploy().Apply(t.Context(), target, s.log(t))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(got.TaskDefinition, ":1") || got.Changed {
		t.Errorf("the second apply did what was done: %+v", got)
	}
	return row{sentence: "killed-qa runs killed-qa:1", fix: "Nothing: AWS went on deploying; the next apply found all made, changed nothing and waited for the end."}
}

func drift(t *testing.T, s *stage) row {
	target := s.target("drift")
	if _, err := s.cloud.Deploy().Apply(t.Context(), target, s.log(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := ecs.NewFromConfig(s.aws.Config).UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: aws.String("main"), Service: aws.String("drift-qa"),
		DeploymentConfiguration: &ecstypes.DeploymentConfiguration{MinimumHealthyPercent: aws.Int32(0), MaximumPercent: aws.Int32(200)}}); err != nil {
		t.Fatal(err)
	}
	p, err := s.cloud.Deploy().Plan(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, c := range p.Changes {
		for _, f := range c.Fields {
			said = append(said, fmt.Sprintf("%s %s: %s is %s, wanted %s", c.Resource, c.Name, f.Path, f.From, f.To))
		}
	}
	if !strings.Contains(strings.Join(said, "\n"), "minimum_healthy is 0, wanted 100") || p.Rollout {
		t.Errorf("plan %+v", p)
	}
	if _, err := s.cloud.Deploy().Apply(t.Context(), target, s.log(t)); err != nil {
		t.Error(err)
	}
	if p, err := s.cloud.Deploy().Plan(t.Context(), target); err != nil || !p.Empty() {
		t.Errorf("after the repair: %+v, %v", p, err)
	}
	return row{sentence: strings.Join(said, "; "), fix: "Apply: it repairs what differs, without replacing tasks where none have to be."}
}

func deletion(t *testing.T, s *stage) row {
	target := s.target("going")
	if _, err := s.cloud.Deploy().Apply(t.Context(), target, s.log(t)); err != nil {
		t.Fatal(err)
	}
	var said []string
	if err := s.cloud.Deploy().Delete(t.Context(), target.Ref(), deploy.DeleteOptions{}, func(e deploy.Event) {
		s.log(t)(e)
		if e.Kind == deploy.EventProgress || e.Kind == deploy.EventDone {
			said = append(said, e.Message)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if len(said) < 2 || said[0] != "1 task still to stop" || said[len(said)-1] != "going-qa is deleted" {
		t.Errorf("said %q", said)
	}
	return row{sentence: said[0] + " … " + said[len(said)-1], fix: "Nothing: what carries the last requests is taken away after the tasks have stopped."}
}
