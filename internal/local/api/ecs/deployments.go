package ecs

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/rollout"
)

func (a *API) registerDeployments(svc *wire.Service) {
	wire.Handle(svc, "DescribeServiceDeployments", a.describeServiceDeployments)
	wire.Handle(svc, "ListServiceDeployments", a.listServiceDeployments)
	wire.Handle(svc, "StopServiceDeployment", a.stopServiceDeployment)
	wire.Handle(svc, "ContinueServiceDeployment", a.continueServiceDeployment)
	wire.Handle(svc, "DescribeServiceRevisions", a.describeServiceRevisions)
}

// deploy starts a deployment of what s is now; the one before becomes ACTIVE, to be scaled in.
func (a *API) deploy(ctx context.Context, tx *state.Tx, s *state.Service, td *state.TaskDefinition, rev ecsapi.ServiceRevision) {
	key, now := serviceKey(s), a.Clock.Now()
	var sources []string
	for _, d := range a.deployments(tx, key) {
		if d.Revision != "" {
			sources = append(sources, d.Revision)
		}
		a.supersede(tx, d.ServiceDeployment, "A newer deployment of the service was started.")
		if d.Status == "PRIMARY" {
			old := *d
			old.Status, old.UpdatedAt = "ACTIVE", now
			a.State.Deployments.Put(tx, key+"/"+d.ID, &old)
		}
	}
	revision := a.putRevision(ctx, tx, s, td, rev)
	sd := &state.ServiceDeployment{
		ARN: arn(ctx, "service-deployment", key+"/"+random(words, 21)), ServiceKey: key, ServiceARN: s.ARN, ClusterARN: s.ClusterARN,
		Status: "PENDING", Sources: sources, Target: revision.ARN, CircuitBreakerStatus: "DISABLED",
		Threshold: threshold(s.DesiredCount), CreatedAt: now, UpdatedAt: now,
	}
	if b := s.Spec.DeploymentConfiguration.DeploymentCircuitBreaker; b != nil && wire.Value(b.Enable) {
		sd.CircuitBreakerStatus = "MONITORING"
	}
	d := &state.Deployment{
		ID: "ecs-svc/" + number(), ServiceKey: key, TaskDefinition: td.ARN, DesiredCount: s.DesiredCount, Status: "PRIMARY",
		RolloutState: "IN_PROGRESS", Revision: revision.ARN, ServiceDeployment: sd.ARN, CreatedAt: now, UpdatedAt: now,
	}
	d.RolloutReason = "ECS deployment " + d.ID + " in progress."
	sd.DeploymentID = d.ID
	a.State.ServiceDeployments.Put(tx, sd.ARN, sd)
	a.State.Deployments.Put(tx, key+"/"+d.ID, d)
}

// threshold is how many failed tasks trip the circuit breaker.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
func threshold(desired int) int { return min(max((desired+1)/2, 3), 200) }

// putRevision records what s is now as a service revision.
func (a *API) putRevision(ctx context.Context, tx *state.Tx, s *state.Service, td *state.TaskDefinition, rev ecsapi.ServiceRevision) *state.ServiceRevision {
	now := a.Clock.Now()
	r := &state.ServiceRevision{
		ARN: arn(ctx, "service-revision", serviceKey(s)+"/"+number()), ServiceKey: serviceKey(s), Spec: s.Spec, CreatedAt: now,
	}
	rev.ServiceRevisionArn, rev.ServiceArn, rev.ClusterArn, rev.TaskDefinition = &r.ARN, &s.ARN, &s.ClusterARN, &td.ARN
	rev.LaunchType, rev.CapacityProviderStrategy = s.Spec.LaunchType, s.Spec.CapacityProviderStrategy
	rev.PlatformVersion, rev.PlatformFamily = s.Spec.PlatformVersion, s.Spec.PlatformFamily
	rev.LoadBalancers, rev.ServiceRegistries = s.Spec.LoadBalancers, s.Spec.ServiceRegistries
	rev.NetworkConfiguration, rev.CreatedAt, rev.GuardDutyEnabled = s.Spec.NetworkConfiguration, wire.Timestamp(now), wire.Bool(false)
	rev.ContainerImages = nil
	for _, c := range td.Def.ContainerDefinitions {
		img := ecsapi.ContainerImage{ContainerName: c.Name, Image: c.Image}
		if _, digest, ok := strings.Cut(*c.Image, "@"); ok {
			img.ImageDigest = &digest
		}
		rev.ContainerImages = append(rev.ContainerImages, img)
	}
	r.API = rev
	a.State.ServiceRevisions.Put(tx, r.ARN, r)
	return r
}

