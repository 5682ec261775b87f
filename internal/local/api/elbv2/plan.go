package elbv2

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/targethealth"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// plan is what the store says the data plane and the checks are to do.
type plan struct {
	config   balancer.Config
	checks   []targethealth.Group
	draining []leaving
	homeless bool                        // some target has no address yet
	places   map[string]*balancer.Target // by the key of its record
}

func (s *Service) plan(cert tls.Certificate) *plan {
	p := &plan{places: map[string]*balancer.Target{}}
	_ = s.db.View(func(tx *state.Tx) error {
		for arn, lb := range s.balancers.All(tx) {
			p.config.LoadBalancers = append(p.config.LoadBalancers, s.balancerPlan(tx, arn, lb, cert))
		}
		for arn, g := range s.groups.All(tx) {
			s.groupPlan(tx, p, arn, g)
		}
		return nil
	})
	for i := range p.config.TargetGroups {
		for k := range p.config.TargetGroups[i].Targets {
			t := &p.config.TargetGroups[i].Targets[k]
			p.places[state.TargetKey(p.config.TargetGroups[i].ARN, t.ID, t.Port)] = t
		}
	}
	return p
}

// judge corrects the targets' states by what the checks have found since the store was read.
func (p *plan) judge(news map[string]targethealth.Health) {
	for key, h := range news {
		if t := p.places[key]; t != nil && t.State != balancer.Draining {
			t.State = trafficState(h.State)
		}
	}
}

func trafficState(health string) balancer.State {
	switch health {
	case "healthy", "unavailable": // without checks every target is taken for healthy
		return balancer.Healthy
	case "draining":
		return balancer.Draining
	case "unused":
		return balancer.Unused
	}
	return balancer.Unhealthy
}

func (s *Service) balancerPlan(tx *state.Tx, arn string, lb *LoadBalancer, cert tls.Certificate) balancer.LoadBalancer {
	addr, _ := netip.ParseAddr(lb.Address) // made by us
	attributes := lb.attributes()
	is := func(name string) bool { return attributes[name] == "true" }
	out := balancer.LoadBalancer{ARN: arn, Address: addr, Network: wire.Value(lb.API.Type) == "network",
		IdleTimeout:        time.Duration(atoi(attributes["idle_timeout.timeout_seconds"])) * time.Second,
		PreserveHost:       is("routing.http.preserve_host_header.enabled"),
		DropInvalidHeaders: is("routing.http.drop_invalid_header_fields.enabled"),
		ForwardedFor:       attributes["routing.http.xff_header_processing.mode"],
		ForwardedForPort:   is("routing.http.xff_client_port.enabled"),
		NoHTTP2:            attributes["routing.http2.enabled"] == "false",
		KeepAlive:          time.Duration(atoi(attributes["client_keep_alive.seconds"])) * time.Second,
		TLSHeaders:         is("routing.http.x_amzn_tls_version_and_cipher_suite.enabled"),
		AccessLog:          s.logLines(arn, lb, accessLog),
		ConnectionLog:      s.logLines(arn, lb, connectionLog)}
	for _, l := range s.listenersOf(tx, arn) {
		rec, _ := s.listeners.Get(tx, l)
		ln := balancer.Listener{ARN: l, Port: int(*rec.API.Port), Protocol: *rec.API.Protocol, Actions: actions(rec.API.DefaultActions)}
		if ln.Protocol == "HTTPS" || ln.Protocol == "TLS" {
			ln.Certificates = []tls.Certificate{cert}
			if p, err := policyOf(wire.Value(rec.API.SslPolicy)); err == nil {
				ln.Security = p.security()
			}
			for _, c := range rec.API.Certificates {
				ln.CertificateARN = wire.Value(c.CertificateArn)
			}
			ln.Clients = s.clientsOf(tx, rec)
		}
		ln.RequestHeaders, ln.Headers, ln.HideServer = rec.headers()
		ln.IdleTimeout = time.Duration(atoi(rec.attributes()[tcpIdleTimeout])) * time.Second
		for _, r := range s.rulesOf(tx, l) {
			conds, err := conditions(r.API.Conditions)
			if err != nil {
				continue // it was checked when it was made
			}
			rw, _ := rewrites(r.API.Transforms) // likewise
			ln.Rules = append(ln.Rules, balancer.Rule{ARN: r.ARN, Priority: r.Priority, Conditions: conds, Transforms: rw, Actions: actions(r.API.Actions)})
		}
		out.Listeners = append(out.Listeners, ln)
	}
	return out
}

