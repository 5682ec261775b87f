package controller

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	aas "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	aastypes "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/drain"
)

// Who scales is read from the APIs of ECS, Auto Scaling and Application Auto Scaling: each fight is warned of,
// and gone when it is ended.
func TestWarnings(t *testing.T) {
	w := newWorld(t, 1, 2)
	ctx, scaler := t.Context(), aas.NewFromConfig(w.aws.Config)
	w.define("loose", 0, nil)
	w.service("loose", 1, nil)
	scale := func(service string, most int32, metric aastypes.MetricType, cooldown *int32) {
		id, dim := aws.String("service/"+cluster+"/"+service), aastypes.ScalableDimensionECSServiceDesiredCount
		must[aas.RegisterScalableTargetOutput](t)(scaler.RegisterScalableTarget(ctx, &aas.RegisterScalableTargetInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: dim, MinCapacity: aws.Int32(1), MaxCapacity: &most}))
		must[aas.PutScalingPolicyOutput](t)(scaler.PutScalingPolicy(ctx, &aas.PutScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: id, ScalableDimension: dim, PolicyName: aws.String("slipway-x"), PolicyType: aastypes.PolicyTypeTargetTrackingScaling,
			TargetTrackingScalingPolicyConfiguration: &aastypes.TargetTrackingScalingPolicyConfiguration{TargetValue: aws.Float64(70), ScaleInCooldown: cooldown, PredefinedMetricSpecification: &aastypes.PredefinedMetricSpecification{PredefinedMetricType: metric}}}))
	}
	scale("web", 500, aastypes.MetricTypeECSServiceAverageCPUUtilization, aws.Int32(30)) // 60 instances of four
	scale("loose", 3, aastypes.MetricTypeECSServiceAverageCPUUtilization, nil)
	must[aas.PutScheduledActionOutput](t)(scaler.PutScheduledAction(ctx, &aas.PutScheduledActionInput{ServiceNamespace: "ecs", ResourceId: aws.String("service/" + cluster + "/web"), ScalableDimension: aastypes.ScalableDimensionECSServiceDesiredCount,
		ScheduledActionName: aws.String("sale"), Schedule: aws.String("cron(0 9 * * ? *)"), ScalableTargetAction: &aastypes.ScalableTargetAction{MaxCapacity: aws.Int32(600)}}))
	step := func(service, name, kind string, by int32, cooldown *int32) {
		must[aas.PutScalingPolicyOutput](t)(scaler.PutScalingPolicy(ctx, &aas.PutScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: aws.String("service/" + cluster + "/" + service), ScalableDimension: aastypes.ScalableDimensionECSServiceDesiredCount, PolicyName: &name, PolicyType: aastypes.PolicyTypeStepScaling,
			StepScalingPolicyConfiguration: &aastypes.StepScalingPolicyConfiguration{AdjustmentType: aastypes.AdjustmentType(kind), Cooldown: cooldown, StepAdjustments: []aastypes.StepAdjustment{{MetricIntervalUpperBound: aws.Float64(0), ScalingAdjustment: &by}}}}))
	}
	step("web", "calm", "ChangeInCapacity", -1, nil) // 300 s where none is said
	step("loose", "fair", "ExactCapacity", 9, nil)
	must[autoscaling.PutScalingPolicyOutput](t)(w.as.PutScalingPolicy(ctx, &autoscaling.PutScalingPolicyInput{AutoScalingGroupName: aws.String(group), PolicyName: aws.String("up"), PolicyType: aws.String("SimpleScaling"), AdjustmentType: aws.String("ChangeInCapacity"), ScalingAdjustment: aws.Int32(1)}))
	must[autoscaling.PutScheduledUpdateGroupActionOutput](t)(w.as.PutScheduledUpdateGroupAction(ctx, &autoscaling.PutScheduledUpdateGroupActionInput{AutoScalingGroupName: aws.String(group), ScheduledActionName: aws.String("night"), Recurrence: aws.String("0 22 * * *"), DesiredCapacity: aws.Int32(1)}))
	must[ecs.CreateCapacityProviderOutput](t)(w.ecs.CreateCapacityProvider(ctx, &ecs.CreateCapacityProviderInput{Name: aws.String("cp"), AutoScalingGroupProvider: &ecstypes.AutoScalingGroupProvider{AutoScalingGroupArn: w.describe().AutoScalingGroupARN,
		ManagedScaling: &ecstypes.ManagedScaling{Status: ecstypes.ManagedScalingStatusEnabled, TargetCapacity: aws.Int32(100)}}}))
	must[ecs.PutClusterCapacityProvidersOutput](t)(w.ecs.PutClusterCapacityProviders(ctx, &ecs.PutClusterCapacityProvidersInput{Cluster: aws.String(cluster), CapacityProviders: []string{"cp"}, DefaultCapacityProviderStrategy: []ecstypes.CapacityProviderStrategyItem{}}))

	found := func() map[autoscale.Friction]autoscale.Warning {
		ws, err := w.engines(nil).scale.Warnings(ctx)
		if err != nil {
			t.Fatal(err)
		}
		out := map[autoscale.Friction]autoscale.Warning{}
		for _, x := range ws {
			out[x.Kind] = x
		}
		return out
	}
	got := found()
	for kind, want := range map[autoscale.Friction]string{
		autoscale.NoRoom:        "service web may grow to 600 tasks (the maximum of its schedule sale)",
		autoscale.NoReservation: "service loose is scaled on CPU",
		autoscale.QuickIn:       "service web may shrink again after 30s",
		autoscale.StepsAndTrack: "which knows nothing of its target tracking (slipway-x)",
		autoscale.StepBeyond:    "policy fair steps service loose to 9 tasks, but its maximum is 3",
		autoscale.TwoSizers:     "capacity provider cp",
		autoscale.OwnPolicy:     "(up)",
		autoscale.OwnSchedule:   "(night)",
		autoscale.ZoneBalance:   "group hosts evens out its zones",
	} {
		if !strings.Contains(got[kind].Says, want) || got[kind].Do == "" {
			t.Errorf("%s: %+v; want %q", kind, got[kind], want)
		}
	}
	if len(got) != 9 {
		t.Errorf("%+v", got)
	}

	// What each warning says to do ends it.
	must[autoscaling.SuspendProcessesOutput](t)(w.as.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String(group), ScalingProcesses: []string{"AZRebalance"}}))
	must[autoscaling.DeletePolicyOutput](t)(w.as.DeletePolicy(ctx, &autoscaling.DeletePolicyInput{AutoScalingGroupName: aws.String(group), PolicyName: aws.String("up")}))
	must[autoscaling.DeleteScheduledActionOutput](t)(w.as.DeleteScheduledAction(ctx, &autoscaling.DeleteScheduledActionInput{AutoScalingGroupName: aws.String(group), ScheduledActionName: aws.String("night")}))
	for service, name := range map[string]string{"web": "calm", "loose": "fair"} {
		must[aas.DeleteScalingPolicyOutput](t)(scaler.DeleteScalingPolicy(ctx, &aas.DeleteScalingPolicyInput{ServiceNamespace: "ecs", ResourceId: aws.String("service/" + cluster + "/" + service), ScalableDimension: aastypes.ScalableDimensionECSServiceDesiredCount, PolicyName: &name}))
	}
	must[ecs.UpdateCapacityProviderOutput](t)(w.ecs.UpdateCapacityProvider(ctx, &ecs.UpdateCapacityProviderInput{Name: aws.String("cp"), AutoScalingGroupProvider: &ecstypes.AutoScalingGroupProviderUpdate{ManagedScaling: &ecstypes.ManagedScaling{Status: ecstypes.ManagedScalingStatusDisabled}}}))
	scale("web", 100, aastypes.MetricTypeECSServiceAverageCPUUtilization, aws.Int32(240))
	must[aas.DeleteScheduledActionOutput](t)(scaler.DeleteScheduledAction(ctx, &aas.DeleteScheduledActionInput{ServiceNamespace: "ecs", ResourceId: aws.String("service/" + cluster + "/web"), ScalableDimension: aastypes.ScalableDimensionECSServiceDesiredCount, ScheduledActionName: aws.String("sale")}))
	scale("loose", 3, aastypes.MetricTypeECSServiceAverageMemoryUtilization, nil)
	if got := found(); len(got) != 0 {
		t.Errorf("still %+v", got)
	}

	// A group and two services that go to and fro are seen as such.
	for range 2 {
		for _, n := range []int32{3, 1} {
			must[autoscaling.SetDesiredCapacityOutput](t)(w.as.SetDesiredCapacity(ctx, &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String(group), DesiredCapacity: &n}))
			w.until("the group is as large", func(*drain.State) bool { return len(w.describe().Instances) == int(n) })
		}
	}
	if x := found()[autoscale.Oscillates]; !strings.Contains(x.Says, "and no service did") {
		t.Errorf("%+v", x)
	}
}