// currentRevision is what only the revision of the newest deployment knows of a service.
func (a *API) currentRevision(tx *state.Tx, key string) ecsapi.ServiceRevision {
	for _, d := range a.deployments(tx, key) {
		if rev, ok := a.State.ServiceRevisions.Get(tx, d.Revision); ok && d.Status == "PRIMARY" {
			return ecsapi.ServiceRevision{ServiceConnectConfiguration: rev.API.ServiceConnectConfiguration,
				VolumeConfigurations: rev.API.VolumeConfigurations, VpcLatticeConfigurations: rev.API.VpcLatticeConfigurations}
		}
	}
	return ecsapi.ServiceRevision{}
}

// open reports whether a service deployment is still under way.
func open(status string) bool {
	switch status {
	case "PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS":
		return true
	}
	return false
}

// supersede ends a service deployment that is under way, because another takes its place.
func (a *API) supersede(tx *state.Tx, arn, reason string) {
	old, ok := a.State.ServiceDeployments.Get(tx, arn)
	if !ok || !open(old.Status) {
		return
	}
	sd, now := *old, a.Clock.Now()
	sd.Status, sd.StatusReason, sd.StoppedAt, sd.FinishedAt, sd.UpdatedAt = "STOPPED", reason, now, now, now
	a.State.ServiceDeployments.Put(tx, arn, &sd)
}

func (a *API) describeServiceDeployments(_ context.Context, in *ecsapi.DescribeServiceDeploymentsInput) (*ecsapi.DescribeServiceDeploymentsOutput, error) {
	if n := len(in.ServiceDeploymentArns); n == 0 || n > 20 {
		return nil, invalid("Service deployments must have between 1 and 20 elements")
	}
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeServiceDeploymentsOutput, error) {
		out := &ecsapi.DescribeServiceDeploymentsOutput{ServiceDeployments: []ecsapi.ServiceDeployment{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.ServiceDeploymentArns {
			if sd, ok := a.State.ServiceDeployments.Get(tx, ref); ok {
				out.ServiceDeployments = append(out.ServiceDeployments, a.showServiceDeployment(tx, sd))
			} else {
				out.Failures = append(out.Failures, missing(ref))
			}
		}
		return out, nil
	})
}

func (a *API) showServiceDeployment(tx *state.Tx, sd *state.ServiceDeployment) ecsapi.ServiceDeployment {
	out := ecsapi.ServiceDeployment{
		ServiceDeploymentArn: &sd.ARN, ServiceArn: &sd.ServiceARN, ClusterArn: &sd.ClusterARN, Status: &sd.Status,
		StatusReason: wire.NonEmpty(sd.StatusReason), LifecycleStage: wire.NonEmpty(sd.LifecycleStage),
		CreatedAt: wire.Timestamp(sd.CreatedAt), StartedAt: wire.Timestamp(sd.StartedAt), FinishedAt: wire.Timestamp(sd.FinishedAt),
		StoppedAt: wire.Timestamp(sd.StoppedAt), UpdatedAt: wire.Timestamp(sd.UpdatedAt),
		SourceServiceRevisions: []ecsapi.ServiceRevisionSummary{}, LifecycleHookDetails: showHooks(sd.Hooks),
		DeploymentCircuitBreaker: &ecsapi.ServiceDeploymentCircuitBreaker{
			Status: &sd.CircuitBreakerStatus, FailureCount: wire.Int32(sd.FailureCount), Threshold: wire.Int32(sd.Threshold),
		},
		Alarms: &ecsapi.ServiceDeploymentAlarms{Status: wire.String("DISABLED"), AlarmNames: []string{}, TriggeredAlarmNames: []string{}},
	}
	counts := a.revisionCounts(tx, sd.ServiceKey)
	for _, src := range sd.Sources {
		out.SourceServiceRevisions = append(out.SourceServiceRevisions, counts.summary(src))
	}
	out.TargetServiceRevision = wire.Ptr(counts.summary(sd.Target))
	if rev, ok := a.State.ServiceRevisions.Get(tx, sd.Target); ok {
		out.DeploymentConfiguration = rev.Spec.DeploymentConfiguration
		a.showTraffic(&out, sd)
		if c := rev.Spec.DeploymentConfiguration; c != nil && c.Alarms != nil && wire.Value(c.Alarms.Enable) {
			out.Alarms.AlarmNames = orEmpty(c.Alarms.AlarmNames)
			out.Alarms.Status = wire.String("MONITORING")
			if !open(sd.Status) {
				out.Alarms.Status = wire.String("MONITORING_COMPLETE")
			}
		}
	}
	if sd.RollbackRevision != "" {
		out.Rollback = &ecsapi.Rollback{Reason: wire.NonEmpty(sd.RollbackReason), StartedAt: wire.Timestamp(sd.RollbackAt), ServiceRevisionArn: &sd.RollbackRevision}
	}
	return out
}

