package deploy

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Read returns the service as AWS has it, or ErrNotFound.
func (e *Engine) Read(ctx context.Context, ref Ref) (Observed, error) {
	o, err := e.observe(ctx, ref)
	if err != nil {
		return Observed{}, err
	}
	if o.service == nil {
		return Observed{}, fmt.Errorf("service %s in cluster %s: %w", ref.Service, clusterName(ref.Cluster), ErrNotFound)
	}
	out := Observed{Ref: ref, Service: *o.service, TargetGroup: o.serving(), Scaling: o.scaling, Release: o.service.Tags[tagRelease]}
	if o.definition != nil {
		out.TaskDefinition = *o.definition
		out.ExecutionRole, out.TaskRole = o.definition.ExecutionRole, o.definition.TaskRole
		if len(o.definition.Containers) > 0 {
			out.Image = o.definition.Containers[0].Image
		}
		if group := cmp.Or(o.definition.LogOptions["awslogs-group"], o.definition.RouterLogs["awslogs-group"]); group != "" {
			if out.LogGroup, err = found(e.ports.Logs.LogGroup(ctx, group)); err != nil {
				return out, fmt.Errorf("reading log group %s: %w", group, err)
			}
		}
	}
	if out.TargetGroup != nil {
		for i, r := range o.rules {
			if r.TargetGroup == out.TargetGroup.ARN || o.service.behind(r.TargetGroup) {
				out.Rule = &o.rules[i]
			}
		}
	}
	if out.Rule != nil {
		if out.Listener, err = found(e.ports.Listeners.Listener(ctx, out.Rule.Listener)); err != nil {
			return out, fmt.Errorf("reading listener %s: %w", out.Rule.Listener, err)
		}
	}
	if len(o.deployments) > 0 {
		if out.Last, err = found(e.ports.Deployments.Deployment(ctx, o.deployments[0])); err != nil {
			return out, fmt.Errorf("reading service deployment %s: %w", o.deployments[0], err)
		}
	}
	out.Spec = specOf(out, o)
	return out, nil
}

// specOf writes the normal form back from what AWS has.
func specOf(out Observed, o observed) service.Spec {
	svc, td := out.Service, out.TaskDefinition
	s := service.Spec{
		Name: svc.Tags["service"], Team: svc.Tags["team"], Environment: svc.Tags["environment"],
		Kind: service.KindService, Cluster: clusterName(svc.ClusterARN),
		LaunchType: svc.LaunchType, CapacityProvider: svc.CapacityProvider, Architecture: td.Architecture, NetworkMode: td.NetworkMode,
		CPU: td.CPU, Memory: td.Memory, Subnets: svc.Subnets, SecurityGroups: svc.SecurityGroups, AssignPublicIP: svc.AssignPublicIP,
		Count: svc.Desired, Containers: td.Containers, Volumes: volumesOf(out.Ref, td.Volumes, svc.Volumes), Placement: svc.Placement,
		EnableExecuteCommand: svc.Exec,
		Deployment: service.Deployment{Strategy: svc.Strategy, MinimumHealthy: svc.MinimumHealthy, Maximum: svc.Maximum,
			CircuitBreaker: svc.CircuitBreaker, Rollback: svc.Rollback, RollbackOnAlarms: slices.Clone(svc.RollbackOnAlarms),
			BakeTime: svc.BakeTime, StepPercent: svc.StepPercent, StepBake: svc.StepBake},
		Tags: map[string]string{},
	}
	if s.Name == "" {
		s.Name = svc.Ref.Service
	}
	if svc.Daemon {
		s.Kind = service.KindDaemon
	}
	for k, v := range svc.Tags {
		if !strings.HasPrefix(k, "slipway:") && k != "service" && k != "team" && k != "environment" {
			s.Tags[k] = v
		}
	}
	s.Logs = service.Logs{Driver: td.LogDriver, Group: cmp.Or(td.LogOptions["awslogs-group"], td.RouterLogs["awslogs-group"]), Router: td.Router, Secrets: td.LogSecrets}
	if out.LogGroup != nil {
		s.Logs.Retention = out.LogGroup.Retention
	}
	if options := maps.Clone(td.LogOptions); options != nil {
		for _, k := range []string{"awslogs-group", "awslogs-region", "awslogs-stream-prefix"} {
			delete(options, k)
		}
		if len(options) > 0 {
			s.Logs.Options = options
		}
	}
	if o.taskRole == nil || o.taskRole.ARN != td.TaskRole {
		s.TaskRole.ARN = td.TaskRole
	} else {
		s.TaskRole.Statements = statementsOf(o.taskRole.Policy)
	}
	if out.Scaling != nil {
		scaling := out.Scaling.Scaling
		s.Scaling = &scaling
	}
	s.Discovery = discoveryOf(svc, o)
	s.Alarms = specAlarms(o.alarms, out.Ref)
	for i, n := range s.Deployment.RollbackOnAlarms {
		s.Deployment.RollbackOnAlarms[i] = strings.TrimPrefix(n, out.Ref.alarmPrefix())
	}
	if out.TargetGroup != nil {
		s.Route = routeOf(out)
	}
	return s
}

