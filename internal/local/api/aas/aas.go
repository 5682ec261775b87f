// Package aas is Application Auto Scaling of the local AWS for ECS services: scalable targets, target
// tracking with the two alarms AWS makes, step and scheduled scaling.
package aas

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/aasapi"
)

// Target is a scalable target. Key: resource id.
type Target struct {
	ResourceID, ARN, RoleARN string
	Min, Max                 int32
	Suspended                aasapi.SuspendedState
	Tags                     map[string]string
	CreatedAt                time.Time
}

// Policy is a scaling policy. Key: resource id + "\x00" + name.
type Policy struct {
	API aasapi.ScalingPolicy
	// LastOut and LastIn are when it last scaled, for the cooldowns.
	LastOut, LastIn time.Time
}

// Scheduled is a scheduled action. Key: resource id + "\x00" + name.
type Scheduled struct {
	API     aasapi.ScheduledAction
	LastRun time.Time
}

// Activity is a scaling activity. Key: resource id + "\x00" + sortable id.
type Activity struct{ API aasapi.ScalingActivity }

// Service is Application Auto Scaling. Its loop is Run.
type Service struct {
	db         *state.DB
	ecs        *state.ECS
	cw         *cloudwatch.Service
	targets    *state.Table[Target]
	policies   *state.Table[Policy]
	scheduled  *state.Table[Scheduled]
	activities *state.Table[Activity]
	clock      clock.Clock
	log        *slog.Logger
	region     string
	account    string
}

// Config is what the service needs to know.
type Config struct {
	DB              *state.DB
	ECS             *state.ECS
	CloudWatch      *cloudwatch.Service
	Clock           clock.Clock
	Log             *slog.Logger
	Region, Account string
}

// Register adds the operations to svc and the tables to the store, and listens to alarms.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{db: c.DB, ecs: c.ECS, cw: c.CloudWatch, clock: c.Clock, log: c.Log, region: c.Region, account: c.Account}
	var e1, e2, e3, e4 error
	s.targets, e1 = state.NewTable[Target](c.DB, "aas.targets")
	s.policies, e2 = state.NewTable[Policy](c.DB, "aas.policies")
	s.scheduled, e3 = state.NewTable[Scheduled](c.DB, "aas.scheduled")
	s.activities, e4 = state.NewTable[Activity](c.DB, "aas.activities")
	if err := errors.Join(e1, e2, e3, e4); err != nil {
		return nil, err
	}
	wire.Handle(svc, "RegisterScalableTarget", s.register, wire.Partly("ECS services only"))
	wire.Handle(svc, "DeregisterScalableTarget", s.deregister)
	wire.Handle(svc, "DescribeScalableTargets", s.describeTargets)
	wire.Handle(svc, "PutScalingPolicy", s.putPolicy, wire.Partly("metric math and predictive scaling"))
	wire.Handle(svc, "DeleteScalingPolicy", s.deletePolicy)
	wire.Handle(svc, "DescribeScalingPolicies", s.describePolicies)
	wire.Handle(svc, "PutScheduledAction", s.putScheduled)
	wire.Handle(svc, "DeleteScheduledAction", s.deleteScheduled)
	wire.Handle(svc, "DescribeScheduledActions", s.describeScheduled)
	wire.Handle(svc, "DescribeScalingActivities", s.describeActivities)
	wire.Handle(svc, "TagResource", s.tag)
	wire.Handle(svc, "UntagResource", s.untag)
	wire.Handle(svc, "ListTagsForResource", s.tags)
	c.CloudWatch.OnAlarm(s.onAlarm)
	return s, nil
}

var serviceResource = regexp.MustCompile(`^service/([^/]+)/([^/]+)$`)

// serviceKey is the key of the ECS service a resource id names.
func serviceKey(resource string) (string, bool) {
	m := serviceResource.FindStringSubmatch(resource)
	if m == nil {
		return "", false
	}
	return state.ServiceKey(m[1], m[2]), true
}

