package elbv2

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

func (s *Service) registerGroups(svc *wire.Service) {
	wire.Handle(svc, "CreateTargetGroup", s.createGroup)
	wire.Handle(svc, "ModifyTargetGroup", s.modifyGroup)
	wire.Handle(svc, "DeleteTargetGroup", s.deleteGroup)
	wire.Handle(svc, "DescribeTargetGroups", s.describeGroups)
	wire.Handle(svc, "DescribeTargetGroupAttributes", s.groupAttributes)
	wire.Handle(svc, "ModifyTargetGroupAttributes", s.modifyGroupAttributes)
}

func between(what, value string, lo, hi int) error {
	if n, err := strconv.Atoi(value); err != nil || n < lo || n > hi {
		return wire.Errorf("ValidationError", "'%s' must be between '%d' and '%d' inclusive, not '%s'", what, lo, hi, value)
	}
	return nil
}

func checkRange(what string, v *int32, lo, hi int) error {
	if v == nil {
		return nil
	}
	return between(what, strconv.Itoa(int(*v)), lo, hi)
}

func (s *Service) createGroup(ctx context.Context, in *elbv2api.CreateTargetGroupInput) (*elbv2api.CreateTargetGroupOutput, error) {
	name, kind := wire.Value(in.Name), cmp.Or(wire.Value(in.TargetType), "instance")
	protocol := wire.Value(in.Protocol)
	network := protocol == "TCP" || protocol == "TLS" || protocol == "UDP" || protocol == "TCP_UDP"
	switch {
	case kind != "instance" && kind != "ip":
		return nil, wire.Errorf("ValidationError", "not supported: targets of the type %s", kind)
	case protocol != "HTTP" && protocol != "HTTPS" && protocol != "TCP" && protocol != "TLS":
		return nil, wire.Errorf("ValidationError", "not supported: target groups of the protocol %q", protocol)
	case in.Port == nil:
		return nil, wire.Errorf("ValidationError", "A port must be specified")
	}
	if err := checkName("target group", name); err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if err := checkRange("port", in.Port, 1, 65535); err != nil {
		return nil, err
	}
	api := elbv2api.TargetGroup{TargetGroupArn: wire.Ptr(arnPrefix(wire.Caller(ctx)) + "targetgroup/" + name + "/" + newID()), TargetGroupName: &name, TargetType: &kind, Protocol: &protocol, Port: in.Port, VpcId: in.VpcId,
		IpAddressType: wire.Ptr(cmp.Or(wire.Value(in.IpAddressType), "ipv4")), LoadBalancerArns: []string{},
		HealthCheckEnabled: wire.Ptr(in.HealthCheckEnabled == nil || *in.HealthCheckEnabled), HealthCheckPort: wire.Ptr(cmp.Or(wire.Value(in.HealthCheckPort), "traffic-port")),
		HealthCheckIntervalSeconds: wire.Ptr(cmp.Or(wire.Value(in.HealthCheckIntervalSeconds), 30)), HealthyThresholdCount: wire.Ptr(cmp.Or(wire.Value(in.HealthyThresholdCount), 5)), UnhealthyThresholdCount: wire.Ptr(cmp.Or(wire.Value(in.UnhealthyThresholdCount), 2))}
	timeout := int32(5)
	if network {
		timeout = 10
		api.HealthCheckProtocol = wire.Ptr(cmp.Or(wire.Value(in.HealthCheckProtocol), "TCP"))
	} else {
		api.ProtocolVersion = wire.Ptr(cmp.Or(wire.Value(in.ProtocolVersion), "HTTP1"))
		api.HealthCheckProtocol = wire.Ptr(cmp.Or(wire.Value(in.HealthCheckProtocol), "HTTP"))
	}
	api.HealthCheckTimeoutSeconds = wire.Ptr(cmp.Or(wire.Value(in.HealthCheckTimeoutSeconds), timeout))
	if *api.HealthCheckProtocol != "TCP" {
		grpc := wire.Value(api.ProtocolVersion) == "GRPC"
		path, matcher := "/", &elbv2api.Matcher{HttpCode: wire.Ptr("200")}
		if grpc {
			path, matcher = "/AWS.ALB/healthcheck", &elbv2api.Matcher{GrpcCode: wire.Ptr("12")}
		}
		api.HealthCheckPath = wire.Ptr(cmp.Or(wire.Value(in.HealthCheckPath), path))
		if api.Matcher = in.Matcher; api.Matcher == nil {
			api.Matcher = matcher
		}
	}
	if err := checkHealth(api); err != nil {
		return nil, err
	}
	g := TargetGroup{API: api, Tags: in.Tags, Attributes: map[string]string{"deregistration_delay.timeout_seconds": "300", "stickiness.enabled": "false", "load_balancing.cross_zone.enabled": "use_load_balancer_configuration"}}
	if network {
		maps.Copy(g.Attributes, map[string]string{"stickiness.type": "source_ip", "deregistration_delay.connection_termination.enabled": "false", "preserve_client_ip.enabled": "true", "proxy_protocol_v2.enabled": "false"})
	} else {
		maps.Copy(g.Attributes, map[string]string{"stickiness.type": "lb_cookie", "stickiness.lb_cookie.duration_seconds": "86400", "stickiness.app_cookie.cookie_name": "", "stickiness.app_cookie.duration_seconds": "86400",
			"slow_start.duration_seconds": "0", "load_balancing.algorithm.type": "round_robin", "load_balancing.algorithm.anomaly_mitigation": "off",
			"target_group_health.dns_failover.minimum_healthy_targets.count": "1", "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
			"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1", "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off"})
	}
	out := &elbv2api.CreateTargetGroupOutput{TargetGroups: []elbv2api.TargetGroup{api}}
	return out, s.db.Update(func(tx *state.Tx) error {
		for _, old := range s.groups.All(tx) {
			if wire.Value(old.API.TargetGroupName) != name {
				continue
			}
			o := old.API
			if *o.Protocol == protocol && *o.Port == *in.Port && *o.TargetType == kind && wire.Value(o.HealthCheckPath) == wire.Value(api.HealthCheckPath) && *o.HealthCheckIntervalSeconds == *api.HealthCheckIntervalSeconds {
				o.LoadBalancerArns = s.balancersOf(tx, *o.TargetGroupArn)
				out.TargetGroups = []elbv2api.TargetGroup{o}
				return nil
			}
			return wire.Errorf("DuplicateTargetGroupName", "A target group with the same name '%s' exists, but with different settings", name)
		}
		if s.groups.Len(tx) >= 3000 {
			return wire.Errorf("TooManyTargetGroups", "The maximum number of target groups has been reached")
		}
		s.groups.Put(tx, *api.TargetGroupArn, &g)
		return nil
	})
}