// showTraffic adds which share of the traffic each revision is to have, in percent. Rolling
// deployments have no shares.
func (a *API) showTraffic(out *ecsapi.ServiceDeployment, sd *state.ServiceDeployment) {
	c := out.DeploymentConfiguration
	if c == nil || wire.Value(c.Strategy) == "ROLLING" {
		return
	}
	s := rollout.Shift{Strategy: *c.Strategy}
	if l := c.LinearConfiguration; l != nil {
		s.StepPercent, s.StepBake = wire.Value(l.StepPercent), time.Duration(wire.Value(l.StepBakeTimeInMinutes))*time.Minute
	}
	if k := c.CanaryConfiguration; k != nil {
		s.StepPercent, s.StepBake = wire.Value(k.CanaryPercent), time.Duration(wire.Value(k.CanaryBakeTimeInMinutes))*time.Minute
	}
	green := 0.0
	switch sd.LifecycleStage {
	case rollout.ProductionTrafficShift:
		green, _, _ = s.At(a.Clock.Now().Sub(sd.UpdatedAt))
	case rollout.PostProductionTrafficShift, rollout.BakeTime, rollout.CleanUp:
		green = 100
	}
	if sd.RollbackRevision != "" {
		green = 0
	}
	out.TargetServiceRevision.RequestedProductionTrafficWeight = &green
	for i := range out.SourceServiceRevisions {
		blue := 0.0
		if i == 0 { // the newest: older ones are on their way out
			blue = 100 - green
		}
		out.SourceServiceRevisions[i].RequestedProductionTrafficWeight = &blue
	}
}

// revisionCounts counts the tasks of a service by revision: wanted, running, pending.
type revisionCounts map[string][3]int

func (a *API) revisionCounts(tx *state.Tx, key string) revisionCounts {
	byDeployment := map[string]string{}
	out := revisionCounts{}
	for _, d := range a.State.Deployments.Prefix(tx, key+"/") {
		byDeployment[d.ID] = d.Revision
		n := out[d.Revision]
		if d.Status != "INACTIVE" {
			n[0] += d.DesiredCount
		}
		out[d.Revision] = n
	}
	for _, t := range a.State.TasksByService.Get(tx, key) {
		rev := byDeployment[t.DeploymentID]
		n := out[rev]
		switch {
		case t.LastStatus == "RUNNING":
			n[1]++
		case isPending(t):
			n[2]++
		}
		out[rev] = n
	}
	return out
}

func (c revisionCounts) summary(arn string) ecsapi.ServiceRevisionSummary {
	n := c[arn]
	return ecsapi.ServiceRevisionSummary{Arn: &arn, RequestedTaskCount: wire.Int32(n[0]), RunningTaskCount: wire.Int32(n[1]), PendingTaskCount: wire.Int32(n[2])}
}