func checkKind(namespace, dimension *string) error {
	if ns := wire.Value(namespace); ns != "ecs" {
		return wire.Errorf("ValidationException", "not supported: the service namespace %s; only ecs is", ns)
	}
	if d := wire.Value(dimension); d != "" && d != "ecs:service:DesiredCount" {
		return wire.Errorf("ValidationException", "Unsupported service namespace, resource type or scalable dimension: %s", d)
	}
	return nil
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func noTarget(id string) error {
	return wire.Errorf("ObjectNotFoundException", "No scalable target found for service namespace: ecs, resource ID: %s, scalable dimension: ecs:service:DesiredCount", id)
}

func (s *Service) register(_ context.Context, in *aasapi.RegisterScalableTargetInput) (*aasapi.RegisterScalableTargetOutput, error) {
	if err := checkKind(in.ServiceNamespace, in.ScalableDimension); err != nil {
		return nil, err
	}
	id := wire.Value(in.ResourceId)
	key, ok := serviceKey(id)
	if !ok {
		return nil, wire.Errorf("ValidationException", "Unsupported service namespace, resource type or scalable dimension: %s", id)
	}
	out := &aasapi.RegisterScalableTargetOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		t := Target{ResourceID: id, ARN: "arn:aws:application-autoscaling:" + s.region + ":" + s.account + ":scalable-target/" + newID()[24:], Min: -1, Max: -1, Tags: in.Tags, CreatedAt: s.clock.Now(),
			Suspended: aasapi.SuspendedState{DynamicScalingInSuspended: wire.Ptr(false), DynamicScalingOutSuspended: wire.Ptr(false), ScheduledScalingSuspended: wire.Ptr(false)},
			RoleARN:   cmp.Or(wire.Value(in.RoleARN), "arn:aws:iam::"+s.account+":role/aws-service-role/ecs.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_ECSService")}
		if old, ok := s.targets.Get(tx, id); ok {
			t = *old
		}
		if svc, ok := s.ecs.Services.Get(tx, key); !ok || svc.Status == "INACTIVE" {
			return wire.Errorf("ValidationException", "ECS service doesn't exist: %s", id)
		}
		if in.MinCapacity != nil {
			t.Min = *in.MinCapacity
		}
		if in.MaxCapacity != nil {
			t.Max = *in.MaxCapacity
		}
		if st := in.SuspendedState; st != nil {
			t.Suspended = *st
		}
		if t.Min < 0 || t.Max < t.Min {
			return wire.Errorf("ValidationException", "Minimum capacity (%d) and maximum capacity (%d) are required, and the maximum must not be below the minimum", t.Min, t.Max)
		}
		s.targets.Put(tx, id, &t)
		out.ScalableTargetARN = &t.ARN
		s.clamp(tx, t, "")
		return nil
	})
}

// clamp moves the desired count into the target's bounds at once.
func (s *Service) clamp(tx *state.Tx, t Target, cause string) {
	key, _ := serviceKey(t.ResourceID)
	svc, ok := s.ecs.Services.Get(tx, key)
	if !ok {
		return
	}
	to := min(max(svc.DesiredCount, int(t.Min)), int(t.Max))
	if to == svc.DesiredCount {
		return
	}
	bound := "minimum"
	if to < svc.DesiredCount {
		bound = "maximum"
	}
	s.setDesired(tx, t.ResourceID, to, cmp.Or(cause, bound+" capacity was set to "+fmt.Sprint(to)))
}

// setDesired changes the service's desired count and records the activity.
func (s *Service) setDesired(tx *state.Tx, resource string, to int, cause string) {
	key, _ := serviceKey(resource)
	now := s.clock.Now()
	s.ecs.Services.Modify(tx, key, func(svc *state.Service) { svc.DesiredCount, svc.UpdatedAt = to, now })
	for id, d := range s.ecs.Deployments.Prefix(tx, key+"/") {
		if d.Status == "PRIMARY" {
			s.ecs.Deployments.Modify(tx, id, func(d *state.Deployment) { d.DesiredCount, d.UpdatedAt = to, now })
			break
		}
	}
	id := newID()
	s.activities.Put(tx, fmt.Sprintf("%s\x00%020d-%s", resource, now.UnixNano(), id), &Activity{API: aasapi.ScalingActivity{ActivityId: &id, ServiceNamespace: wire.Ptr("ecs"), ResourceId: &resource,
		ScalableDimension: wire.Ptr("ecs:service:DesiredCount"), Description: wire.Ptr(fmt.Sprintf("Setting desired count to %d.", to)), Cause: &cause, StartTime: wire.Timestamp(now), EndTime: wire.Timestamp(now),
		StatusCode: wire.Ptr("Successful"), StatusMessage: wire.Ptr(fmt.Sprintf("Successfully set desired count to %d. Change successfully fulfilled by ecs.", to))}})
}

func (s *Service) deregister(_ context.Context, in *aasapi.DeregisterScalableTargetInput) (*aasapi.DeregisterScalableTargetOutput, error) {
	id := wire.Value(in.ResourceId)
	return &aasapi.DeregisterScalableTargetOutput{}, s.db.Update(func(tx *state.Tx) error {
		if !s.targets.Delete(tx, id) {
			return noTarget(id)
		}
		var policies, actions []string
		for k := range s.policies.Prefix(tx, id+"\x00") {
			policies = append(policies, k)
		}
		for k := range s.scheduled.Prefix(tx, id+"\x00") {
			actions = append(actions, k)
		}
		for _, k := range policies {
			s.dropPolicy(tx, k)
		}
		for _, k := range actions {
			s.scheduled.Delete(tx, k)
		}
		return nil
	})
}