// checkHealth checks the bounds of a health check.
func checkHealth(g elbv2api.TargetGroup) error {
	for _, c := range []struct {
		what   string
		v      *int32
		lo, hi int
	}{{"Health check interval", g.HealthCheckIntervalSeconds, 5, 300}, {"Health check timeout", g.HealthCheckTimeoutSeconds, 2, 120}, {"Healthy threshold count", g.HealthyThresholdCount, 2, 10}, {"Unhealthy threshold count", g.UnhealthyThresholdCount, 2, 10}} {
		if err := checkRange(c.what, c.v, c.lo, c.hi); err != nil {
			return err
		}
	}
	if *g.HealthCheckTimeoutSeconds >= *g.HealthCheckIntervalSeconds && *g.HealthCheckProtocol != "TCP" {
		return wire.Errorf("ValidationError", "Health check timeout '%d' must be smaller than the interval '%d'", *g.HealthCheckTimeoutSeconds, *g.HealthCheckIntervalSeconds)
	}
	if p := wire.Value(g.HealthCheckPath); p != "" && (!strings.HasPrefix(p, "/") || len(p) > 1024) {
		return wire.Errorf("ValidationError", "Health check path '%s' must begin with '/' and have at most 1024 characters", p)
	}
	if g.Matcher != nil && g.Matcher.HttpCode != nil {
		if _, err := parseCodes(*g.Matcher.HttpCode, 200, 499); err != nil {
			return err
		}
	}
	if g.Matcher != nil && g.Matcher.GrpcCode != nil {
		if _, err := parseCodes(*g.Matcher.GrpcCode, 0, 99); err != nil {
			return err
		}
	}
	return nil
}

