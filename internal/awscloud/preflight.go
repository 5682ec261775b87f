package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// Surroundings are what deploy.Engine's Preflight looks at; platforms asks the registry.
func (c *Cloud) Surroundings(platforms func(ctx context.Context, image string) ([]string, error)) deploy.Surroundings {
	return surroundings{c, platforms}
}

type surroundings struct {
	*Cloud
	platforms func(ctx context.Context, image string) ([]string, error)
}

func (s surroundings) Platforms(ctx context.Context, image string) ([]string, error) {
	return s.platforms(ctx, image)
}

// SecretExists asks for descriptions alone: the value is neither read nor needed.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeParameters.html
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html
func (s surroundings) SecretExists(ctx context.Context, from string) error {
	if strings.Contains(from, ":secretsmanager:") {
		id := from
		if p := strings.SplitN(from, ":", 8); len(p) > 7 { // after the secret: key, stage and version
			id = strings.Join(p[:7], ":")
		}
		out, err := secretsmanager.NewFromConfig(s.cfg).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
		if is(err, "ResourceNotFoundException") || err == nil && out.DeletedDate != nil {
			return deploy.ErrNotFound
		}
		return err
	}
	name := from
	if i := strings.Index(from, ":parameter/"); i >= 0 {
		name = from[i+len(":parameter"):]
	}
	for _, n := range []string{name, strings.TrimPrefix(name, "/")} {
		out, err := ssm.NewFromConfig(s.cfg).DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []ssmtypes.ParameterStringFilter{
			{Key: aws.String("Name"), Option: aws.String("Equals"), Values: []string{n}}}})
		if err != nil || len(out.Parameters) > 0 {
			return err
		}
	}
	return deploy.ErrNotFound
}

// Networks filters instead of naming the ids: one that does not exist is then no error.
func (s surroundings) Networks(ctx context.Context, ids []string) (map[string]string, error) {
	api, out := ec2.NewFromConfig(s.cfg), map[string]string{}
	isSubnet := func(id string) bool { return strings.HasPrefix(id, "subnet-") }
	if subnets := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !isSubnet(id) }); len(subnets) > 0 {
		got, err := api.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{Filters: []types.Filter{filter("subnet-id", subnets...)}})
		if err != nil {
			return nil, fmt.Errorf("reading subnets: %w", err)
		}
		for _, x := range got.Subnets {
			out[aws.ToString(x.SubnetId)] = aws.ToString(x.VpcId)
		}
	}
	if groups := slices.DeleteFunc(slices.Clone(ids), isSubnet); len(groups) > 0 {
		got, err := api.DescribeSecurityGroups(ctx, &ec2.DescribeSecurityGroupsInput{Filters: []types.Filter{filter("group-id", groups...)}})
		if err != nil {
			return nil, fmt.Errorf("reading security groups: %w", err)
		}
		for _, x := range got.SecurityGroups {
			out[aws.ToString(x.GroupId)] = aws.ToString(x.VpcId)
		}
	}
	return out, nil
}

// https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
func (s surroundings) Denied(ctx context.Context, role string, actions []string, resource string) ([]string, error) {
	out, err := iam.NewFromConfig(s.cfg).SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{PolicySourceArn: &role, ActionNames: actions, ResourceArns: []string{resource}})
	switch {
	case is(err, "AccessDenied"):
		return nil, fmt.Errorf("%w to simulate policies", deploy.ErrForbidden)
	case is(err, "NotImplemented", "InvalidAction", "UnknownOperationException", "UnsupportedOperation"):
		return nil, fmt.Errorf("policy simulation is %w", deploy.ErrUnavailable)
	case err != nil:
		return nil, err
	}
	var denied []string
	for _, r := range out.EvaluationResults {
		if r.EvalDecision != iamtypes.PolicyEvaluationDecisionTypeAllowed {
			denied = append(denied, aws.ToString(r.EvalActionName))
		}
	}
	return denied, nil
}

func (s surroundings) Instances(ctx context.Context, cluster string) ([]*placement.Instance, error) {
	f, err := s.controller().fleet(ctx, cluster)
	if err != nil {
		return nil, err
	}
	var out []*placement.Instance
	for _, i := range f.instances {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b *placement.Instance) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}
