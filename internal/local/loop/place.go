package loop

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// placer chooses instances for equal tasks and checks each choice against the state.
type placer struct {
	tx    *state.Tx
	ecs   *state.ECS
	batch *placement.Batch
}

func (s *Services) placer(tx *state.Tx, cluster string, t *state.Task, req *placement.Request) (*placer, error) {
	b, err := placement.NewBatch(req, s.fleet.candidates(cluster, t.CapacityProvider))
	if err != nil {
		return nil, fmt.Errorf("placing tasks of %s: %w", t.Group, err)
	}
	return &placer{tx, s.cfg.State, b}, nil
}

// next is an instance for one more task, or nil. The task is booked in the fleet as long as this
// transaction lasts; settle makes it last.
func (p *placer) next() *placement.Instance {
	for {
		i := p.batch.Next()
		if i == nil {
			return nil
		}
		// The fleet may lag behind: RunTask may have used the room.
		now, ok := current(p.tx, p.ecs, i.ID)
		if ok && p.batch.Fits(now) {
			return i
		}
		p.batch.Drop(i)
	}
}

// settle puts a task on the instance and books it.
func (s *Services) settle(tx *state.Tx, t *state.Task, i *placement.Instance) {
	t.ContainerInstance, t.AZ = i.ID, i.AZ
	if t.NetworkConfiguration == nil {
		t.LastStatus = "PENDING" // an interface is attached in PROVISIONING
	}
	s.cfg.State.Tasks.Put(tx, t.ARN, t)
	// The batch has booked it already, without a name to release it by.
	s.fleet.booked[t.ARN] = t
}

// zones are the Availability Zones of the subnets a task may use; none: it needs no subnet.
func (s *Services) zones(tx *state.Tx, t *state.Task) []string {
	if t.NetworkConfiguration == nil || t.NetworkConfiguration.AwsvpcConfiguration == nil || s.cfg.Subnets == nil {
		return nil
	}
	var out []string
	for _, id := range t.NetworkConfiguration.AwsvpcConfiguration.Subnets {
		if z, _, ok := s.cfg.Subnets.Subnet(tx, id); ok && !slices.Contains(out, z) {
			out = append(out, z)
		}
	}
	return out
}

// launch starts n tasks of a deployment (on the host, for daemons) and returns the records of those
// that could be. short says that some had no room.
func (r *reconciliation) launch(d *state.Deployment, n int, host string) (started []*state.Task, short bool, err error) {
	s, tx, now := r.s, r.tx, r.now
	spec := r.specOf(d)
	td, ok := s.cfg.State.TaskDefinitions.Get(tx, definitionKey(d.TaskDefinition))
	if !ok {
		return nil, false, fmt.Errorf("task definition %s is not there", d.TaskDefinition)
	}
	strategy := spec.CapacityProviderStrategy
	if c, ok := s.cfg.State.Clusters.Get(tx, r.svc.ClusterName); ok && len(strategy) == 0 && spec.LaunchType == nil {
		strategy = c.DefaultStrategy
	}
	have := map[string]int{}
	for _, t := range r.live {
		have[t.CapacityProvider]++
	}
	placers := map[string]*placer{}
	rev, _ := s.cfg.State.ServiceRevisions.Get(tx, d.Revision)
	for range n {
		t := newTask(r.svc, spec, d, td, now)
		if rev != nil {
			t.Volumes = serviceVolumes(rev.API.VolumeConfigurations)
		}
		if len(strategy) > 0 {
			t.CapacityProvider, t.LaunchType = nextProvider(strategy, have), "EC2"
			if onFargate(t.CapacityProvider) {
				t.LaunchType = "FARGATE"
			} else if p, ok := s.cfg.State.CapacityProviders.Get(tx, t.CapacityProvider); ok && p.API.ManagedInstancesProvider != nil {
				t.LaunchType = "MANAGED_INSTANCES"
			}
			have[t.CapacityProvider]++
		}
		zones := s.zones(tx, t)
		if r.zone != "" {
			zones = []string{r.zone}
		}
		if t.LaunchType == "FARGATE" {
			if !s.cfg.State.FargateRoom(tx, t) {
				s.repeat(tx, r.svc, placementRepeat, "was unable to place a task. Reason: "+state.FargateQuota)
				r.wake = earliest(r.wake, r.now.Add(quotaLook))
				return started, true, nil
			}
			t.AZ = r.emptiest(zones, started)
			t.PlatformVersion = "1.4.0"
			if v := wire.Value(spec.PlatformVersion); v != "" && v != "LATEST" {
				t.PlatformVersion = v
			}
			s.cfg.State.Tasks.Put(tx, t.ARN, t)
			started = append(started, t)
			continue
		}
		p := placers[t.CapacityProvider]
		if p == nil {
			req := requestFor(t, td, r.svc.Spec.PlacementConstraints, r.svc.Spec.PlacementStrategy, zones)
			if host != "" {
				only := []*placement.Instance{}
				if m := s.fleet.byARN[host]; m != nil {
					only = append(only, m.Instance)
				}
				b, err := placement.NewBatch(req, only)
				if err != nil {
					return nil, false, err
				}
				p = &placer{tx, s.cfg.State, b}
			} else if p, err = s.placer(tx, r.svc.ClusterName, t, req); err != nil {
				return nil, false, err
			}
			placers[t.CapacityProvider] = p
		}
		i := p.next()
		switch {
		case i != nil:
			s.settle(tx, t, i)
			started = append(started, t)
		case r.zone != "":
			return started, true, nil
		case t.CapacityProvider != "" && host == "" && r.unplaced(t.ClusterName) < provisioningLimit:
			s.cfg.State.Tasks.Put(tx, t.ARN, t) // it waits for capacity
			r.waiting++
			started, r.hungry = append(started, t), true
		case t.CapacityProvider != "" && host == "":
			s.repeat(tx, r.svc, 5*time.Minute, "was unable to place tasks in your cluster because the tasks provisioning capacity limit was exceeded.")
			return started, true, nil
		default:
			s.noRoom(tx, r.svc, p)
			return started, true, nil
		}
	}
	return started, false, nil
}

