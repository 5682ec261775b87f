// Package aas is Application Auto Scaling of the local AWS for ECS services: scalable targets, target
// tracking with the two alarms AWS makes, step, scheduled and predictive scaling.
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
	"github.com/slipway-ecs/slipway/internal/local/predict"
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
	// Predicted is what predictive scaling wants now, nil: nothing; PredictedMax the maximum it may then
	// have, which can be more than Max.
	Predicted    *int32
	PredictedMax int32
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
	forecasts  *state.Table[predict.Forecast] // by the policy's key
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
	var e1, e2, e3, e4, e5 error
	s.targets, e1 = state.NewTable[Target](c.DB, "aas.targets")
	s.policies, e2 = state.NewTable[Policy](c.DB, "aas.policies")
	s.scheduled, e3 = state.NewTable[Scheduled](c.DB, "aas.scheduled")
	s.activities, e4 = state.NewTable[Activity](c.DB, "aas.activities")
	s.forecasts, e5 = state.NewTable[predict.Forecast](c.DB, "aas.forecasts")
	if err := errors.Join(e1, e2, e3, e4, e5); err != nil {
		return nil, err
	}
	wire.Handle(svc, "RegisterScalableTarget", s.register)
	wire.Handle(svc, "DeregisterScalableTarget", s.deregister)
	wire.Handle(svc, "DescribeScalableTargets", s.describeTargets)
	wire.Handle(svc, "PutScalingPolicy", s.putPolicy)
	wire.Handle(svc, "GetPredictiveScalingForecast", s.forecast)
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
		return wire.Errorf("ValidationException", "not supported: the service namespace %s: of what can be scaled, the local AWS has ECS services only", ns)
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
	lo, hi := t.bounds()
	to := min(max(svc.DesiredCount, lo), hi)
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
	s.note(tx, aasapi.ScalingActivity{ResourceId: &resource, Description: wire.Ptr(fmt.Sprintf("Setting desired count to %d.", to)), Cause: &cause, EndTime: wire.Timestamp(now),
		StatusCode: wire.Ptr("Successful"), StatusMessage: wire.Ptr(fmt.Sprintf("Successfully set desired count to %d. Change successfully fulfilled by ecs.", to))})
}

// keepActivities is how long activities are told, six weeks, and maxActivities how many of a target at most
// (https://docs.aws.amazon.com/autoscaling/application/APIReference/API_DescribeScalingActivities.html).
const (
	keepActivities = 6 * 7 * 24 * time.Hour
	maxActivities  = 500
)

// note records an activity that begins now.
func (s *Service) note(tx *state.Tx, a aasapi.ScalingActivity) {
	now, id := s.clock.Now(), newID()
	a.ActivityId, a.ServiceNamespace, a.ScalableDimension, a.StartTime = &id, wire.Ptr("ecs"), wire.Ptr("ecs:service:DesiredCount"), wire.Timestamp(now)
	prefix := wire.Value(a.ResourceId) + "\x00"
	s.activities.Put(tx, fmt.Sprintf("%s%020d-%s", prefix, now.UnixNano(), id), &Activity{API: a})
	n := 0
	var old []string
	for key, x := range s.activities.Prefix(tx, prefix) {
		n++
		if now.Sub(x.API.StartTime.Time) > keepActivities {
			old = append(old, key)
		}
	}
	if n-len(old) > maxActivities {
		for key := range s.activities.Prefix(tx, prefix) {
			old = append(old, key)
			break
		}
	}
	for _, key := range old {
		s.activities.Delete(tx, key)
	}
}