// parseCodes parses a matcher such as 200,202 or 200-299.
func parseCodes(text string, lo, hi int) (func(int) bool, error) {
	type span struct{ from, to int }
	var spans []span
	for part := range strings.SplitSeq(text, ",") {
		a, b, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			b = a
		}
		from, err1 := strconv.Atoi(a)
		to, err2 := strconv.Atoi(b)
		if err1 != nil || err2 != nil || from > to || from < lo || to > hi {
			return nil, wire.Errorf("ValidationError", "Health check matcher '%s' must be codes or ranges between %d and %d", text, lo, hi)
		}
		spans = append(spans, span{from, to})
	}
	return func(code int) bool {
		return slices.ContainsFunc(spans, func(s span) bool { return code >= s.from && code <= s.to })
	}, nil
}

func noGroup(arn string) error { return notFound("TargetGroupNotFound", "target groups", arn) }

func (s *Service) modifyGroup(_ context.Context, in *elbv2api.ModifyTargetGroupInput) (*elbv2api.ModifyTargetGroupOutput, error) {
	arn := wire.Value(in.TargetGroupArn)
	out := &elbv2api.ModifyTargetGroupOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		old, ok := s.groups.Get(tx, arn)
		if !ok {
			return noGroup(arn)
		}
		g := *old
		a := &g.API
		a.HealthCheckEnabled, a.HealthCheckPort, a.HealthCheckProtocol, a.HealthCheckPath = or(in.HealthCheckEnabled, a.HealthCheckEnabled), or(in.HealthCheckPort, a.HealthCheckPort), or(in.HealthCheckProtocol, a.HealthCheckProtocol), or(in.HealthCheckPath, a.HealthCheckPath)
		a.HealthCheckIntervalSeconds, a.HealthCheckTimeoutSeconds = or(in.HealthCheckIntervalSeconds, a.HealthCheckIntervalSeconds), or(in.HealthCheckTimeoutSeconds, a.HealthCheckTimeoutSeconds)
		a.HealthyThresholdCount, a.UnhealthyThresholdCount, a.Matcher = or(in.HealthyThresholdCount, a.HealthyThresholdCount), or(in.UnhealthyThresholdCount, a.UnhealthyThresholdCount), or(in.Matcher, a.Matcher)
		if err := checkHealth(*a); err != nil {
			return err
		}
		s.groups.Put(tx, arn, &g)
		shown := g.API
		shown.LoadBalancerArns = s.balancersOf(tx, arn)
		out.TargetGroups = []elbv2api.TargetGroup{shown}
		return nil
	})
}

func or[T any](v, fallback *T) *T {
	if v != nil {
		return v
	}
	return fallback
}

func (s *Service) deleteGroup(_ context.Context, in *elbv2api.DeleteTargetGroupInput) (*elbv2api.DeleteTargetGroupOutput, error) {
	arn := wire.Value(in.TargetGroupArn)
	return &elbv2api.DeleteTargetGroupOutput{}, s.db.Update(func(tx *state.Tx) error {
		if len(s.balancersOf(tx, arn)) > 0 {
			return wire.Errorf("ResourceInUse", "Target group '%s' is currently in use by a listener or a rule", arn)
		}
		var keys []string
		for k := range s.ecs.Targets.Prefix(tx, arn+"/") {
			keys = append(keys, k)
		}
		for _, k := range keys {
			s.ecs.Targets.Delete(tx, k)
			s.ecs.TargetHealth.Delete(tx, k)
		}
		s.groups.Delete(tx, arn)
		return nil
	})
}