// unplaced counts the tasks of the cluster that wait for capacity.
func (r *reconciliation) unplaced(cluster string) int {
	if r.waiting < 0 {
		r.waiting = r.s.cfg.State.UnplacedTasks.Count(r.tx, cluster)
	}
	return r.waiting
}

// placeWaiting places tasks that have been waiting for the capacity of their provider.
func (r *reconciliation) placeWaiting() error {
	placers := map[string]*placer{}
	for k, t := range r.live {
		if t.ContainerInstance != "" || t.LaunchType == "FARGATE" {
			continue
		}
		td, ok := r.s.cfg.State.TaskDefinitions.Get(r.tx, definitionKey(t.TaskDefinition))
		if !ok {
			continue
		}
		pk := t.CapacityProvider + " " + t.TaskDefinition
		p := placers[pk]
		if p == nil {
			var err error
			req := requestFor(t, td, r.svc.Spec.PlacementConstraints, r.svc.Spec.PlacementStrategy, r.s.zones(r.tx, t))
			if p, err = r.s.placer(r.tx, r.svc.ClusterName, t, req); err != nil {
				return err
			}
			placers[pk] = p
		}
		i := p.next()
		if i == nil {
			r.hungry = true
			continue
		}
		next := *t
		r.s.settle(r.tx, &next, i)
		r.live[k] = &next
	}
	return nil
}

// placementRepeat is how often the same complaint is written again.
const placementRepeat = 15 * time.Minute

// quotaLook is how often a service looks whether the account's quota has been raised.
const quotaLook = 30 * time.Second

// noRoom writes the event that says why no instance took a task.
func (s *Services) noRoom(tx *state.Tx, svc *state.Service, p *placer) {
	const head = "was unable to place a task because no container instance met all of its requirements. "
	refusals := p.batch.Refusals()
	closest, ok := placement.Closest(refusals)
	if !ok {
		s.repeat(tx, svc, placementRepeat, head+"Reason: No Container Instances were found in your cluster.")
		return
	}
	ci := "(container-instance " + lastPart(closest.InstanceID) + ")"
	var reason string
	switch closest.Reason {
	case placement.NoCPU:
		reason = "The closest matching " + ci + " has insufficient CPU units available."
	case placement.NoMemory:
		reason = "The closest matching " + ci + " has insufficient memory available."
	case placement.PortInUse:
		reason = "The closest matching " + ci + " is already using a port required by your task."
	case placement.Agent:
		reason = "The closest matching " + ci + ` encountered error "AGENT".`
	case placement.NoENI:
		reason = "The closest matching " + ci + ` encountered error "RESOURCE:ENI".`
	case placement.NoGPU:
		reason = "The closest matching " + ci + ` encountered error "RESOURCE:GPU".`
	case placement.MissingAttr:
		reason = "The closest matching " + ci + " is missing an attribute required by your task."
	case placement.Inactive:
		s.repeat(tx, svc, placementRepeat, head+"Reason: No Container Instances were found in your cluster.")
		return
	default:
		reason = "The closest matching " + ci + ` encountered error "` + string(closest.Reason) + `".`
	}
	s.repeat(tx, svc, placementRepeat, "%s%s For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.", head, reason)
}