func routeOf(out Observed) *service.Route {
	tg := out.TargetGroup
	r := &service.Route{Protocol: tg.Protocol, Health: tg.Health, Sticky: tg.Sticky, DeregistrationDelay: tg.Deregistration,
		SlowStart: tg.SlowStart, GracePeriod: out.Service.GracePeriod}
	if tg.ProtocolVersion == "GRPC" {
		r.Protocol = "GRPC"
	}
	for _, lb := range out.Service.LoadBalancers {
		if lb.TargetGroup == tg.ARN {
			r.Container, r.Port = lb.Container, lb.Port
		}
	}
	if out.Rule != nil {
		r.Listener = out.Rule.Listener
		r.Hosts, r.Paths, r.Headers, r.Methods = out.Rule.Conditions.Hosts, out.Rule.Conditions.Paths, out.Rule.Conditions.Headers, out.Rule.Conditions.Methods
	}
	return r
}

// statementsOf reads a policy document that taskPolicy wrote, or someone changed.
func statementsOf(policy string) []service.Statement {
	doc, ok := parsePolicy(policy)
	if !ok {
		return nil
	}
	var out []service.Statement
	for _, s := range doc {
		out = append(out, service.Statement{Effect: s.Effect, Actions: s.Action, Resources: s.Resource})
	}
	return out
}

// Status is a service with its tasks, targets and last deployments.
func (e *Engine) Status(ctx context.Context, ref Ref) (Status, error) {
	o, err := e.Read(ctx, ref)
	if err != nil {
		return Status{}, err
	}
	s := Status{Observed: o}
	if s.Tasks, err = e.ports.Tasks.ServiceTasks(ctx, ref); err != nil {
		return s, fmt.Errorf("reading tasks: %w", err)
	}
	if o.TargetGroup != nil {
		if s.Targets, err = e.ports.TargetGroups.Targets(ctx, o.TargetGroup.ARN); err != nil {
			return s, fmt.Errorf("reading target health: %w", err)
		}
		for _, lb := range o.Service.LoadBalancers {
			if lb.Alternate == "" {
				continue
			}
			more, err := e.ports.TargetGroups.Targets(ctx, lb.Alternate)
			if err != nil {
				return s, fmt.Errorf("reading target health: %w", err)
			}
			s.Targets = append(s.Targets, more...)
		}
	}
	if o.Listener != nil {
		s.URL = o.Listener.URL()
	}
	if s.Deployments, err = e.ports.Deployments.Deployments(ctx, ref, 10); err != nil {
		return s, fmt.Errorf("listing service deployments: %w", err)
	}
	return s, nil
}