// notScaled records that a policy would have scaled and did not, once for each time the alarm changes
// (https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-scaling-activities.html).
func (s *Service) notScaled(tx *state.Tx, resource, cause string, reason aasapi.NotScaledReason) {
	var newest *Activity
	for _, a := range s.activities.Prefix(tx, resource+"\x00") {
		newest = a
	}
	if newest != nil && len(newest.API.NotScaledReasons) > 0 && wire.Value(newest.API.Cause) == cause {
		return // said already
	}
	s.note(tx, aasapi.ScalingActivity{ResourceId: &resource, Description: wire.Ptr("Attempting to scale due to alarm triggered"), Cause: &cause, EndTime: wire.Timestamp(s.clock.Now()),
		StatusCode: wire.Ptr("Unfulfilled"), NotScaledReasons: []aasapi.NotScaledReason{reason}})
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
				MinCapacity: &t.Min, MaxCapacity: &t.Max, PredictedCapacity: t.Predicted, RoleARN: &t.RoleARN, ScalableTargetARN: &t.ARN, SuspendedState: &t.Suspended, CreationTime: wire.Timestamp(t.CreatedAt)})
		}
		return nil
	})
}

func (s *Service) retag(arn *string, f func(map[string]string) error) error {
	return s.db.Update(func(tx *state.Tx) error {
		for id, t := range s.targets.All(tx) {
			if t.ARN == wire.Value(arn) {
				tags := map[string]string{}
				maps.Copy(tags, t.Tags)
				if err := f(tags); err != nil {
					return err
				}
				s.targets.Modify(tx, id, func(t *Target) { t.Tags = tags })
				return nil
			}
		}
		return wire.Errorf("ResourceNotFoundException", "Resource not found: %s", wire.Value(arn))
	})
}

// maxTags is how many tags a scalable target may have
// (https://docs.aws.amazon.com/autoscaling/application/APIReference/API_TagResource.html).
const maxTags = 50

func (s *Service) tag(_ context.Context, in *aasapi.TagResourceInput) (*aasapi.TagResourceOutput, error) {
	return &aasapi.TagResourceOutput{}, s.retag(in.ResourceARN, func(tags map[string]string) error {
		maps.Copy(tags, in.Tags)
		if len(tags) > maxTags {
			return wire.Errorf("TooManyTagsException", "The number of tags exceeds the limit of %d", maxTags)
		}
		return nil
	})
}

func (s *Service) untag(_ context.Context, in *aasapi.UntagResourceInput) (*aasapi.UntagResourceOutput, error) {
	return &aasapi.UntagResourceOutput{}, s.retag(in.ResourceARN, func(tags map[string]string) error {
		for _, k := range in.TagKeys {
			delete(tags, k)
		}
		return nil
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
	limit := int(cmp.Or(wire.Value(in.MaxResults), 50))
	switch {
	case wire.Value(in.ScalableDimension) != "" && in.ResourceId == nil:
		return nil, wire.Errorf("ValidationException", "If you specify a scalable dimension, you must also specify a resource ID.")
	case limit < 1 || limit > 50:
		return nil, wire.Errorf("ValidationException", "MaxResults must be between 1 and 50")
	}
	prefix := ""
	if in.ResourceId != nil {
		prefix = *in.ResourceId + "\x00"
	}
	type keyed struct {
		key string
		api aasapi.ScalingActivity
	}
	var all []keyed
	err := s.db.View(func(tx *state.Tx) error {
		for key, a := range s.activities.Prefix(tx, prefix) {
			if wire.Value(in.ServiceNamespace) == "ecs" && (len(a.API.NotScaledReasons) == 0 || wire.Value(in.IncludeNotScaledActivities)) {
				_, order := splitKey(key)
				all = append(all, keyed{order, a.API})
			}
		}
		return nil
	})
	slices.SortFunc(all, func(a, b keyed) int { return strings.Compare(b.key, a.key) }) // newest first
	out := &aasapi.DescribeScalingActivitiesOutput{ScalingActivities: []aasapi.ScalingActivity{}}
	for _, a := range all {
		if in.NextToken != nil && a.key > *in.NextToken {
			continue
		}
		if len(out.ScalingActivities) == limit {
			out.NextToken = &a.key
			break
		}
		out.ScalingActivities = append(out.ScalingActivities, a.api)
	}
	return out, err
}

func policyKey(resource, name string) string { return resource + "\x00" + name }

func splitKey(key string) (resource, name string) {
	resource, name, _ = strings.Cut(key, "\x00")
	return resource, name
}
