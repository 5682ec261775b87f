package failures

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

const shifted = `service: %[1]s
build: { ko: . }
cluster: main
container: { name: shop, port: 8080, cpu: 16, memory: 64, env: { RELEASE: "%[2]s" }, stop_timeout: 2s }
route:
  listener: web
  paths: ["/%[1]s/*"]
  health: { path: /healthz, interval: 5s, timeout: 2s }
  deregistration_delay: 1s
deployment:
  strategy: %[3]s
  step_percent: %[4]d
  step_bake: 1m
  bake: 1m
  alarms: [%[1]s-lost]
  after: [{ name: tell, command: [exit] }]
environments: { qa: {} }
`

// TestTrafficIsShiftedInSteps deploys canary and linear from slipway.yaml: the weights of the listener's
// rule are what the definition says, one step after the other; and an alarm that goes off while the new
// version bakes brings all of the traffic back.
func TestTrafficIsShiftedInSteps(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime and time")
	}
	s := newStageAt(t, 12)
	for _, c := range []struct {
		strategy string
		percent  int
		weights  []int // of the new version, in order
	}{
		{"canary", 20, []int{0, 20, 100}},
		{"linear", 50, []int{0, 50, 100}},
	} {
		t.Run(c.strategy, func(t *testing.T) {
			t.Parallel()
			api := cloudwatch.NewFromConfig(s.aws.Config)
			if _, err := api.PutMetricAlarm(t.Context(), &cloudwatch.PutMetricAlarmInput{AlarmName: aws.String(c.strategy + "-lost"), Namespace: aws.String("Shop"), MetricName: aws.String("Lost"),
				Statistic: cwtypes.StatisticSum, Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(0), ComparisonOperator: cwtypes.ComparisonOperatorGreaterThanThreshold}); err != nil {
				t.Fatal(err)
			}
			release := func(v string) deploy.Target {
				return s.written(t, fmt.Sprintf(shifted, c.strategy, v, c.strategy, c.percent))
			}
			if _, err := s.cloud.Deploy().Apply(t.Context(), release("1"), s.log(t)); err != nil {
				t.Fatal(err)
			}
			before := s.serving(t, release("1"))
			watched := s.watchWeights(t, release("1"), before)
			out, err := s.cloud.Deploy().Apply(t.Context(), release("2"), s.log(t))
			if err != nil || out.Status != "SUCCESSFUL" {
				t.Fatalf("%+v, %v", out, err)
			}
			if got := watched(); !slices.Equal(got, c.weights) {
				t.Errorf("the new version's shares were %v, wanted %v", got, c.weights)
			}

			good := s.serving(t, release("2"))
			var once sync.Once
			_, err = s.cloud.Deploy().Apply(t.Context(), release("3"), func(e deploy.Event) {
				s.log(t)(e)
				if e.Kind == deploy.EventProgress && strings.HasSuffix(e.Message, ", bake time") { // all of the traffic is the new version's
					once.Do(func() {
						if _, err := api.SetAlarmState(t.Context(), &cloudwatch.SetAlarmStateInput{AlarmName: aws.String(c.strategy + "-lost"), StateValue: cwtypes.StateValueAlarm, StateReason: aws.String("3 orders lost")}); err != nil {
							t.Error(err)
						}
					})
				}
			})
			r := diagnosed(t, err, deploy.CauseAlarm, c.strategy+"-lost")
			t.Log(r.sentence)
			if now := s.serving(t, release("2")); now != good {
				t.Errorf("after the rollback %s serves, not %s", now, good)
			}
			seen, err := s.cloud.Deploy().Read(t.Context(), release("2").Ref())
			if err != nil || seen.TaskDefinition.Containers[0].Env["RELEASE"] != "2" {
				t.Errorf("after the rollback release %s runs, %v", seen.TaskDefinition.Containers[0].Env["RELEASE"], err)
			}
		})
	}
}

// written is a target whose definition is a slipway.yaml.
func (s *stage) written(t *testing.T, text string) deploy.Target {
	t.Helper()
	f, faults := service.Parse("slipway.yaml", []byte(text))
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	spec, faults := f.Spec("qa")
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	return deploy.Target{Spec: spec, Image: s.image, Infra: s.infra}
}

// weights are those of the service's rule, by target group.
func (s *stage) weights(t *testing.T, target deploy.Target) map[string]int {
	rules, err := elb.NewFromConfig(s.aws.Config).DescribeRules(t.Context(), &elb.DescribeRulesInput{ListenerArn: &s.infra.Listener})
	if err != nil {
		t.Error(err)
		return nil
	}
	for _, r := range rules.Rules {
		for _, c := range r.Conditions {
			if c.PathPatternConfig == nil || !slices.Contains(c.PathPatternConfig.Values, target.Spec.Route.Paths[0]) || r.Actions[0].ForwardConfig == nil {
				continue
			}
			out := map[string]int{}
			for _, g := range r.Actions[0].ForwardConfig.TargetGroups {
				arn := aws.ToString(g.TargetGroupArn)
				out[arn[strings.LastIndexByte(arn, ':')+1:]] = int(aws.ToInt32(g.Weight))
			}
			return out
		}
	}
	return nil
}

// serving is the target group that has most of the traffic.
func (s *stage) serving(t *testing.T, target deploy.Target) string {
	most := ""
	weights := s.weights(t, target)
	for g, w := range weights {
		if most == "" || w > weights[most] {
			most = g
		}
	}
	return most
}

// watchWeights notes each change of the share that does not go to a target group.
func (s *stage) watchWeights(t *testing.T, target deploy.Target, old string) (stop func() []int) {
	end, done := make(chan struct{}), make(chan []int)
	go func() {
		var seen []int
		for {
			share, all := 0, 0
			for g, w := range s.weights(t, target) {
				if all += w; g != old {
					share += w
				}
			}
			if all > 0 {
				share = share * 100 / all
			}
			if len(seen) == 0 || seen[len(seen)-1] != share {
				seen = append(seen, share)
			}
			select {
			case <-end:
				done <- seen
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() []int {
		close(end)
		return <-done
	}
}
