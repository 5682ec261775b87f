package ecs

import (
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// usable finds an ACTIVE task definition.
func (a *API) usable(tx *state.Tx, ref string) (*state.TaskDefinition, error) {
	td := a.taskDefinition(tx, ref)
	if td == nil {
		return nil, client("TaskDefinition not found.")
	}
	if wire.Value(td.Def.Status) != "ACTIVE" {
		return nil, client("TaskDefinition is inactive")
	}
	return td, nil
}

// launch decides between launch type and capacity provider strategy, as CreateService and RunTask do:
// at most one of both is given, the cluster's default strategy comes next, then EC2.
func (a *API) launch(tx *state.Tx, c *state.Cluster, launchType *string, strategy []ecsapi.CapacityProviderStrategyItem) (*string, []ecsapi.CapacityProviderStrategyItem, error) {
	if launchType != nil && len(strategy) > 0 {
		return nil, nil, invalid("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	}
	if launchType != nil {
		if !slices.Contains([]string{"EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES"}, *launchType) {
			return nil, nil, invalid("Unknown launch type: %s", *launchType)
		}
		return launchType, nil, nil
	}
	if len(strategy) > 0 {
		s, err := a.checkStrategy(tx, strategy, c.CapacityProviders)
		return nil, s, err
	}
	if len(c.DefaultStrategy) > 0 {
		return nil, c.DefaultStrategy, nil
	}
	return wire.String("EC2"), nil, nil
}

// onFargate reports whether tasks go to Fargate.
func onFargate(launchType *string, strategy []ecsapi.CapacityProviderStrategyItem) bool {
	if launchType != nil {
		return *launchType == "FARGATE"
	}
	return len(strategy) > 0 && slices.Contains(fargate, wire.Value(strategy[0].CapacityProvider))
}

// checkLaunch checks that tasks of td can be launched so, with this network.
func checkLaunch(td *state.TaskDefinition, spec *ecsapi.Service) error {
	mode := wire.Value(td.Def.NetworkMode)
	vpc := spec.NetworkConfiguration != nil && spec.NetworkConfiguration.AwsvpcConfiguration != nil
	switch {
	case onFargate(spec.LaunchType, spec.CapacityProviderStrategy) && !slices.Contains(td.Def.Compatibilities, "FARGATE"):
		return invalid("Task definition does not support launch_type FARGATE.")
	case mode == "awsvpc" && !vpc:
		return invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	case mode != "awsvpc" && vpc:
		return invalid("Network Configuration is not valid for the given networkMode of this task definition.")
	}
	if vpc {
		v := spec.NetworkConfiguration.AwsvpcConfiguration
		switch {
		case len(v.Subnets) == 0:
			return invalid("subnets can not be empty.")
		case len(v.Subnets) > 16:
			return invalid("subnets can have at most 16 items.")
		case len(v.SecurityGroups) > 5:
			return invalid("securityGroups can have at most 5 items.")
		}
	}
	return checkPlacement(spec.PlacementConstraints, spec.PlacementStrategy, onFargate(spec.LaunchType, spec.CapacityProviderStrategy))
}

func checkPlacement(constraints []ecsapi.PlacementConstraint, strategy []ecsapi.PlacementStrategy, fargate bool) error {
	switch {
	case fargate && len(constraints) > 0:
		return invalid("Placement constraints are not supported with FARGATE launch type.")
	case fargate && len(strategy) > 0:
		return invalid("Placement strategies are not supported with FARGATE launch type.")
	case len(constraints) > 10:
		return invalid("Placement constraints can have at most 10 items.")
	case len(strategy) > 5:
		return invalid("Placement strategies can have at most 5 items.")
	}
	for _, c := range constraints {
		switch wire.Value(c.Type) {
		case "distinctInstance":
			if wire.Value(c.Expression) != "" {
				return invalid("Placement constraint distinctInstance does not support an expression.")
			}
		case "memberOf":
			if wire.Value(c.Expression) == "" {
				return invalid("Placement constraint memberOf requires an expression.")
			}
		default:
			return invalid("Unknown placement constraint type: %s", wire.Value(c.Type))
		}
	}
	for _, s := range strategy {
		f := strings.ToLower(wire.Value(s.Field))
		switch wire.Value(s.Type) {
		case "random":
			if f != "" {
				return invalid("The placement strategy random does not support a field.")
			}
		case "binpack":
			if f != "cpu" && f != "memory" {
				return invalid("The placement strategy binpack requires the field cpu or memory.")
			}
		case "spread":
			if f == "" {
				return invalid("The placement strategy spread requires a field.")
			}
		default:
			return invalid("Unknown placement strategy type: %s", wire.Value(s.Type))
		}
	}
	return nil
}

// checkBalancers checks that the load balancers and registries of a service fit its task definition.
func (a *API) checkBalancers(tx *state.Tx, td *state.TaskDefinition, spec *ecsapi.Service) error {
	if len(spec.LoadBalancers) > 5 {
		return invalid("load balancers can have at most 5 items.")
	}
	mode := wire.Value(td.Def.NetworkMode)
	rolling := spec.DeploymentConfiguration == nil || wire.Value(spec.DeploymentConfiguration.Strategy) == "ROLLING"
	for _, lb := range spec.LoadBalancers {
		if adv := wire.Value(lb.AdvancedConfiguration); !rolling {
			switch {
			case lb.AdvancedConfiguration == nil:
				return invalid("advancedConfiguration field is required for all loadBalancers when using a non-ROLLING deployment strategy.")
			case wire.Value(adv.AlternateTargetGroupArn) == "" || wire.Value(adv.RoleArn) == "" || wire.Value(adv.ProductionListenerRule) == "":
				return invalid("alternateTargetGroupArn, productionListenerRule and roleArn are required in advancedConfiguration when using a non-ROLLING deployment strategy.")
			case adv.AlternateTargetGroupArn != nil && *adv.AlternateTargetGroupArn == wire.Value(lb.TargetGroupArn):
				return invalid("targetGroupArn and alternateTargetGroupArn must be different.")
			}
			if a.TargetGroups != nil {
				if _, _, ok := a.TargetGroups.TargetGroup(tx, *adv.AlternateTargetGroupArn); !ok {
					return invalid("The specified target group does not exist. Specify a valid target group and try again.")
				}
			}
		}
		name := wire.Value(lb.ContainerName)
		i := slices.IndexFunc(td.Def.ContainerDefinitions, func(c ecsapi.ContainerDefinition) bool { return *c.Name == name })
		if i < 0 {
			return invalid("The container %s does not exist in the task definition.", name)
		}
		port := wire.Value(lb.ContainerPort)
		if !slices.ContainsFunc(td.Def.ContainerDefinitions[i].PortMappings, func(p ecsapi.PortMapping) bool { return wire.Value(p.ContainerPort) == port }) {
			return invalid("The container %s did not have a container port %d defined.", name, port)
		}
		tg := wire.Value(lb.TargetGroupArn)
		if tg == "" {
			if wire.Value(lb.LoadBalancerName) != "" {
				return invalid("not supported by this local AWS: Classic Load Balancers")
			}
			return invalid("Either the loadBalancerName or the targetGroupArn must be specified.")
		}
		if a.TargetGroups == nil {
			continue
		}
		kind, attached, ok := a.TargetGroups.TargetGroup(tx, tg)
		switch {
		case !ok:
			return invalid("The specified target group does not exist. Specify a valid target group and try again.")
		case !attached:
			return invalid("The target group with targetGroupArn %s does not have an associated load balancer.", tg)
		case mode == "awsvpc" && kind != "ip":
			return invalid("The provided target group %s has target type %s, which is incompatible with the awsvpc network mode specified in the task definition.", tg, kind)
		case mode != "awsvpc" && kind == "ip":
			return invalid("The provided target group %s has target type ip, which is incompatible with the %s network mode specified in the task definition.", tg, mode)
		}
	}
	return nil
}

// completeDeployment fills in the defaults of a deployment configuration and checks its bounds.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
func completeDeployment(c *ecsapi.DeploymentConfiguration, old *ecsapi.DeploymentConfiguration, daemon bool) (*ecsapi.DeploymentConfiguration, error) {
	out := wire.Value(c)
	if old != nil { // an update changes only what it names
		if out.MaximumPercent == nil {
			out.MaximumPercent = old.MaximumPercent
		}
		if out.MinimumHealthyPercent == nil {
			out.MinimumHealthyPercent = old.MinimumHealthyPercent
		}
		if out.DeploymentCircuitBreaker == nil {
			out.DeploymentCircuitBreaker = old.DeploymentCircuitBreaker
		}
		if out.Alarms == nil {
			out.Alarms = old.Alarms
		}
		if out.Strategy == nil {
			out.Strategy = old.Strategy
		}
		if out.BakeTimeInMinutes == nil {
			out.BakeTimeInMinutes = old.BakeTimeInMinutes
		}
		if out.LifecycleHooks == nil {
			out.LifecycleHooks = old.LifecycleHooks
		}
		if out.LinearConfiguration == nil && wire.Value(out.Strategy) == "LINEAR" {
			out.LinearConfiguration = old.LinearConfiguration
		}
		if out.CanaryConfiguration == nil && wire.Value(out.Strategy) == "CANARY" {
			out.CanaryConfiguration = old.CanaryConfiguration
		}
	}
	most, least := 200, 100
	if daemon {
		most, least = 100, 0
	}
	out.MaximumPercent, out.MinimumHealthyPercent = or(out.MaximumPercent, int32(most)), or(out.MinimumHealthyPercent, int32(least))
	out.Strategy, out.BakeTimeInMinutes = or(out.Strategy, "ROLLING"), or(out.BakeTimeInMinutes, 0)
	if out.DeploymentCircuitBreaker == nil {
		out.DeploymentCircuitBreaker = &ecsapi.DeploymentCircuitBreaker{Enable: wire.Bool(false), Rollback: wire.Bool(false)}
	}
	switch {
	case !slices.Contains([]string{"ROLLING", "BLUE_GREEN", "LINEAR", "CANARY"}, *out.Strategy):
		return nil, invalid("Unknown deployment strategy: %s", *out.Strategy)
	case daemon && *out.Strategy != "ROLLING":
		return nil, invalid("The deployment strategy %s is not supported with the DAEMON scheduling strategy.", *out.Strategy)
	case *out.MinimumHealthyPercent < 0 || !daemon && *out.MinimumHealthyPercent > *out.MaximumPercent || *out.MinimumHealthyPercent > 100:
		return nil, invalid("minimumHealthyPercent must be between 0 and 100, and not greater than maximumPercent.")
	case *out.MaximumPercent == 0 || *out.MaximumPercent <= *out.MinimumHealthyPercent && *out.MaximumPercent < 100:
		return nil, invalid("maximumPercent must be greater than minimumHealthyPercent.")
	case daemon && *out.MaximumPercent < 100:
		return nil, invalid("For a service with the DAEMON scheduling strategy maximumPercent must be 100 or greater.")
	case *out.BakeTimeInMinutes < 0 || *out.BakeTimeInMinutes > 1440:
		return nil, invalid("bakeTimeInMinutes must be between 0 and 1440.")
	}
	if err := checkHooks(&out); err != nil {
		return nil, err
	}
	return &out, completeSteps(&out)
}

// completeSteps checks how traffic moves and fills in the defaults: linear steps of 3–100 % (10), a
// canary of 0.1–100 % (5), baked 0–1440 minutes a step (6, 10).
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LinearConfiguration.html and
// API_CanaryConfiguration.html
func completeSteps(c *ecsapi.DeploymentConfiguration) error {
	if c.LinearConfiguration == nil && *c.Strategy == "LINEAR" {
		c.LinearConfiguration = &ecsapi.LinearConfiguration{}
	}
	if c.CanaryConfiguration == nil && *c.Strategy == "CANARY" {
		c.CanaryConfiguration = &ecsapi.CanaryConfiguration{}
	}
	if l := wire.Value(c.LinearConfiguration); c.LinearConfiguration != nil {
		l.StepPercent, l.StepBakeTimeInMinutes = or(l.StepPercent, 10), or(l.StepBakeTimeInMinutes, 6)
		c.LinearConfiguration = &l
		p, bake := *l.StepPercent, *l.StepBakeTimeInMinutes
		switch {
		case *c.Strategy != "LINEAR":
			return invalid("linearConfiguration is only valid with the LINEAR deployment strategy.")
		case p < 3 || p > 100 || bake < 0 || bake > 1440:
			return invalid("stepPercent must be between 3.0 and 100.0 and stepBakeTimeInMinutes between 0 and 1440.")
		}
	}
	if k := wire.Value(c.CanaryConfiguration); c.CanaryConfiguration != nil {
		k.CanaryPercent, k.CanaryBakeTimeInMinutes = or(k.CanaryPercent, 5), or(k.CanaryBakeTimeInMinutes, 10)
		c.CanaryConfiguration = &k
		p, bake := *k.CanaryPercent, *k.CanaryBakeTimeInMinutes
		switch {
		case *c.Strategy != "CANARY":
			return invalid("canaryConfiguration is only valid with the CANARY deployment strategy.")
		case p < 0.1 || p > 100 || bake < 0 || bake > 1440:
			return invalid("canaryPercent must be between 0.1 and 100.0 and canaryBakeTimeInMinutes between 0 and 1440.")
		}
	}
	return nil
}
