package awscloud

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// Somebody edits the service in the console: a new revision with all tags copied, and an alarm that
// looks at another service. Just these are named, and the next deployment takes them back.
func TestWhatIsChangedOutsideIsNamed(t *testing.T) {
	c, ctx := open(t), t.Context()
	if _, err := c.Clusters().Apply(ctx, clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 2, Max: 3}}, nil); err != nil {
		t.Fatal(err)
	}
	in, err := c.Infra(ctx, "main", "")
	if err != nil {
		t.Fatal(err)
	}
	spec := worker()
	spec.Scaling = nil
	spec.Containers[0].Ports = []service.Port{{Container: 8080, Protocol: "tcp"}}
	spec.Volumes = []service.Volume{{Name: "data", EBS: &service.EBSVolume{SizeGiB: 10, Type: "gp3", FileSystem: "xfs"}}, {Name: "host", HostPath: "/srv"}}
	spec.Containers[0].Mounts = []service.Mount{{Volume: "data", Path: "/data"}, {Volume: "host", Path: "/srv"}}
	target := deploy.Target{Spec: spec, Image: fakeImage, Infra: in}
	first, err := c.Deploy().Apply(ctx, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	api := ecs.NewFromConfig(c.cfg)
	was, err := api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &first.TaskDefinition, Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags}})
	if err != nil {
		t.Fatal(err)
	}
	td := was.TaskDefinition
	td.ContainerDefinitions[0].Environment[0].Value = aws.String("by hand")
	made, err := api.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: td.Family, ContainerDefinitions: td.ContainerDefinitions, Volumes: td.Volumes, NetworkMode: td.NetworkMode,
		RequiresCompatibilities: td.RequiresCompatibilities, TaskRoleArn: td.TaskRoleArn, ExecutionRoleArn: td.ExecutionRoleArn, RuntimePlatform: td.RuntimePlatform, Cpu: td.Cpu, Memory: td.Memory, Tags: was.Tags})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := api.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("main"), Service: aws.String("worker-qa"), TaskDefinition: made.TaskDefinition.TaskDefinitionArn}); err != nil {
		t.Fatal(err)
	}
	alarms := cloudwatch.NewFromConfig(c.cfg)
	listed, err := alarms.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNamePrefix: aws.String("slipway-main-worker-qa-")})
	if err != nil || len(listed.MetricAlarms) != 1 {
		t.Fatalf("alarms %+v, %v", listed, err)
	}
	a := listed.MetricAlarms[0]
	if _, err := alarms.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{AlarmName: a.AlarmName, AlarmDescription: a.AlarmDescription, Namespace: a.Namespace, MetricName: a.MetricName, Statistic: a.Statistic,
		Dimensions: dimensions("ClusterName", "main", "ServiceName", "other"), Period: a.Period, EvaluationPeriods: a.EvaluationPeriods, Threshold: a.Threshold, ComparisonOperator: a.ComparisonOperator, TreatMissingData: a.TreatMissingData}); err != nil {
		t.Fatal(err)
	}
	named := func() (out []string) {
		t.Helper()
		p, err := c.Deploy().Plan(ctx, target)
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range p.Changes {
			for _, f := range ch.Fields {
				out = append(out, ch.Resource+" "+f.Path)
			}
			if ch.Action != deploy.Keep && len(ch.Fields) == 0 {
				out = append(out, ch.Resource+" "+string(ch.Action))
			}
		}
		return out
	}
	if got, want := named(), []string{"task definition containers.worker.env", "alarm metric", "service task_definition"}; !slices.Equal(got, want) {
		t.Errorf("named: %q, want %q", got, want)
	}
	again, err := c.Deploy().Apply(ctx, target, nil)
	if err != nil || again.TaskDefinition == *made.TaskDefinition.TaskDefinitionArn || !strings.Contains(again.TaskDefinition, ":task-definition/worker-qa:") {
		t.Errorf("repaired with %s, %v", again.TaskDefinition, err)
	}
	if got := named(); len(got) > 0 {
		t.Errorf("still named after it was repaired: %q", got)
	}
	if err := c.Deploy().Delete(ctx, target.Ref(), deploy.DeleteOptions{}, nil); err != nil {
		t.Error(err)
	}
}