func (s *Service) describeGroups(_ context.Context, in *elbv2api.DescribeTargetGroupsInput) (*elbv2api.DescribeTargetGroupsOutput, error) {
	out := &elbv2api.DescribeTargetGroupsOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		if in.LoadBalancerArn != nil {
			if _, ok := s.balancers.Get(tx, *in.LoadBalancerArn); !ok {
				return notFound("LoadBalancerNotFound", "load balancers", *in.LoadBalancerArn)
			}
		}
		var all []elbv2api.TargetGroup
		found := map[string]bool{}
		for arn, g := range s.groups.All(tx) {
			name := wire.Value(g.API.TargetGroupName)
			if len(in.TargetGroupArns) > 0 && !slices.Contains(in.TargetGroupArns, arn) || len(in.Names) > 0 && !slices.Contains(in.Names, name) {
				continue
			}
			found[arn], found[name] = true, true
			api := g.API
			api.LoadBalancerArns = s.balancersOf(tx, arn)
			if in.LoadBalancerArn != nil && !slices.Contains(api.LoadBalancerArns, *in.LoadBalancerArn) {
				continue
			}
			all = append(all, api)
		}
		for _, id := range append(slices.Clone(in.TargetGroupArns), in.Names...) {
			if !found[id] {
				return noGroup(id)
			}
		}
		out.TargetGroups, out.NextMarker = page(all, func(g elbv2api.TargetGroup) string { return *g.TargetGroupArn }, in.Marker, in.PageSize)
		return nil
	})
}

func attributesOf(m map[string]string) []elbv2api.TargetGroupAttribute {
	out := []elbv2api.TargetGroupAttribute{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, elbv2api.TargetGroupAttribute{Key: wire.Ptr(k), Value: wire.Ptr(m[k])})
	}
	return out
}

func (s *Service) groupAttributes(_ context.Context, in *elbv2api.DescribeTargetGroupAttributesInput) (*elbv2api.DescribeTargetGroupAttributesOutput, error) {
	out := &elbv2api.DescribeTargetGroupAttributesOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		g, ok := s.groups.Get(tx, wire.Value(in.TargetGroupArn))
		if !ok {
			return noGroup(wire.Value(in.TargetGroupArn))
		}
		out.Attributes = attributesOf(g.Attributes)
		return nil
	})
}

func (s *Service) modifyGroupAttributes(_ context.Context, in *elbv2api.ModifyTargetGroupAttributesInput) (*elbv2api.ModifyTargetGroupAttributesOutput, error) {
	out := &elbv2api.ModifyTargetGroupAttributesOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		old, ok := s.groups.Get(tx, wire.Value(in.TargetGroupArn))
		if !ok {
			return noGroup(wire.Value(in.TargetGroupArn))
		}
		g := *old
		g.Attributes = maps.Clone(old.Attributes)
		for _, a := range in.Attributes {
			k, v := wire.Value(a.Key), wire.Value(a.Value)
			if _, known := g.Attributes[k]; !known {
				return wire.Errorf("InvalidConfigurationRequest", "Target group attribute key '%s' is not recognized", k)
			}
			var err error
			switch k {
			case "deregistration_delay.timeout_seconds":
				err = between(k, v, 0, 3600)
			case "slow_start.duration_seconds":
				if v != "0" {
					err = between(k, v, 30, 900)
				}
			case "stickiness.lb_cookie.duration_seconds", "stickiness.app_cookie.duration_seconds":
				err = between(k, v, 1, 604800)
			case "load_balancing.algorithm.type":
				err = oneOf(k, v, "round_robin", "least_outstanding_requests", "weighted_random")
			case "stickiness.enabled", "proxy_protocol_v2.enabled", "preserve_client_ip.enabled", "deregistration_delay.connection_termination.enabled":
				err = oneOf(k, v, "true", "false")
			case "stickiness.type":
				if err = oneOf(k, v, "lb_cookie", "app_cookie"); *g.API.Protocol != "HTTP" && *g.API.Protocol != "HTTPS" {
					err = oneOf(k, v, "source_ip")
				}
			case "stickiness.app_cookie.cookie_name":
				if strings.HasPrefix(v, "AWSALB") {
					err = invalid("The cookie name '%s' is reserved for the load balancer", v)
				}
			case "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count":
				err = between(k, v, 1, 1000)
			case "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage":
				if v != "off" {
					err = between(k, v, 1, 100)
				}
			}
			if err != nil {
				return err
			}
			g.Attributes[k] = v
		}
		if g.Attributes["slow_start.duration_seconds"] != "0" && g.Attributes["slow_start.duration_seconds"] != "" && g.Attributes["load_balancing.algorithm.type"] != "round_robin" {
			return wire.Errorf("InvalidConfigurationRequest", "Slow start is only available with the round robin algorithm")
		}
		s.groups.Put(tx, *in.TargetGroupArn, &g)
		out.Attributes = attributesOf(g.Attributes)
		return nil
	})
}
