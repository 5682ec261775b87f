package iam

import (
	"context"
	"errors"
	"strings"

	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/iamapi"
)

func (s *Service) registerSimulator(svc *wire.Service) {
	wire.Handle(svc, "SimulateCustomPolicy", s.simulateCustom)
	wire.Handle(svc, "SimulatePrincipalPolicy", s.simulatePrincipal)
	wire.Handle(svc, "GetContextKeysForCustomPolicy", s.customKeys)
	wire.Handle(svc, "GetContextKeysForPrincipalPolicy", s.principalKeys)
}

func (s *Service) simulateCustom(_ context.Context, in *iamapi.SimulateCustomPolicyInput) (*iamapi.SimulateCustomPolicyOutput, error) {
	c := Caller{Principal: evaluate.Principal{ARN: wire.Value(in.CallerArn), Account: accountOf(wire.Value(in.CallerArn))}}
	results, err := simulate(c, &iamapi.SimulatePrincipalPolicyInput{ActionNames: in.ActionNames, CallerArn: in.CallerArn, ContextEntries: in.ContextEntries, PolicyInputList: in.PolicyInputList,
		PermissionsBoundaryPolicyInputList: in.PermissionsBoundaryPolicyInputList, ResourceArns: in.ResourceArns, ResourcePolicy: in.ResourcePolicy, ResourceOwner: in.ResourceOwner})
	return &iamapi.SimulateCustomPolicyOutput{EvaluationResults: results, IsTruncated: wire.Ptr(false)}, err
}

func (s *Service) simulatePrincipal(_ context.Context, in *iamapi.SimulatePrincipalPolicyInput) (*iamapi.SimulatePrincipalPolicyOutput, error) {
	var c Caller
	err := s.db.View(func(tx *state.Tx) (err error) { c, err = s.byARN(tx, wire.Value(in.PolicySourceArn)); return err })
	if err != nil {
		return nil, err
	}
	results, err := simulate(c, in)
	return &iamapi.SimulatePrincipalPolicyOutput{EvaluationResults: results, IsTruncated: wire.Ptr(false)}, err
}

// simulate decides every action on every resource.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_EvaluationResult.html
func simulate(c Caller, in *iamapi.SimulatePrincipalPolicyInput) ([]iamapi.EvaluationResult, error) {
	docs := make([]string, len(c.Policies.Identity))
	for i, doc := range in.PolicyInputList {
		p, err := evaluate.Parse(doc, evaluate.Identity)
		if err != nil {
			return nil, invalidInput(err)
		}
		c.Policies.Identity, docs = append(c.Policies.Identity, p), append(docs, doc)
		c.Names = append(c.Names, "PolicyInputList."+string(rune('1'+min(i, 8))))
	}
	for _, doc := range in.PermissionsBoundaryPolicyInputList {
		p, err := evaluate.Parse(doc, evaluate.Identity)
		if err != nil {
			return nil, invalidInput(err)
		}
		c.Policies.Boundary = p
	}
	if doc := wire.Value(in.ResourcePolicy); doc != "" {
		p, err := evaluate.Parse(doc, evaluate.Attached)
		if err != nil {
			return nil, invalidInput(err)
		}
		c.Policies.Resource = p
	}
	c.Policies.Owner = accountOf(wire.Value(in.ResourceOwner))
	asked := map[string][]string{}
	for key, v := range c.Context {
		asked[key] = v
	}
	for _, e := range in.ContextEntries {
		asked[strings.ToLower(wire.Value(e.ContextKeyName))] = e.ContextKeyValues
	}
	resources := in.ResourceArns
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	out := []iamapi.EvaluationResult{}
	for _, action := range in.ActionNames {
		if !strings.Contains(action, ":") {
			return nil, wire.Errorf("InvalidInput", "Invalid action: %s", action)
		}
		for _, resource := range resources {
			d := evaluate.Decide(c.Policies, evaluate.Request{Principal: c.Principal, Action: action, Resource: resource, Context: asked})
			out = append(out, result(c, d, docs, action, resource))
		}
	}
	return out, nil
}

func invalidInput(err error) error {
	var m *evaluate.Malformed
	if errors.As(err, &m) {
		return wire.Errorf("InvalidInput", "%s", m.Message)
	}
	return err
}

func result(c Caller, d evaluate.Decision, docs []string, action, resource string) iamapi.EvaluationResult {
	verdict := "implicitDeny"
	switch {
	case d.Allowed():
		verdict = "allowed"
	case d.Denied():
		verdict = "explicitDeny"
	}
	r := iamapi.EvaluationResult{EvalActionName: &action, EvalResourceName: &resource, EvalDecision: &verdict, MatchedStatements: []iamapi.Statement{}, MissingContextValues: append([]string{}, d.Missing...)}
	if c.Policies.Boundary != nil {
		r.PermissionsBoundaryDecisionDetail = &iamapi.PermissionsBoundaryDecisionDetail{AllowedByPermissionsBoundary: wire.Ptr(d.Cause != evaluate.NoBoundary && d.Cause != evaluate.DeniedBoundary)}
	}
	for _, m := range d.Matched {
		if m.Policy < 0 || m.Policy >= len(c.Names) {
			continue
		}
		st := iamapi.Statement{SourcePolicyId: wire.Ptr(c.Names[m.Policy]), SourcePolicyType: wire.Ptr("IAM Policy")}
		if doc := docs[m.Policy]; doc != "" {
			at := c.Policies.Identity[m.Policy].Statements[m.Statement]
			st.StartPosition, st.EndPosition = position(doc, at.Start), position(doc, at.End)
		}
		r.MatchedStatements = append(r.MatchedStatements, st)
	}
	return r
}

func position(doc string, offset int) *iamapi.Position {
	line, column := evaluate.Position(doc, offset)
	return &iamapi.Position{Line: wire.Ptr(int32(line)), Column: wire.Ptr(int32(column))}
}

func (s *Service) customKeys(_ context.Context, in *iamapi.GetContextKeysForCustomPolicyInput) (*iamapi.GetContextKeysForCustomPolicyOutput, error) {
	policies, err := readAll(in.PolicyInputList)
	return &iamapi.GetContextKeysForCustomPolicyOutput{ContextKeyNames: append([]string{}, evaluate.Keys(policies...)...)}, err
}

func (s *Service) principalKeys(_ context.Context, in *iamapi.GetContextKeysForPrincipalPolicyInput) (*iamapi.GetContextKeysForPrincipalPolicyOutput, error) {
	policies, err := readAll(in.PolicyInputList)
	if err == nil {
		err = s.db.View(func(tx *state.Tx) error {
			c, err := s.byARN(tx, wire.Value(in.PolicySourceArn))
			policies = append(policies, c.Policies.Identity...)
			return err
		})
	}
	return &iamapi.GetContextKeysForPrincipalPolicyOutput{ContextKeyNames: append([]string{}, evaluate.Keys(policies...)...)}, err
}

func readAll(docs []string) (policies []*evaluate.Policy, err error) {
	for _, doc := range docs {
		p, err := evaluate.Parse(doc, evaluate.Identity)
		if err != nil {
			return nil, invalidInput(err)
		}
		policies = append(policies, p)
	}
	return policies, nil
}
