package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/web"
)

// lookCluster is the cluster as cluster top shows it.
func lookCluster(ctx context.Context, cloud *awscloud.Cloud, name string) web.Cluster {
	c := web.Cluster{Name: name, Instances: []web.Instance{}}
	v, err := lookTop(ctx, cloud, name)
	if err != nil {
		c.Problem = "the cluster could not be read: " + err.Error()
		return c
	}
	for _, s := range v.services {
		c.Groups = append(c.Groups, "service:"+s.Name)
	}
	for k := range v.instances {
		i := &v.instances[k]
		out := web.Instance{ID: i.EC2ID, Type: i.Type, Zone: i.AZ, State: i.Status, CPU: web.Amount{Used: i.Used.CPU, Whole: i.Registered.CPU}, Memory: web.Amount{Used: i.Used.Memory, Whole: i.Registered.Memory}}
		if i.Mark != nil && out.State == "ACTIVE" {
			out.State = "MARKED"
		}
		by := map[string]*web.Share{}
		for n := range i.Tasks {
			t := &i.Tasks[n]
			s := by[t.Group]
			if s == nil {
				s = &web.Share{Group: t.Group}
				by[t.Group] = s
			}
			s.Tasks, s.CPU, s.Memory = s.Tasks+1, s.CPU+t.Need.CPU, s.Memory+t.Need.Memory
			if !slices.Contains(c.Groups, t.Group) {
				c.Groups = append(c.Groups, t.Group)
			}
		}
		for _, g := range c.Groups {
			if s := by[g]; s != nil {
				out.Shares = append(out.Shares, *s)
			}
		}
		c.CPU.Used, c.CPU.Whole = c.CPU.Used+out.CPU.Used, c.CPU.Whole+out.CPU.Whole
		c.Memory.Used, c.Memory.Whole = c.Memory.Used+out.Memory.Used, c.Memory.Whole+out.Memory.Whole
		c.Instances = append(c.Instances, out)
	}
	for _, r := range v.rotations {
		c.Notices = append(c.Notices, fmt.Sprintf("Rotation of %s: %d of %d, %d draining, %s", r.Group, r.Done, r.Total, r.Draining, r.Phase))
	}
	for _, d := range v.drains {
		said := fmt.Sprintf("%s drains: %d tasks left", d.EC2ID, d.Left)
		if len(d.Waits) > 0 {
			said += "; " + d.Waits[0].Sentence
		}
		c.Notices = append(c.Notices, said)
	}
	return c
}
