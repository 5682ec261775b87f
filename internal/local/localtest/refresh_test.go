package localtest_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func TestInstanceRefresh(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(50))
	f, ctx := newFleet(t, a, "hosts", 0, 8), t.Context()
	if err := f.desire(4); err != nil {
		t.Fatal(err)
	}
	f.reaches("InService", 4)
	start := func(p *types.RefreshPreferences) (*autoscaling.StartInstanceRefreshOutput, error) {
		return f.as.StartInstanceRefresh(ctx, &autoscaling.StartInstanceRefreshInput{AutoScalingGroupName: &f.group, Preferences: p})
	}
	_, err := start(&types.RefreshPreferences{AutoRollback: aws.Bool(true)})
	refused(t, err, "ValidationError")
	_, err = f.as.CancelInstanceRefresh(ctx, &autoscaling.CancelInstanceRefreshInput{AutoScalingGroupName: &f.group})
	refused(t, err, "ActiveInstanceRefreshNotFound")
	refresh := func(id *string) types.InstanceRefresh {
		return ok[autoscaling.DescribeInstanceRefreshesOutput](t)(f.as.DescribeInstanceRefreshes(ctx, &autoscaling.DescribeInstanceRefreshesInput{AutoScalingGroupName: &f.group, InstanceRefreshIds: []string{*id}})).InstanceRefreshes[0]
	}
	for _, c := range []struct {
		name        string
		preferences types.RefreshPreferences
		least, most int
	}{
		{"half at a time", types.RefreshPreferences{MinHealthyPercentage: aws.Int32(50), InstanceWarmup: aws.Int32(5)}, 2, 4},
		{"launch first", types.RefreshPreferences{MinHealthyPercentage: aws.Int32(100), MaxHealthyPercentage: aws.Int32(150), InstanceWarmup: aws.Int32(5)}, 4, 6},
		{"one by one", types.RefreshPreferences{MinHealthyPercentage: aws.Int32(100), InstanceWarmup: aws.Int32(5)}, 3, 4},
		{"with a checkpoint", types.RefreshPreferences{MinHealthyPercentage: aws.Int32(50), CheckpointPercentages: []int32{50}, CheckpointDelay: aws.Int32(60), InstanceWarmup: aws.Int32(5)}, 2, 4},
	} {
		before := f.in("InService")
		began := time.Now()
		out := ok[autoscaling.StartInstanceRefreshOutput](t)(start(&c.preferences))
		_, err := start(nil)
		refused(t, err, "InstanceRefreshInProgress")
		least, most := 99, 0
		localtest.Eventually(t, c.name, func() bool {
			n, working := 0, 0
			for _, i := range f.describe().Instances {
				switch i.LifecycleState {
				case "InService":
					n, working = n+1, working+1
				case "Pending":
					n++
				}
			}
			least, most = min(least, working), max(most, n)
			return refresh(out.InstanceRefreshId).Status == "Successful"
		})
		if least < c.least || most > c.most {
			t.Errorf("%s: between %d and %d instances, want %d and %d", c.name, least, most, c.least, c.most)
		}
		for _, id := range f.reaches("InService", 4) {
			if slices.Contains(before, id) {
				t.Errorf("%s: %s was not replaced", c.name, id)
			}
		}
		if len(c.preferences.CheckpointPercentages) > 0 && time.Since(began) < 60*time.Second/50 {
			t.Errorf("%s: it did not wait", c.name)
		}
		same(t, c.name, aws.ToInt32(refresh(out.InstanceRefreshId).PercentageComplete), 100)
	}
	// What is right already stays; with a new version of the template nothing is.
	before := f.in("InService")
	skip := ok[autoscaling.StartInstanceRefreshOutput](t)(start(&types.RefreshPreferences{SkipMatching: aws.Bool(true)}))
	localtest.Eventually(t, "nothing to do", func() bool { return refresh(skip.InstanceRefreshId).Status == "Successful" })
	same(t, "instances kept", slices.Equal(before, f.in("InService")), true)
	e := ec2.NewFromConfig(a.Config)
	ok[ec2.CreateLaunchTemplateVersionOutput](t)(e.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateName: &f.group, SourceVersion: aws.String("1"), LaunchTemplateData: &ec2types.RequestLaunchTemplateData{InstanceType: "c5.large"}}))
	ok[ec2.ModifyLaunchTemplateOutput](t)(e.ModifyLaunchTemplate(ctx, &ec2.ModifyLaunchTemplateInput{LaunchTemplateName: &f.group, DefaultVersion: aws.String("2")}))
	ok[autoscaling.StartInstanceRefreshOutput](t)(start(&types.RefreshPreferences{SkipMatching: aws.Bool(true), MinHealthyPercentage: aws.Int32(0)}))
	localtest.Eventually(t, "all of the new type", func() bool {
		in := f.describe().Instances
		return len(in) == 4 && !slices.ContainsFunc(in, func(i types.Instance) bool { return *i.InstanceType != "c5.large" || i.LifecycleState != "InService" })
	})
}

func TestScheduledCapacity(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(300))
	f, ctx := newFleet(t, a, "hosts", 0, 8), t.Context()
	put := func(name string, change func(*autoscaling.PutScheduledUpdateGroupActionInput)) error {
		in := &autoscaling.PutScheduledUpdateGroupActionInput{AutoScalingGroupName: &f.group, ScheduledActionName: &name, DesiredCapacity: aws.Int32(3)}
		change(in)
		_, err := f.as.PutScheduledUpdateGroupAction(ctx, in)
		return err
	}
	refused(t, put("x", func(in *autoscaling.PutScheduledUpdateGroupActionInput) {}), "ValidationError")
	refused(t, put("x", func(in *autoscaling.PutScheduledUpdateGroupActionInput) { in.Recurrence = aws.String("at noon") }), "ValidationError")
	refused(t, put("x", func(in *autoscaling.PutScheduledUpdateGroupActionInput) {
		in.StartTime = aws.Time(time.Now().Add(-time.Hour))
	}), "ValidationError")
	if err := put("rush", func(in *autoscaling.PutScheduledUpdateGroupActionInput) {
		in.Recurrence, in.MinSize = aws.String("* * * * *"), aws.Int32(2)
	}); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "the rush", func() bool { g := f.describe(); return *g.DesiredCapacity == 3 && *g.MinSize == 2 })
	ok[autoscaling.DeleteScheduledActionOutput](t)(f.as.DeleteScheduledAction(ctx, &autoscaling.DeleteScheduledActionInput{AutoScalingGroupName: &f.group, ScheduledActionName: aws.String("rush")}))
	if err := put("once", func(in *autoscaling.PutScheduledUpdateGroupActionInput) {
		in.StartTime, in.DesiredCapacity = aws.Time(time.Now().Add(20*time.Minute)), aws.Int32(5)
	}); err != nil {
		t.Fatal(err)
	}
	localtest.Eventually(t, "the single time", func() bool { return *f.describe().DesiredCapacity == 5 })
	left := ok[autoscaling.DescribeScheduledActionsOutput](t)(f.as.DescribeScheduledActions(ctx, &autoscaling.DescribeScheduledActionsInput{AutoScalingGroupName: &f.group}))
	same(t, "actions left", len(left.ScheduledUpdateGroupActions), 0)
}
