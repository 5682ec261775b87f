package elbv2

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

func (s *Service) registerListeners(svc *wire.Service) {
	wire.Handle(svc, "CreateListener", s.createListener, wire.Partly("certificates are self-signed stand-ins; no authentication"))
	wire.Handle(svc, "ModifyListener", s.modifyListener)
	wire.Handle(svc, "DeleteListener", s.deleteListener)
	wire.Handle(svc, "DescribeListeners", s.describeListeners)
	wire.Handle(svc, "DescribeListenerAttributes", s.listenerAttributes)
	wire.Handle(svc, "ModifyListenerAttributes", s.modifyListenerAttributes)
	wire.Handle(svc, "AddListenerCertificates", s.addCertificates)
	wire.Handle(svc, "RemoveListenerCertificates", s.removeCertificates)
	wire.Handle(svc, "DescribeListenerCertificates", s.describeCertificates)
}

func (s *Service) listenersOf(tx *state.Tx, balancer string) []string {
	var out []string
	for arn, l := range s.listeners.All(tx) {
		if wire.Value(l.API.LoadBalancerArn) == balancer {
			out = append(out, arn)
		}
	}
	return out
}

func (s *Service) rulesOf(tx *state.Tx, listener string) []*Rule {
	var out []*Rule
	for _, r := range s.rules.All(tx) {
		if r.ListenerARN == listener {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *Rule) int { return a.Priority - b.Priority })
	return out
}

func (s *Service) dropListener(tx *state.Tx, arn string) {
	for _, r := range s.rulesOf(tx, arn) {
		s.rules.Delete(tx, r.ARN)
	}
	s.listeners.Delete(tx, arn)
}

// checkActions validates actions and the target groups they name, and writes them as AWS echoes
// them: an order, and ForwardConfig beside a single TargetGroupArn.
func (s *Service) checkActions(tx *state.Tx, balancer string, actions []elbv2api.Action) ([]elbv2api.Action, error) {
	if len(actions) == 0 {
		return nil, wire.Errorf("ValidationError", "An action must be specified")
	}
	out := slices.Clone(actions)
	for i := range out {
		a := &out[i]
		a.Order = or(a.Order, wire.Int32(i+1))
		switch kind := wire.Value(a.Type); kind {
		case "forward":
			groups := groupsOf(out[i : i+1])
			if len(groups) == 0 {
				return nil, wire.Errorf("ValidationError", "A target group ARN must be specified")
			}
			if len(groups) > 5 {
				return nil, wire.Errorf("TooManyTargetGroups", "The maximum number of target groups for an action is 5")
			}
			for _, g := range groups {
				if _, ok := s.groups.Get(tx, g); !ok {
					return nil, noGroup(g)
				}
				for _, lb := range s.balancersOf(tx, g) {
					if lb != balancer {
						return nil, wire.Errorf("TargetGroupAssociationLimit", "The following target groups cannot be associated with more than one load balancer: %s", g)
					}
				}
			}
			if a.ForwardConfig == nil {
				a.ForwardConfig = &elbv2api.ForwardActionConfig{TargetGroups: []elbv2api.TargetGroupTuple{{TargetGroupArn: a.TargetGroupArn, Weight: wire.Ptr[int32](1)}}, TargetGroupStickinessConfig: &elbv2api.TargetGroupStickinessConfig{Enabled: wire.Ptr(false)}}
			} else {
				cfg := *a.ForwardConfig
				cfg.TargetGroups = slices.Clone(cfg.TargetGroups)
				for k := range cfg.TargetGroups {
					w := or(cfg.TargetGroups[k].Weight, wire.Ptr[int32](1))
					if *w < 0 || *w > 999 {
						return nil, wire.Errorf("ValidationError", "The weight of a target group must be between 0 and 999")
					}
					cfg.TargetGroups[k].Weight = w
				}
				cfg.TargetGroupStickinessConfig = or(cfg.TargetGroupStickinessConfig, &elbv2api.TargetGroupStickinessConfig{Enabled: wire.Ptr(false)})
				a.ForwardConfig = &cfg
				if len(groups) == 1 {
					a.TargetGroupArn = wire.Ptr(groups[0])
				}
			}
		case "redirect":
			c := a.RedirectConfig
			if c == nil || wire.Value(c.StatusCode) != "HTTP_301" && wire.Value(c.StatusCode) != "HTTP_302" {
				return nil, wire.Errorf("ValidationError", "A redirect needs the status code HTTP_301 or HTTP_302")
			}
			full := *c
			full.Protocol, full.Host, full.Port, full.Path, full.Query = or(c.Protocol, wire.Ptr("#{protocol}")), or(c.Host, wire.Ptr("#{host}")), or(c.Port, wire.Ptr("#{port}")), or(c.Path, wire.Ptr("/#{path}")), or(c.Query, wire.Ptr("#{query}"))
			a.RedirectConfig = &full
		case "fixed-response":
			c := a.FixedResponseConfig
			if c == nil || len(wire.Value(c.StatusCode)) != 3 || !strings.ContainsAny(wire.Value(c.StatusCode)[:1], "245") {
				return nil, wire.Errorf("ValidationError", "A fixed response needs a status code 2XX, 4XX or 5XX")
			}
			if len(wire.Value(c.MessageBody)) > 1024 {
				return nil, wire.Errorf("ValidationError", "The body of a fixed response has at most 1024 characters")
			}
		default:
			return nil, wire.Errorf("ValidationError", "not supported: actions of the type %q", kind)
		}
	}
	return out, nil
}

