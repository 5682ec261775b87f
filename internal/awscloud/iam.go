package awscloud

import (
	"context"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// inlinePolicy is the name of the one policy written into a role.
const inlinePolicy = "slipway"

// https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetRole.html
func (p *rolePort) Role(ctx context.Context, name string) (deploy.Role, error) {
	out, err := p.api.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if is(err, "NoSuchEntity") {
		return deploy.Role{}, deploy.ErrNotFound
	}
	if err != nil {
		return deploy.Role{}, err
	}
	r := deploy.Role{Name: name, ARN: aws.ToString(out.Role.Arn), Trust: document(out.Role.AssumeRolePolicyDocument), Tags: map[string]string{}}
	for _, t := range out.Role.Tags {
		r.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	policy, err := p.api.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: &name, PolicyName: aws.String(inlinePolicy)})
	switch {
	case is(err, "NoSuchEntity"):
		return r, nil
	case err != nil:
		return r, fmt.Errorf("reading its policy: %w", err)
	}
	r.Policy = document(policy.PolicyDocument)
	return r, nil
}

// document undoes the URL encoding IAM returns policies in.
func document(text *string) string {
	s, err := url.QueryUnescape(aws.ToString(text))
	if err != nil {
		return aws.ToString(text)
	}
	return s
}

func (p *rolePort) PutRole(ctx context.Context, w deploy.Role) (deploy.Role, error) {
	out, err := p.api.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &w.Name, AssumeRolePolicyDocument: &w.Trust, Tags: iamTags(w.Tags)})
	switch {
	case is(err, "EntityAlreadyExists"):
		if _, err := p.api.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &w.Name, PolicyDocument: &w.Trust}); err != nil {
			return w, err
		}
		if _, err := p.api.TagRole(ctx, &iam.TagRoleInput{RoleName: &w.Name, Tags: iamTags(w.Tags)}); err != nil {
			return w, err
		}
	case err != nil:
		return w, err
	default:
		w.ARN = aws.ToString(out.Role.Arn)
	}
	if w.Policy == "" {
		_, err := p.api.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &w.Name, PolicyName: aws.String(inlinePolicy)})
		if err != nil && !is(err, "NoSuchEntity") {
			return w, err
		}
		return w, nil
	}
	_, err = p.api.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &w.Name, PolicyName: aws.String(inlinePolicy), PolicyDocument: &w.Policy})
	return w, err
}

func iamTags(tags map[string]string) []types.Tag {
	var out []types.Tag
	for _, k := range sortedKeys(tags) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

// DeleteRole takes its policies off first: a role with any cannot be deleted.
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteRole.html
func (p *rolePort) DeleteRole(ctx context.Context, name string) error {
	return deleteRole(ctx, p.api, name)
}

func deleteRole(ctx context.Context, api *iam.Client, name string) error {
	inline, err := api.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: &name})
	if is(err, "NoSuchEntity") {
		return nil
	}
	if err != nil {
		return err
	}
	for _, n := range inline.PolicyNames {
		if _, err := api.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: aws.String(n)}); err != nil && !is(err, "NoSuchEntity") {
			return err
		}
	}
	managed, err := api.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &name})
	if err != nil {
		return err
	}
	for _, m := range managed.AttachedPolicies {
		if _, err := api.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &name, PolicyArn: m.PolicyArn}); err != nil && !is(err, "NoSuchEntity") {
			return err
		}
	}
	if _, err := api.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name}); err != nil && !is(err, "NoSuchEntity") {
		return err
	}
	return nil
}
