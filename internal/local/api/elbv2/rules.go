package elbv2

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/listener"
	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

func (s *Service) registerRules(svc *wire.Service) {
	wire.Handle(svc, "CreateRule", s.createRule)
	wire.Handle(svc, "ModifyRule", s.modifyRule)
	wire.Handle(svc, "DeleteRule", s.deleteRule)
	wire.Handle(svc, "DescribeRules", s.describeRules)
	wire.Handle(svc, "SetRulePriorities", s.setPriorities)
}

// conditions translates a rule's conditions; it is where they are validated.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/rule-condition-types.html
func conditions(in []elbv2api.RuleCondition) ([]balancer.Condition, error) {
	var out []balancer.Condition
	var all listener.Conditions // of all values together, for the limits
	seen := map[string]bool{}
	regexes := 0
	for _, rc := range in {
		c := balancer.Condition{Field: wire.Value(rc.Field), Values: rc.Values, Regex: rc.RegexValues}
		switch c.Field {
		case "host-header":
			if f := rc.HostHeaderConfig; f != nil {
				c.Values, c.Regex = f.Values, f.RegexValues
			}
			all.Hosts = append(all.Hosts, c.Values...)
		case "path-pattern":
			if f := rc.PathPatternConfig; f != nil {
				c.Values, c.Regex = f.Values, f.RegexValues
			}
			all.Paths = append(all.Paths, c.Values...)
		case "http-header":
			f := rc.HttpHeaderConfig
			if f == nil || wire.Value(f.HttpHeaderName) == "" {
				return nil, invalid("A condition on a header needs its name")
			}
			c.Header, c.Values, c.Regex = *f.HttpHeaderName, f.Values, f.RegexValues
			if len(c.Values) > 0 {
				if all.Headers == nil {
					all.Headers = map[string][]string{}
				}
				all.Headers[c.Header] = append(all.Headers[c.Header], c.Values...)
			}
		case "http-request-method":
			if f := rc.HttpRequestMethodConfig; f != nil {
				c.Values = f.Values
			}
			all.Methods = append(all.Methods, c.Values...)
		case "query-string":
			if f := rc.QueryStringConfig; f != nil {
				for _, q := range f.Values {
					c.Query = append(c.Query, balancer.KeyValue{Key: wire.Value(q.Key), Value: wire.Value(q.Value)})
					all.Query = append(all.Query, listener.QueryValue{Key: wire.Value(q.Key), Value: wire.Value(q.Value)})
				}
			}
		case "source-ip":
			if f := rc.SourceIpConfig; f != nil {
				c.Values = f.Values
			}
			all.SourceIPs = append(all.SourceIPs, c.Values...)
		default:
			return nil, invalid("Condition field '%s' must be one of '[host-header, http-header, http-request-method, path-pattern, query-string, source-ip]'", c.Field)
		}
		if single := c.Field != "http-header" && c.Field != "query-string"; single && seen[c.Field] {
			return nil, invalid("A rule can have at most one condition with the field '%s'", c.Field)
		}
		seen[c.Field] = true
		if len(c.Values)+len(c.Regex)+len(c.Query) == 0 {
			return nil, invalid("A condition value must be specified")
		}
		if len(c.Values) > 0 && len(c.Regex) > 0 {
			return nil, invalid("A condition takes either values or regular expressions")
		}
		regexes += len(c.Regex)
		for _, p := range c.Regex {
			if _, err := regexp.Compile(p); err != nil || len(p) > listener.MaxValueLength {
				return nil, invalid("The regular expression '%s' is not valid", p)
			}
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, invalid("A condition must be specified")
	}
	if !all.Empty() {
		if errs := all.Validate(); len(errs) > 0 {
			return nil, invalid("%v", errs[0])
		}
	}
	if regexes > listener.MaxValues {
		return nil, invalid("A rule can have at most %d condition values", listener.MaxValues)
	}
	return out, nil
}

func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationError", format, args...)
}

// echoConditions writes conditions as AWS shows them: the plain values beside the configuration.
func echoConditions(in []elbv2api.RuleCondition) []elbv2api.RuleCondition {
	out := slices.Clone(in)
	for i := range out {
		rc := &out[i]
		switch wire.Value(rc.Field) {
		case "host-header":
			if rc.HostHeaderConfig == nil {
				rc.HostHeaderConfig = &elbv2api.HostHeaderConditionConfig{Values: rc.Values}
			}
			rc.Values = append([]string{}, rc.HostHeaderConfig.Values...)
		case "path-pattern":
			if rc.PathPatternConfig == nil {
				rc.PathPatternConfig = &elbv2api.PathPatternConditionConfig{Values: rc.Values}
			}
			rc.Values = append([]string{}, rc.PathPatternConfig.Values...)
		}
	}
	return out
}