// checkGroupLimit refuses the 101st target group of a balancer: the one quota AWS does not raise.
func (s *Service) checkGroupLimit(tx *state.Tx, balancer string) error {
	groups := map[string]bool{}
	for _, arn := range s.listenersOf(tx, balancer) {
		l, _ := s.listeners.Get(tx, arn)
		for _, g := range groupsOf(l.API.DefaultActions) {
			groups[g] = true
		}
		for _, r := range s.rulesOf(tx, arn) {
			for _, g := range groupsOf(r.API.Actions) {
				groups[g] = true
			}
		}
	}
	if len(groups) > 100 {
		return wire.Errorf("TooManyUniqueTargetGroupsPerLoadBalancer", "The maximum number of unique target groups per load balancer is 100")
	}
	return nil
}

func (s *Service) createListener(_ context.Context, in *elbv2api.CreateListenerInput) (*elbv2api.CreateListenerOutput, error) {
	arn, protocol := wire.Value(in.LoadBalancerArn), wire.Value(in.Protocol)
	out := &elbv2api.CreateListenerOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		lb, ok := s.balancers.Get(tx, arn)
		if !ok {
			return notFound("LoadBalancerNotFound", "load balancers", arn)
		}
		if err := checkProtocol(wire.Value(lb.API.Type), protocol, in.Certificates); err != nil {
			return err
		}
		if err := checkRange("port", or(in.Port, wire.Ptr[int32](0)), 1, 65535); err != nil {
			return err
		}
		existing := s.listenersOf(tx, arn)
		for _, l := range existing {
			if have, _ := s.listeners.Get(tx, l); *have.API.Port == *in.Port {
				return wire.Errorf("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", arn)
			}
		}
		if len(existing) >= 50 {
			return wire.Errorf("TooManyListeners", "The maximum number of listeners per load balancer is 50")
		}
		actions, err := s.checkActions(tx, arn, in.DefaultActions)
		if err != nil {
			return err
		}
		mutual, err := s.checkMutual(tx, protocol, in.MutualAuthentication)
		if err != nil {
			return err
		}
		l := &Listener{Tags: in.Tags, Attributes: listenerDefaults(protocol), API: elbv2api.Listener{ListenerArn: wire.Ptr(strings.Replace(arn, ":loadbalancer/", ":listener/", 1) + "/" + newID()), LoadBalancerArn: &arn, Port: in.Port,
			Protocol: &protocol, Certificates: in.Certificates, SslPolicy: in.SslPolicy, AlpnPolicy: in.AlpnPolicy, MutualAuthentication: mutual, DefaultActions: actions}}
		if protocol != "HTTP" && protocol != "TCP" && l.API.SslPolicy == nil {
			l.API.SslPolicy = wire.Ptr(defaultPolicy)
		}
		if err := checkPolicy(&l.API); err != nil {
			return err
		}
		s.listeners.Put(tx, *l.API.ListenerArn, l)
		out.Listeners = []elbv2api.Listener{l.API}
		return s.checkGroupLimit(tx, arn)
	})
}

