package awscloud

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// A service whose tasks end by themselves some time after they were taken for good sets the alarm off;
// stopping its tasks and deploying again do not.
func TestTasksThatEndSetAnAlarmOff(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime, which needs root")
	}
	url := startLocalWith(t, "sandbox", 10)
	c, ctx := openAt(t, url), t.Context()
	if _, err := c.Repositories().Apply(ctx, clusterinfra.Repository{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	image := pushApp(t, c, strings.TrimPrefix(url, "http://"))
	if _, err := c.Clusters().Apply(ctx, clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 1, Max: 2}}, nil); err != nil {
		t.Fatal(err)
	}
	in, err := c.Infra(ctx, "main", "")
	if err != nil {
		t.Fatal(err)
	}
	spec := worker()
	spec.Scaling = nil
	spec.Alarms = service.DefaultAlarms(spec, nil)
	target := deploy.Target{Spec: spec, Image: image, Infra: in}
	state := func() (string, string) {
		t.Helper()
		out, err := cloudwatch.NewFromConfig(c.cfg).DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"slipway-main-worker-qa-default-churn"}})
		if err != nil || len(out.MetricAlarms) != 1 {
			t.Fatalf("alarms %+v, %v", out, err)
		}
		a := out.MetricAlarms[0]
		return string(a.StateValue), *a.StateReason
	}
	apply := func(mode string) {
		t.Helper()
		target.Spec.Containers[0].Env = map[string]string{"MODE": mode}
		if _, err := c.Deploy().Apply(ctx, target, func(e deploy.Event) { t.Logf("%s %s %s", e.Kind, e.Action, e.Message) }); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []string{"", "again", "and again"} { // six tasks start, four are stopped
		apply(mode)
	}
	apply("later")
	if s, why := state(); s == string(types.StateValueAlarm) {
		t.Errorf("deployments set it off: %s", why)
	}
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		s, why := state()
		if s == string(types.StateValueAlarm) {
			t.Log(why)
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still %s: %s", s, why)
		}
	}
	if err := c.Deploy().Delete(ctx, target.Ref(), deploy.DeleteOptions{}, nil); err != nil {
		t.Error(err)
	}
	left, err := eventbridge.NewFromConfig(c.cfg).ListRules(ctx, &eventbridge.ListRulesInput{})
	if err != nil || len(left.Rules) > 0 {
		t.Errorf("the rule that counted is still there: %+v, %v", left, err)
	}
}