func (a *API) listServiceDeployments(_ context.Context, in *ecsapi.ListServiceDeploymentsInput) (*ecsapi.ListServiceDeploymentsOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.ListServiceDeploymentsOutput, error) {
		name := in.Cluster
		if kind, rest, ok := resource(*in.Service); ok && kind == "service" && name == nil && strings.Contains(rest, "/") {
			cluster, _, _ := strings.Cut(rest, "/")
			name = &cluster
		}
		c, err := a.cluster(tx, name)
		if err != nil {
			return nil, err
		}
		s, err := a.service(tx, c, *in.Service)
		if err != nil {
			return nil, err
		}
		found, keys := map[string]*state.ServiceDeployment{}, []string{}
		for _, sd := range a.State.SvcDeploysByService.Get(tx, serviceKey(s)) {
			if len(in.Status) > 0 && !slices.Contains(in.Status, sd.Status) || in.CreatedAt != nil && !within(sd.CreatedAt, in.CreatedAt) {
				continue
			}
			k := sd.CreatedAt.UTC().Format("20060102T150405.000000000") + sd.ARN
			found[k] = sd
			keys = append(keys, k)
		}
		slices.Sort(keys)
		part, next, err := pageOrdered(keys, in.NextToken, in.MaxResults, 100, true) // newest first
		out := &ecsapi.ListServiceDeploymentsOutput{ServiceDeployments: []ecsapi.ServiceDeploymentBrief{}, NextToken: next}
		for _, k := range part {
			sd := found[k]
			out.ServiceDeployments = append(out.ServiceDeployments, ecsapi.ServiceDeploymentBrief{
				ServiceDeploymentArn: &sd.ARN, ServiceArn: &sd.ServiceARN, ClusterArn: &sd.ClusterARN, Status: &sd.Status,
				StatusReason: wire.NonEmpty(sd.StatusReason), CreatedAt: wire.Timestamp(sd.CreatedAt), StartedAt: wire.Timestamp(sd.StartedAt),
				FinishedAt: wire.Timestamp(sd.FinishedAt), TargetServiceRevisionArn: &sd.Target,
			})
		}
		return out, err
	})
}

func within(at time.Time, span *ecsapi.CreatedAt) bool {
	return (span.After == nil || !at.Before(span.After.Time)) && (span.Before == nil || !at.After(span.Before.Time))
}

// stopServiceDeployment asks the service loop to end a deployment: rolled back unless ABORT is asked for.
func (a *API) stopServiceDeployment(_ context.Context, in *ecsapi.StopServiceDeploymentInput) (*ecsapi.StopServiceDeploymentOutput, error) {
	return update(a, func(tx *state.Tx) (*ecsapi.StopServiceDeploymentOutput, error) {
		old, ok := a.State.ServiceDeployments.Get(tx, *in.ServiceDeploymentArn)
		if !ok {
			return nil, wire.Errorf("ServiceDeploymentNotFoundException", "Service deployment not found.")
		}
		sd := *old
		switch stop := wire.Value(or(in.StopType, "ROLLBACK")); {
		case stop != "ROLLBACK" && stop != "ABORT":
			return nil, invalid("Unknown stop type: %s", stop)
		case sd.Status == "PENDING" || sd.Status == "IN_PROGRESS":
			sd.Status = "ROLLBACK_REQUESTED"
			if stop == "ABORT" {
				sd.Status = "STOP_REQUESTED"
			}
		case sd.Status == "ROLLBACK_IN_PROGRESS" && stop == "ABORT":
			sd.Status = "STOP_REQUESTED"
		default:
			return nil, wire.Errorf("ConflictException", "The service deployment is in the %s state and cannot be stopped.", sd.Status)
		}
		sd.UpdatedAt = a.Clock.Now()
		a.State.ServiceDeployments.Put(tx, sd.ARN, &sd)
		return &ecsapi.StopServiceDeploymentOutput{ServiceDeploymentArn: &sd.ARN}, nil
	})
}

func (a *API) describeServiceRevisions(_ context.Context, in *ecsapi.DescribeServiceRevisionsInput) (*ecsapi.DescribeServiceRevisionsOutput, error) {
	if n := len(in.ServiceRevisionArns); n == 0 || n > 20 {
		return nil, invalid("Service revisions must have between 1 and 20 elements")
	}
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeServiceRevisionsOutput, error) {
		out := &ecsapi.DescribeServiceRevisionsOutput{ServiceRevisions: []ecsapi.ServiceRevision{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.ServiceRevisionArns {
			if rev, ok := a.State.ServiceRevisions.Get(tx, ref); ok {
				out.ServiceRevisions = append(out.ServiceRevisions, rev.API)
			} else {
				out.Failures = append(out.Failures, missing(ref))
			}
		}
		return out, nil
	})
}
