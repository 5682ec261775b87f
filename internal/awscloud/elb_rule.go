package awscloud

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/listener"
)

// ownerTag says which service a rule is for.
const ownerTag = "slipway:service"

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeRules.html
func (p *elbPort) Rules(ctx context.Context, listenerARN string) ([]deploy.Rule, error) {
	in := &elb.DescribeRulesInput{ListenerArn: &listenerARN}
	var rules []deploy.Rule
	var arns []string
	for {
		page, err := p.api.DescribeRules(ctx, in)
		if is(err, "ListenerNotFound") {
			return nil, deploy.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		for _, r := range page.Rules {
			if !aws.ToBool(r.IsDefault) {
				rules = append(rules, ruleFrom(listenerARN, r))
				arns = append(arns, aws.ToString(r.RuleArn))
			}
		}
		if aws.ToString(page.NextMarker) == "" {
			break
		}
		in.Marker = page.NextMarker
	}
	tags, err := p.tags(ctx, arns...)
	if is(err, "RuleNotFound") { // one went between the two calls
		return p.Rules(ctx, listenerARN)
	}
	if err != nil {
		return nil, err
	}
	for i := range rules {
		rules[i].Tags = tags[rules[i].ARN]
		rules[i].Owner = rules[i].Tags[ownerTag]
	}
	return rules, nil
}

func ruleFrom(listenerARN string, r types.Rule) deploy.Rule {
	out := deploy.Rule{ARN: aws.ToString(r.RuleArn), Listener: listenerARN}
	out.Priority, _ = strconv.Atoi(aws.ToString(r.Priority)) // "default" is left out by the caller
	for _, c := range r.Conditions {
		switch {
		case c.HostHeaderConfig != nil:
			out.Conditions.Hosts = append(out.Conditions.Hosts, c.HostHeaderConfig.Values...)
		case c.PathPatternConfig != nil:
			out.Conditions.Paths = append(out.Conditions.Paths, c.PathPatternConfig.Values...)
		case c.HttpRequestMethodConfig != nil:
			out.Conditions.Methods = append(out.Conditions.Methods, c.HttpRequestMethodConfig.Values...)
		case c.SourceIpConfig != nil:
			out.Conditions.SourceIPs = append(out.Conditions.SourceIPs, c.SourceIpConfig.Values...)
		case c.HttpHeaderConfig != nil:
			if out.Conditions.Headers == nil {
				out.Conditions.Headers = map[string][]string{}
			}
			out.Conditions.Headers[aws.ToString(c.HttpHeaderConfig.HttpHeaderName)] = c.HttpHeaderConfig.Values
		case c.QueryStringConfig != nil:
			for _, q := range c.QueryStringConfig.Values {
				out.Conditions.Query = append(out.Conditions.Query, listener.QueryValue{Key: aws.ToString(q.Key), Value: aws.ToString(q.Value)})
			}
		case aws.ToString(c.Field) == "host-header":
			out.Conditions.Hosts = append(out.Conditions.Hosts, c.Values...)
		case aws.ToString(c.Field) == "path-pattern":
			out.Conditions.Paths = append(out.Conditions.Paths, c.Values...)
		}
	}
	for _, a := range r.Actions {
		if a.Type != types.ActionTypeEnumForward {
			continue
		}
		out.TargetGroup = aws.ToString(a.TargetGroupArn)
		if a.ForwardConfig == nil {
			continue
		}
		groups := slices.Clone(a.ForwardConfig.TargetGroups) // the greatest share first
		slices.SortStableFunc(groups, func(x, y types.TargetGroupTuple) int { return cmp.Compare(share(y), share(x)) })
		if len(groups) > 0 {
			out.TargetGroup = aws.ToString(groups[0].TargetGroupArn)
		}
		if len(groups) > 1 {
			out.Standby = aws.ToString(groups[1].TargetGroupArn)
		}
	}
	return out
}

// share is a target group's weight, 1 where none is given.
func share(t types.TargetGroupTuple) int32 {
	if t.Weight == nil {
		return 1
	}
	return *t.Weight
}

func (p *elbPort) RulesOf(ctx context.Context, targetGroup string, loadBalancers []string) ([]deploy.Rule, error) {
	var out []deploy.Rule
	err := p.listeners(ctx, loadBalancers, func(l types.Listener) error {
		if l.Protocol != types.ProtocolEnumHttp && l.Protocol != types.ProtocolEnumHttps {
			return nil
		}
		rules, err := p.Rules(ctx, aws.ToString(l.ListenerArn))
		for _, r := range rules {
			if r.TargetGroup == targetGroup || r.Standby == targetGroup {
				out = append(out, r)
			}
		}
		return err
	})
	return out, err
}

func (p *elbPort) listeners(ctx context.Context, loadBalancers []string, do func(types.Listener) error) error {
	for _, lb := range loadBalancers {
		in := &elb.DescribeListenersInput{LoadBalancerArn: aws.String(lb)}
		for {
			page, err := p.api.DescribeListeners(ctx, in)
			if is(err, "LoadBalancerNotFound") {
				break
			}
			if err != nil {
				return err
			}
			for _, l := range page.Listeners {
				if err := do(l); err != nil {
					return err
				}
			}
			if aws.ToString(page.NextMarker) == "" {
				break
			}
			in.Marker = page.NextMarker
		}
	}
	return nil
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html
func (p *elbPort) PutRule(ctx context.Context, w deploy.Rule) (deploy.Rule, error) {
	if w.ARN == "" {
		out, err := p.api.CreateRule(ctx, &elb.CreateRuleInput{ListenerArn: &w.Listener, Priority: aws.Int32(int32(w.Priority)),
			Conditions: conditions(w.Conditions), Actions: actions(w), Tags: elbTags(w.Tags)})
		switch {
		case is(err, "PriorityInUse"):
			return w, fmt.Errorf("%w: %w", deploy.ErrPriorityInUse, err)
		case is(err, "TooManyRules", "TooManyTargetGroups"):
			return w, fmt.Errorf("%w: %w", deploy.ErrNoRoom, err)
		case err != nil:
			return w, err
		}
		w.ARN = aws.ToString(out.Rules[0].RuleArn)
		return w, nil
	}
	out, err := p.api.ModifyRule(ctx, &elb.ModifyRuleInput{RuleArn: &w.ARN, Conditions: conditions(w.Conditions), Actions: actions(w)})
	if err != nil {
		return w, err
	}
	if len(out.Rules) > 0 && aws.ToString(out.Rules[0].Priority) != itoa(w.Priority) {
		_, err := p.api.SetRulePriorities(ctx, &elb.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{{RuleArn: &w.ARN, Priority: aws.Int32(int32(w.Priority))}}})
		if is(err, "PriorityInUse") {
			return w, fmt.Errorf("%w: %w", deploy.ErrPriorityInUse, err)
		}
		if err != nil {
			return w, err
		}
	}
	_, err = p.api.AddTags(ctx, &elb.AddTagsInput{ResourceArns: []string{w.ARN}, Tags: elbTags(w.Tags)})
	return w, err
}

func conditions(c listener.Conditions) (out []types.RuleCondition) {
	if len(c.Hosts) > 0 {
		out = append(out, types.RuleCondition{Field: aws.String("host-header"), HostHeaderConfig: &types.HostHeaderConditionConfig{Values: c.Hosts}})
	}
	if len(c.Paths) > 0 {
		out = append(out, types.RuleCondition{Field: aws.String("path-pattern"), PathPatternConfig: &types.PathPatternConditionConfig{Values: c.Paths}})
	}
	for _, name := range sortedKeys(c.Headers) {
		out = append(out, types.RuleCondition{Field: aws.String("http-header"), HttpHeaderConfig: &types.HttpHeaderConditionConfig{HttpHeaderName: aws.String(name), Values: c.Headers[name]}})
	}
	if len(c.Methods) > 0 {
		out = append(out, types.RuleCondition{Field: aws.String("http-request-method"), HttpRequestMethodConfig: &types.HttpRequestMethodConditionConfig{Values: c.Methods}})
	}
	if len(c.Query) > 0 {
		var values []types.QueryStringKeyValuePair
		for _, q := range c.Query {
			values = append(values, types.QueryStringKeyValuePair{Key: text(q.Key), Value: aws.String(q.Value)})
		}
		out = append(out, types.RuleCondition{Field: aws.String("query-string"), QueryStringConfig: &types.QueryStringConditionConfig{Values: values}})
	}
	if len(c.SourceIPs) > 0 {
		out = append(out, types.RuleCondition{Field: aws.String("source-ip"), SourceIpConfig: &types.SourceIpConditionConfig{Values: c.SourceIPs}})
	}
	return out
}

func actions(w deploy.Rule) []types.Action {
	if w.Standby == "" {
		return []types.Action{{Type: types.ActionTypeEnumForward, TargetGroupArn: &w.TargetGroup}}
	}
	return []types.Action{{Type: types.ActionTypeEnumForward, ForwardConfig: &types.ForwardActionConfig{TargetGroups: []types.TargetGroupTuple{
		{TargetGroupArn: &w.TargetGroup, Weight: aws.Int32(1)}, {TargetGroupArn: &w.Standby, Weight: aws.Int32(0)}}}}}
}

func (p *elbPort) DeleteRule(ctx context.Context, arn string) error {
	_, err := p.api.DeleteRule(ctx, &elb.DeleteRuleInput{RuleArn: &arn})
	if is(err, "RuleNotFound") {
		return nil
	}
	return err
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeListeners.html
func (p *elbPort) Listener(ctx context.Context, arn string) (deploy.Listener, error) {
	out, err := p.api.DescribeListeners(ctx, &elb.DescribeListenersInput{ListenerArns: []string{arn}})
	if is(err, "ListenerNotFound") || err == nil && len(out.Listeners) == 0 {
		return deploy.Listener{}, deploy.ErrNotFound
	}
	if err != nil {
		return deploy.Listener{}, err
	}
	l := out.Listeners[0]
	r := deploy.Listener{ARN: arn, LoadBalancer: aws.ToString(l.LoadBalancerArn), Protocol: string(l.Protocol), Port: int(aws.ToInt32(l.Port))}
	for _, a := range l.DefaultActions {
		if a.Type == types.ActionTypeEnumForward {
			r.Default = aws.ToString(a.TargetGroupArn)
			if a.ForwardConfig != nil && r.Default == "" && len(a.ForwardConfig.TargetGroups) > 0 {
				r.Default = aws.ToString(a.ForwardConfig.TargetGroups[0].TargetGroupArn)
			}
		}
	}
	lbs, err := p.api.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{r.LoadBalancer}})
	if err != nil {
		return r, fmt.Errorf("reading load balancer %s: %w", r.LoadBalancer, err)
	}
	for _, lb := range lbs.LoadBalancers {
		r.DNSName, r.VPC = aws.ToString(lb.DNSName), aws.ToString(lb.VpcId)
	}
	return r, nil
}

