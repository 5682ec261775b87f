package awscloud

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// A disk of each task: made, found again, of another size without a new revision, and gone with its role.
func TestDisks(t *testing.T) {
	c, ctx := open(t), t.Context()
	cluster := clusterinfra.Spec{Name: "main", Instances: &clusterinfra.Instances{Type: "m7i.large", Min: 2, Max: 3}}
	if _, err := c.Clusters().Apply(ctx, cluster, nil); err != nil {
		t.Fatal(err)
	}
	in, err := c.Infra(ctx, "main", "")
	if err != nil {
		t.Fatal(err)
	}
	spec := worker()
	spec.Name, spec.Scaling, spec.Alarms = "disks", nil, nil
	spec.Containers[0].Mounts = []service.Mount{{Volume: "data", Path: "/data"}}
	spec.Volumes = []service.Volume{{Name: "data", EBS: &service.EBSVolume{SizeGiB: 10, Type: "gp3", FileSystem: "ext4", Encrypted: true, IOPS: 3500, Throughput: 200}}}
	target := deploy.Target{Spec: spec, Image: fakeImage, Infra: in}
	apply := func() deploy.Outcome {
		t.Helper()
		out, err := c.Deploy().Apply(ctx, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := c.Deploy().Plan(ctx, target); err != nil || !p.Empty() {
			t.Errorf("plan after apply: %+v, %v", p, err)
		}
		return out
	}
	read := func() deploy.Observed {
		t.Helper()
		o, err := c.Deploy().Read(ctx, target.Ref())
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	first := apply()
	o := read()
	if len(o.Spec.Volumes) != 1 || o.Spec.Volumes[0].EBS == nil || *o.Spec.Volumes[0].EBS != *spec.Volumes[0].EBS {
		t.Errorf("read back: %+v", o.Spec.Volumes)
	}
	if len(o.Service.Volumes) != 1 || !strings.Contains(o.Service.Volumes[0].Role, ":role/slipway-disks-qa-volume-") {
		t.Errorf("the service's volumes: %+v", o.Service.Volumes)
	}
	run, _, err := c.Deploy().Run(ctx, target.Ref(), deploy.OneOff{ID: "once"})
	if err != nil {
		t.Fatalf("a one-off task, which needs a disk too: %v", err)
	}
	if err := c.Deploy().StopTask(ctx, target.Ref(), run, "enough"); err != nil {
		t.Fatal(err)
	}

	bigger := *spec.Volumes[0].EBS
	bigger.SizeGiB = 20
	target.Spec.Volumes = []service.Volume{{Name: "data", EBS: &bigger}}
	p, err := c.Deploy().Plan(ctx, target)
	if err != nil || !p.Rollout || !strings.Contains(fmt.Sprintf("%+v", p), "volumes") {
		t.Errorf("plan of a bigger disk: %+v, %v", p, err)
	}
	second := apply()
	if second.TaskDefinition != first.TaskDefinition || second.Deployment == first.Deployment {
		t.Errorf("a bigger disk: %s %s, before %s %s", second.TaskDefinition, second.Deployment, first.TaskDefinition, first.Deployment)
	}
	if o := read(); o.Spec.Volumes[0].EBS.SizeGiB != 20 {
		t.Errorf("read back: %+v", o.Spec.Volumes[0].EBS)
	}

	target.Spec.Volumes, target.Spec.Containers[0].Mounts = nil, nil
	apply()
	if o := read(); len(o.Spec.Volumes)+len(o.Service.Volumes) != 0 {
		t.Errorf("still there: %+v, %+v", o.Spec.Volumes, o.Service.Volumes)
	}
	p, err = c.Deploy().Plan(ctx, target)
	if err != nil || strings.Contains(fmt.Sprintf("%+v", p), "volume role") {
		t.Errorf("the role should be gone: %+v, %v", p, err)
	}
	if err := c.Deploy().Delete(ctx, target.Ref(), deploy.DeleteOptions{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Clusters().Delete(ctx, "main", nil); err != nil {
		t.Error(err)
	}
}