func rewrites(in []elbv2api.RuleTransform) ([]balancer.Transform, error) {
	var out []balancer.Transform
	seen := map[string]bool{}
	for _, t := range in {
		kind := wire.Value(t.Type)
		if seen[kind] {
			return nil, wire.Errorf("ValidationError", "A rule has at most one transform of the type %s", kind)
		}
		seen[kind] = true
		var list []elbv2api.RewriteConfig
		switch {
		case kind == "url-rewrite" && t.UrlRewriteConfig != nil:
			list = t.UrlRewriteConfig.Rewrites
		case kind == "host-header-rewrite" && t.HostHeaderRewriteConfig != nil:
			list = t.HostHeaderRewriteConfig.Rewrites
		default:
			return nil, wire.Errorf("ValidationError", "The transform type '%s' is not valid", kind)
		}
		for _, rw := range list {
			_, err := regexp.Compile(wire.Value(rw.Regex))
			if err != nil || len(wire.Value(rw.Regex)) > 1024 || len(wire.Value(rw.Replace)) > 1024 {
				return nil, wire.Errorf("ValidationError", "The regular expression '%s' is not valid", wire.Value(rw.Regex))
			}
			out = append(out, balancer.Transform{Type: kind, Regex: wire.Value(rw.Regex), Replace: wire.Value(rw.Replace)})
		}
	}
	return out, nil
}

func (r *Rule) shown() elbv2api.Rule {
	out := r.API
	out.RuleArn, out.Priority, out.IsDefault = &r.ARN, wire.Ptr(strconv.Itoa(r.Priority)), wire.Ptr(false)
	return out
}

func defaultRule(l *Listener) elbv2api.Rule {
	arn := strings.Replace(*l.API.ListenerArn, ":listener/", ":listener-rule/", 1) + "/default"
	return elbv2api.Rule{RuleArn: &arn, Priority: wire.Ptr("default"), IsDefault: wire.Ptr(true), Conditions: []elbv2api.RuleCondition{}, Actions: l.API.DefaultActions}
}

func (s *Service) createRule(_ context.Context, in *elbv2api.CreateRuleInput) (*elbv2api.CreateRuleOutput, error) {
	arn, priority := wire.Value(in.ListenerArn), int(wire.Value(in.Priority))
	if priority < 1 || priority > 50000 {
		return nil, wire.Errorf("ValidationError", "Priority '%d' must be between '1' and '50000' inclusive", priority)
	}
	if len(in.Actions) == 0 {
		return nil, invalid("An action must be specified")
	}
	if _, err := conditions(in.Conditions); err != nil {
		return nil, err
	}
	if _, err := rewrites(in.Transforms); err != nil {
		return nil, err
	}
	out := &elbv2api.CreateRuleOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		l, ok := s.listeners.Get(tx, arn)
		if !ok {
			return noListener(arn)
		}
		balancerARN := *l.API.LoadBalancerArn
		n := 0
		for _, other := range s.listenersOf(tx, balancerARN) {
			n += len(s.rulesOf(tx, other))
		}
		if n >= 100 {
			return wire.Errorf("TooManyRules", "The maximum number of rules per load balancer is 100")
		}
		for _, r := range s.rulesOf(tx, arn) {
			if r.Priority == priority {
				return wire.Errorf("PriorityInUse", "Priority '%d' is currently in use", priority)
			}
		}
		actions, err := s.checkActions(tx, balancerARN, in.Actions)
		if err != nil {
			return err
		}
		r := &Rule{ARN: strings.Replace(arn, ":listener/", ":listener-rule/", 1) + "/" + newID(), ListenerARN: arn, Priority: priority, Tags: in.Tags,
			API: elbv2api.Rule{Conditions: echoConditions(in.Conditions), Actions: actions, Transforms: in.Transforms}}
		s.rules.Put(tx, r.ARN, r)
		out.Rules = []elbv2api.Rule{r.shown()}
		return s.checkGroupLimit(tx, balancerARN)
	})
}

func noRule(arn string) error { return notFound("RuleNotFound", "rules", arn) }