func (s *Service) groupPlan(tx *state.Tx, p *plan, arn string, g *TargetGroup) {
	seconds := func(name string) time.Duration {
		return s.clock.Real(time.Duration(atoi(g.Attributes[name])) * time.Second)
	}
	delay := time.Duration(atoi(g.Attributes["deregistration_delay.timeout_seconds"])) * time.Second
	a := g.API
	tg := balancer.TargetGroup{ARN: arn, Protocol: *a.Protocol, ProtocolVersion: wire.Value(a.ProtocolVersion), Algorithm: g.Attributes["load_balancing.algorithm.type"],
		SlowStart: seconds("slow_start.duration_seconds"), ProxyProtocol: g.Attributes["proxy_protocol_v2.enabled"] == "true",
		MinHealthyCount:   atoi(g.Attributes["target_group_health.unhealthy_state_routing.minimum_healthy_targets.count"]),
		MinHealthyPercent: atoi(g.Attributes["target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage"])}
	if g.Attributes["stickiness.enabled"] == "true" {
		tg.Stickiness = balancer.Stickiness{Type: g.Attributes["stickiness.type"], Cookie: g.Attributes["stickiness.app_cookie.cookie_name"]}
		tg.Stickiness.Duration = seconds("stickiness." + tg.Stickiness.Type + ".duration_seconds")
	}
	checks := targethealth.Group{InUse: len(s.balancersOf(tx, arn)) > 0, Check: check(&a)}
	for key, t := range s.ecs.Targets.Prefix(tx, arn+"/") {
		addr := s.address(tx, t)
		p.homeless = p.homeless || addr == ""
		place := balancer.Target{ID: t.ID, Port: t.Port, AZ: t.AZ, Addr: addr}
		ck := targethealth.Target{Key: key, Addr: addr, Draining: !t.DrainingSince.IsZero()}
		if port := wire.Value(a.HealthCheckPort); port != "traffic-port" && addr != "" {
			other := *t
			other.Port, other.Addr = atoi(port), ""
			if ck.Addr = s.address(tx, &other); ck.Addr == "" {
				ck.Addr = withPort(addr, port) // a port that is not published is beside the one that is
			}
		}
		if h, ok := s.ecs.TargetHealth.Get(tx, key); ok {
			ck.Before = healthOf(h)
			place.State = trafficState(h.State)
		}
		if ck.Draining {
			place.State = balancer.Draining
			p.draining = append(p.draining, leaving{key: key, plane: balancer.TargetKey{TargetGroup: arn, ID: t.ID, Port: t.Port}, since: t.DrainingSince, delay: delay})
		} else if place.State == balancer.Draining {
			place.State = balancer.Unhealthy // registered again
		}
		tg.Targets = append(tg.Targets, place)
		checks.Targets = append(checks.Targets, ck)
	}
	p.config.TargetGroups = append(p.config.TargetGroups, tg)
	p.checks = append(p.checks, checks)
}

func withPort(addr, port string) string {
	host, _, ok := strings.Cut(addr, ":")
	if !ok {
		return ""
	}
	return host + ":" + port
}

func check(a *elbv2api.TargetGroup) targethealth.Check {
	c := targethealth.Check{Enabled: *a.HealthCheckEnabled, Protocol: *a.HealthCheckProtocol, ProtocolVersion: wire.Value(a.ProtocolVersion), Path: wire.Value(a.HealthCheckPath),
		Interval: time.Duration(*a.HealthCheckIntervalSeconds) * time.Second, Timeout: time.Duration(*a.HealthCheckTimeoutSeconds) * time.Second,
		HealthyThreshold: int(*a.HealthyThresholdCount), UnhealthyThreshold: int(*a.UnhealthyThresholdCount)}
	switch m := a.Matcher; {
	case m == nil:
	case m.GrpcCode != nil:
		c.Codes = *m.GrpcCode
		c.Match, _ = parseCodes(c.Codes, 0, 99) // checked when it was set
	case m.HttpCode != nil:
		c.Codes = *m.HttpCode
		c.Match, _ = parseCodes(c.Codes, 200, 599) // likewise
	}
	return c
}

func actions(in []elbv2api.Action) []balancer.Action {
	var out []balancer.Action
	for _, a := range in {
		var act balancer.Action
		switch wire.Value(a.Type) {
		case "forward":
			act.Forward = &balancer.Forward{}
			for _, t := range a.ForwardConfig.TargetGroups {
				act.Forward.Groups = append(act.Forward.Groups, balancer.WeightedGroup{ARN: wire.Value(t.TargetGroupArn), Weight: int(wire.Value(t.Weight))})
			}
			if st := a.ForwardConfig.TargetGroupStickinessConfig; st != nil && wire.Value(st.Enabled) {
				act.Forward.Sticky, act.Forward.StickyTime = true, time.Duration(wire.Value(st.DurationSeconds))*time.Second
			}
		case "redirect":
			r := a.RedirectConfig
			act.Redirect = &balancer.Redirect{Protocol: wire.Value(r.Protocol), Host: wire.Value(r.Host), Port: wire.Value(r.Port), Path: wire.Value(r.Path), Query: wire.Value(r.Query), Status: atoi(strings.TrimPrefix(wire.Value(r.StatusCode), "HTTP_"))}
		case "fixed-response":
			f := a.FixedResponseConfig
			act.Fixed = &balancer.FixedResponse{Status: atoi(wire.Value(f.StatusCode)), ContentType: wire.Value(f.ContentType), Body: wire.Value(f.MessageBody)}
		}
		out = append(out, act)
	}
	return out
}