func checkProtocol(kind, protocol string, certificates []elbv2api.Certificate) error {
	switch {
	case kind == "application" && protocol != "HTTP" && protocol != "HTTPS":
		return wire.Errorf("ValidationError", "Protocol '%s' must be one of 'HTTP, HTTPS' for an application load balancer", protocol)
	case kind == "network" && protocol != "TCP" && protocol != "TLS":
		return wire.Errorf("ValidationError", "not supported: network listeners of the protocol %s", protocol)
	case (protocol == "HTTPS" || protocol == "TLS") && len(certificates) == 0:
		return wire.Errorf("CertificateNotFound", "A certificate must be specified for %s listeners", protocol)
	}
	return nil
}

// checkPolicy checks the security policy of a listener: one that speaks TLS has one.
func checkPolicy(l *elbv2api.Listener) error {
	if l.SslPolicy == nil {
		return nil
	}
	if p := wire.Value(l.Protocol); p == "HTTP" || p == "TCP" {
		return wire.Errorf("InvalidConfigurationRequest", "A security policy cannot be specified for %s listeners", p)
	}
	_, err := policyOf(*l.SslPolicy)
	return err
}

func noListener(arn string) error { return notFound("ListenerNotFound", "listeners", arn) }

func (s *Service) changeListener(arn *string, f func(tx *state.Tx, l *Listener) error) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, ok := s.listeners.Get(tx, wire.Value(arn))
		if !ok {
			return noListener(wire.Value(arn))
		}
		l := *old
		if err := f(tx, &l); err != nil {
			return err
		}
		s.listeners.Put(tx, *arn, &l)
		return nil
	})
}

func (s *Service) modifyListener(_ context.Context, in *elbv2api.ModifyListenerInput) (*elbv2api.ModifyListenerOutput, error) {
	out := &elbv2api.ModifyListenerOutput{}
	return out, s.changeListener(in.ListenerArn, func(tx *state.Tx, l *Listener) error {
		a := &l.API
		lb, _ := s.balancers.Get(tx, *a.LoadBalancerArn)
		a.Port, a.Protocol, a.SslPolicy = or(in.Port, a.Port), or(in.Protocol, a.Protocol), or(in.SslPolicy, a.SslPolicy)
		if len(in.Certificates) > 0 {
			a.Certificates = in.Certificates
		}
		if err := checkProtocol(wire.Value(lb.API.Type), *a.Protocol, a.Certificates); err != nil {
			return err
		}
		if err := checkRange("port", a.Port, 1, 65535); err != nil {
			return err
		}
		if *a.Protocol == "HTTP" || *a.Protocol == "TCP" {
			a.SslPolicy, a.Certificates = in.SslPolicy, in.Certificates
		} else {
			a.SslPolicy = or(a.SslPolicy, wire.Ptr(defaultPolicy))
		}
		if err := checkPolicy(a); err != nil {
			return err
		}
		mutual, err := s.checkMutual(tx, *a.Protocol, or(in.MutualAuthentication, a.MutualAuthentication))
		if err != nil {
			return err
		}
		a.MutualAuthentication = mutual
		for _, other := range s.listenersOf(tx, *a.LoadBalancerArn) {
			if have, _ := s.listeners.Get(tx, other); other != *a.ListenerArn && *have.API.Port == *a.Port {
				return wire.Errorf("DuplicateListener", "A listener already exists on this port for this load balancer '%s'", *a.LoadBalancerArn)
			}
		}
		if len(in.DefaultActions) > 0 {
			actions, err := s.checkActions(tx, *a.LoadBalancerArn, in.DefaultActions)
			if err != nil {
				return err
			}
			a.DefaultActions = actions
		}
		out.Listeners = []elbv2api.Listener{*a}
		return nil
	})
}