func (s *Service) describeTargets(_ context.Context, in *aasapi.DescribeScalableTargetsInput) (*aasapi.DescribeScalableTargetsOutput, error) {
	out := &aasapi.DescribeScalableTargetsOutput{ScalableTargets: []aasapi.ScalableTarget{}}
	limit := int(cmp.Or(wire.Value(in.MaxResults), 50))
	if wire.Value(in.ServiceNamespace) != "ecs" {
		return out, nil
	}
	return out, s.db.View(func(tx *state.Tx) error {
		for id, t := range s.targets.From(tx, wire.Value(in.NextToken)) {
			if len(in.ResourceIds) > 0 && !slices.Contains(in.ResourceIds, id) {
				continue
			}
			if len(out.ScalableTargets) == limit {
				out.NextToken = wire.Ptr(id)
				break
			}
			out.ScalableTargets = append(out.ScalableTargets, aasapi.ScalableTarget{ServiceNamespace: wire.Ptr("ecs"), ResourceId: &t.ResourceID, ScalableDimension: wire.Ptr("ecs:service:DesiredCount"),
				MinCapacity: &t.Min, MaxCapacity: &t.Max, RoleARN: &t.RoleARN, ScalableTargetARN: &t.ARN, SuspendedState: &t.Suspended, CreationTime: wire.Timestamp(t.CreatedAt)})
		}
		return nil
	})
}

func (s *Service) retag(arn *string, f func(map[string]string)) error {
	return s.db.Update(func(tx *state.Tx) error {
		for id, t := range s.targets.All(tx) {
			if t.ARN == wire.Value(arn) {
				s.targets.Modify(tx, id, func(t *Target) {
					if t.Tags = maps.Clone(t.Tags); t.Tags == nil {
						t.Tags = map[string]string{}
					}
					f(t.Tags)
				})
				return nil
			}
		}
		return wire.Errorf("ResourceNotFoundException", "Resource not found: %s", wire.Value(arn))
	})
}

func (s *Service) tag(_ context.Context, in *aasapi.TagResourceInput) (*aasapi.TagResourceOutput, error) {
	return &aasapi.TagResourceOutput{}, s.retag(in.ResourceARN, func(tags map[string]string) { maps.Copy(tags, in.Tags) })
}

func (s *Service) untag(_ context.Context, in *aasapi.UntagResourceInput) (*aasapi.UntagResourceOutput, error) {
	return &aasapi.UntagResourceOutput{}, s.retag(in.ResourceARN, func(tags map[string]string) {
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
	})
}

func (s *Service) tags(_ context.Context, in *aasapi.ListTagsForResourceInput) (*aasapi.ListTagsForResourceOutput, error) {
	out := &aasapi.ListTagsForResourceOutput{Tags: map[string]string{}}
	return out, s.db.View(func(tx *state.Tx) error {
		for _, t := range s.targets.All(tx) {
			if t.ARN == wire.Value(in.ResourceARN) {
				maps.Copy(out.Tags, t.Tags)
				return nil
			}
		}
		return wire.Errorf("ResourceNotFoundException", "Resource not found: %s", wire.Value(in.ResourceARN))
	})
}

func (s *Service) describeActivities(_ context.Context, in *aasapi.DescribeScalingActivitiesInput) (*aasapi.DescribeScalingActivitiesOutput, error) {
	out := &aasapi.DescribeScalingActivitiesOutput{ScalingActivities: []aasapi.ScalingActivity{}}
	prefix := ""
	if in.ResourceId != nil {
		prefix = *in.ResourceId + "\x00"
	}
	err := s.db.View(func(tx *state.Tx) error {
		for _, a := range s.activities.Prefix(tx, prefix) {
			out.ScalingActivities = append(out.ScalingActivities, a.API)
		}
		return nil
	})
	slices.SortStableFunc(out.ScalingActivities, func(a, b aasapi.ScalingActivity) int { return b.StartTime.Compare(a.StartTime.Time) })
	out.ScalingActivities = out.ScalingActivities[:min(len(out.ScalingActivities), int(cmp.Or(wire.Value(in.MaxResults), 50)))]
	return out, err
}

func policyKey(resource, name string) string { return resource + "\x00" + name }

func splitKey(key string) (resource, name string) {
	resource, name, _ = strings.Cut(key, "\x00")
	return resource, name
}