func (p *elbPort) SetDefault(ctx context.Context, arn, targetGroup string) error {
	action := types.Action{Type: types.ActionTypeEnumForward, TargetGroupArn: &targetGroup}
	if targetGroup == "" {
		l, err := p.Listener(ctx, arn)
		if err != nil {
			return err
		}
		if l.Protocol != "HTTP" && l.Protocol != "HTTPS" {
			// A TCP listener can do nothing but forward, so it goes with its service.
			_, err := p.api.DeleteListener(ctx, &elb.DeleteListenerInput{ListenerArn: &arn})
			return err
		}
		action = notFound()
	}
	_, err := p.api.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: &arn, DefaultActions: []types.Action{action}})
	return err
}

// notFound is the default action of a listener that belongs to no service.
func notFound() types.Action {
	return types.Action{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{
		StatusCode: aws.String("404"), ContentType: aws.String("text/plain"), MessageBody: aws.String("no service has this address\n")}}
}

func (p *elbPort) DefaultsTo(ctx context.Context, targetGroup string, loadBalancers []string) ([]string, error) {
	var out []string
	err := p.listeners(ctx, loadBalancers, func(l types.Listener) error {
		for _, a := range l.DefaultActions {
			if aws.ToString(a.TargetGroupArn) == targetGroup {
				out = append(out, aws.ToString(l.ListenerArn))
			}
		}
		return nil
	})
	return out, err
}