func (s *Service) modifyRule(_ context.Context, in *elbv2api.ModifyRuleInput) (*elbv2api.ModifyRuleOutput, error) {
	arn := wire.Value(in.RuleArn)
	if strings.HasSuffix(arn, "/default") {
		return nil, wire.Errorf("OperationNotPermitted", "Default rule '%s' cannot be modified", arn)
	}
	out := &elbv2api.ModifyRuleOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		old, ok := s.rules.Get(tx, arn)
		if !ok {
			return noRule(arn)
		}
		r := *old
		if len(in.Conditions) > 0 {
			if _, err := conditions(in.Conditions); err != nil {
				return err
			}
			r.API.Conditions = echoConditions(in.Conditions)
		}
		if len(in.Transforms) > 0 || wire.Value(in.ResetTransforms) {
			if _, err := rewrites(in.Transforms); err != nil {
				return err
			}
			r.API.Transforms = in.Transforms
		}
		if len(in.Actions) > 0 {
			l, _ := s.listeners.Get(tx, r.ListenerARN)
			actions, err := s.checkActions(tx, *l.API.LoadBalancerArn, in.Actions)
			if err != nil {
				return err
			}
			r.API.Actions = actions
		}
		s.rules.Put(tx, arn, &r)
		out.Rules = []elbv2api.Rule{r.shown()}
		return nil
	})
}

func (s *Service) deleteRule(_ context.Context, in *elbv2api.DeleteRuleInput) (*elbv2api.DeleteRuleOutput, error) {
	arn := wire.Value(in.RuleArn)
	if strings.HasSuffix(arn, "/default") {
		return nil, wire.Errorf("OperationNotPermitted", "Default rule '%s' cannot be deleted", arn)
	}
	return &elbv2api.DeleteRuleOutput{}, s.db.Update(func(tx *state.Tx) error {
		if !s.rules.Delete(tx, arn) {
			return noRule(arn)
		}
		return nil
	})
}

func (s *Service) describeRules(_ context.Context, in *elbv2api.DescribeRulesInput) (*elbv2api.DescribeRulesOutput, error) {
	out := &elbv2api.DescribeRulesOutput{Rules: []elbv2api.Rule{}}
	if (in.ListenerArn == nil) == (len(in.RuleArns) == 0) {
		return nil, wire.Errorf("ValidationError", "You must specify either listener ARN or rule ARNs")
	}
	return out, s.db.View(func(tx *state.Tx) error {
		if in.ListenerArn != nil {
			l, ok := s.listeners.Get(tx, *in.ListenerArn)
			if !ok {
				return noListener(*in.ListenerArn)
			}
			for _, r := range s.rulesOf(tx, *in.ListenerArn) {
				out.Rules = append(out.Rules, r.shown())
			}
			out.Rules = append(out.Rules, defaultRule(l))
			return nil
		}
		for _, arn := range in.RuleArns {
			if base, ok := strings.CutSuffix(arn, "/default"); ok {
				if l, ok := s.listeners.Get(tx, strings.Replace(base, ":listener-rule/", ":listener/", 1)); ok {
					out.Rules = append(out.Rules, defaultRule(l))
					continue
				}
			}
			r, ok := s.rules.Get(tx, arn)
			if !ok {
				return noRule(arn)
			}
			out.Rules = append(out.Rules, r.shown())
		}
		return nil
	})
}

func (s *Service) setPriorities(_ context.Context, in *elbv2api.SetRulePrioritiesInput) (*elbv2api.SetRulePrioritiesOutput, error) {
	out := &elbv2api.SetRulePrioritiesOutput{Rules: []elbv2api.Rule{}}
	return out, s.db.Update(func(tx *state.Tx) error {
		listeners := map[string]bool{}
		for _, p := range in.RulePriorities {
			n := int(wire.Value(p.Priority))
			if n < 1 || n > 50000 {
				return wire.Errorf("ValidationError", "Priority '%d' must be between '1' and '50000' inclusive", n)
			}
			r, ok := s.rules.Get(tx, wire.Value(p.RuleArn))
			if !ok {
				return noRule(wire.Value(p.RuleArn))
			}
			s.rules.Modify(tx, r.ARN, func(r *Rule) { r.Priority = n })
			listeners[r.ListenerARN] = true
		}
		for l := range listeners { // all at once, so that two may change places
			seen := map[int]bool{}
			for _, r := range s.rulesOf(tx, l) {
				if seen[r.Priority] {
					return wire.Errorf("PriorityInUse", "Priority '%d' is currently in use", r.Priority)
				}
				seen[r.Priority] = true
			}
		}
		for _, p := range in.RulePriorities {
			r, _ := s.rules.Get(tx, *p.RuleArn)
			out.Rules = append(out.Rules, r.shown())
		}
		return nil
	})
}