func (s *Service) deleteListener(_ context.Context, in *elbv2api.DeleteListenerInput) (*elbv2api.DeleteListenerOutput, error) {
	return &elbv2api.DeleteListenerOutput{}, s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.listeners.Get(tx, wire.Value(in.ListenerArn)); !ok {
			return noListener(wire.Value(in.ListenerArn))
		}
		s.dropListener(tx, *in.ListenerArn)
		return nil
	})
}

func (s *Service) describeListeners(_ context.Context, in *elbv2api.DescribeListenersInput) (*elbv2api.DescribeListenersOutput, error) {
	out := &elbv2api.DescribeListenersOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		if in.LoadBalancerArn != nil {
			if _, ok := s.balancers.Get(tx, *in.LoadBalancerArn); !ok {
				return notFound("LoadBalancerNotFound", "load balancers", *in.LoadBalancerArn)
			}
		}
		for _, arn := range in.ListenerArns {
			if _, ok := s.listeners.Get(tx, arn); !ok {
				return noListener(arn)
			}
		}
		var all []elbv2api.Listener
		for arn, l := range s.listeners.All(tx) {
			if in.LoadBalancerArn != nil && *l.API.LoadBalancerArn != *in.LoadBalancerArn || len(in.ListenerArns) > 0 && !slices.Contains(in.ListenerArns, arn) {
				continue
			}
			all = append(all, l.API)
		}
		out.Listeners, out.NextMarker = page(all, func(l elbv2api.Listener) string { return *l.ListenerArn }, in.Marker, in.PageSize)
		return nil
	})
}

func (s *Service) addCertificates(_ context.Context, in *elbv2api.AddListenerCertificatesInput) (*elbv2api.AddListenerCertificatesOutput, error) {
	out := &elbv2api.AddListenerCertificatesOutput{Certificates: in.Certificates}
	return out, s.changeListener(in.ListenerArn, func(_ *state.Tx, l *Listener) error {
		l.Extra = append(slices.Clone(l.Extra), in.Certificates...)
		if len(l.Extra) > 25 {
			return wire.Errorf("TooManyCertificates", "The maximum number of certificates per load balancer is 25")
		}
		return nil
	})
}

func (s *Service) removeCertificates(_ context.Context, in *elbv2api.RemoveListenerCertificatesInput) (*elbv2api.RemoveListenerCertificatesOutput, error) {
	return &elbv2api.RemoveListenerCertificatesOutput{}, s.changeListener(in.ListenerArn, func(_ *state.Tx, l *Listener) error {
		l.Extra = slices.DeleteFunc(slices.Clone(l.Extra), func(c elbv2api.Certificate) bool {
			return slices.ContainsFunc(in.Certificates, func(d elbv2api.Certificate) bool {
				return wire.Value(d.CertificateArn) == wire.Value(c.CertificateArn)
			})
		})
		return nil
	})
}

func (s *Service) describeCertificates(_ context.Context, in *elbv2api.DescribeListenerCertificatesInput) (*elbv2api.DescribeListenerCertificatesOutput, error) {
	out := &elbv2api.DescribeListenerCertificatesOutput{Certificates: []elbv2api.Certificate{}}
	return out, s.db.View(func(tx *state.Tx) error {
		l, ok := s.listeners.Get(tx, wire.Value(in.ListenerArn))
		if !ok {
			return noListener(wire.Value(in.ListenerArn))
		}
		for i, c := range append(slices.Clone(l.API.Certificates), l.Extra...) {
			c.IsDefault = wire.Ptr(i < len(l.API.Certificates))
			out.Certificates = append(out.Certificates, c)
		}
		return nil
	})
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // values were checked when they were set
	return n
}
