package awscloud

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeRepositories.html
func (p imagePort) Repository(ctx context.Context, name string) (clusterinfra.Repository, error) {
	out, err := p.api.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{name}})
	if is(err, "RepositoryNotFoundException") || err == nil && len(out.Repositories) == 0 {
		return clusterinfra.Repository{}, clusterinfra.ErrNotFound
	}
	if err != nil {
		return clusterinfra.Repository{}, err
	}
	d := out.Repositories[0]
	r := clusterinfra.Repository{Name: name, ARN: aws.ToString(d.RepositoryArn), URI: aws.ToString(d.RepositoryUri), Encryption: "AES256", Tags: map[string]string{}}
	r.Immutable = d.ImageTagMutability == types.ImageTagMutabilityImmutable || d.ImageTagMutability == types.ImageTagMutabilityImmutableWithExclusion
	for _, f := range d.ImageTagMutabilityExclusionFilters {
		r.Mutable = append(r.Mutable, aws.ToString(f.Filter))
	}
	if d.ImageScanningConfiguration != nil {
		r.ScanOnPush = d.ImageScanningConfiguration.ScanOnPush
	}
	if d.EncryptionConfiguration != nil {
		r.Encryption, r.KMSKey = string(d.EncryptionConfiguration.EncryptionType), aws.ToString(d.EncryptionConfiguration.KmsKey)
	}
	lifecycle, err := p.api.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: &name})
	switch {
	case is(err, "LifecyclePolicyNotFoundException"):
	case err != nil:
		return r, fmt.Errorf("reading its lifecycle policy: %w", err)
	default:
		r.Lifecycle = aws.ToString(lifecycle.LifecyclePolicyText)
	}
	policy, err := p.api.GetRepositoryPolicy(ctx, &ecr.GetRepositoryPolicyInput{RepositoryName: &name})
	switch {
	case is(err, "RepositoryPolicyNotFoundException"):
	case err != nil:
		return r, fmt.Errorf("reading its policy: %w", err)
	default:
		readRepositoryPolicy(aws.ToString(policy.PolicyText), &r)
	}
	tags, err := p.api.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: d.RepositoryArn})
	if err != nil {
		return r, fmt.Errorf("reading its tags: %w", err)
	}
	for _, t := range tags.Tags {
		r.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	images := ecr.NewDescribeImagesPaginator(p.api, &ecr.DescribeImagesInput{RepositoryName: &name, MaxResults: aws.Int32(1000)})
	for images.HasMorePages() {
		page, err := images.NextPage(ctx)
		if err != nil {
			return r, fmt.Errorf("counting its images: %w", err)
		}
		r.Images += len(page.ImageDetails)
	}
	return r, nil
}

type repositoryStatement struct {
	Sid       string
	Effect    string
	Principal map[string]principals
	Action    []string
}

// principals is one or many, as IAM writes it.
type principals []string

func (p *principals) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*p = principals{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(p))
}

const (
	pullSid = "SlipwayPull"
	pushSid = "SlipwayPush"
)

// https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policy-examples.html
func repositoryPolicy(w clusterinfra.Repository, partition string) string {
	pull := []string{"ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"}
	var statements []repositoryStatement
	var who principals
	for _, a := range w.PullAccounts {
		who = append(who, "arn:"+partition+":iam::"+a+":root")
	}
	if who = append(who, w.PullRoles...); len(who) > 0 {
		statements = append(statements, repositoryStatement{Sid: pullSid, Effect: "Allow", Principal: map[string]principals{"AWS": who}, Action: pull})
	}
	if len(w.PushRoles) > 0 {
		statements = append(statements, repositoryStatement{Sid: pushSid, Effect: "Allow", Principal: map[string]principals{"AWS": w.PushRoles},
			Action: append(pull, "ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage", "ecr:DescribeImages")})
	}
	if len(statements) == 0 {
		return ""
	}
	data, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		panic("repository policy does not marshal: " + err.Error()) // only strings
	}
	return string(data)
}

func readRepositoryPolicy(text string, r *clusterinfra.Repository) {
	var doc struct {
		Statement []struct {
			Sid       string
			Principal map[string]principals
		}
	}
	if json.Unmarshal([]byte(text), &doc) != nil {
		return // written by other hands, in a form that is not ours
	}
	for _, s := range doc.Statement {
		for _, who := range s.Principal["AWS"] {
			account, isRoot := strings.CutSuffix(who, ":root")
			switch {
			case s.Sid == pushSid:
				r.PushRoles = append(r.PushRoles, who)
			case s.Sid == pullSid && isRoot:
				r.PullAccounts = append(r.PullAccounts, account[strings.LastIndexByte(account, ':')+1:])
			case s.Sid == pullSid:
				r.PullRoles = append(r.PullRoles, who)
			}
		}
	}
}

// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
func (p imagePort) PutRepository(ctx context.Context, w clusterinfra.Repository) (clusterinfra.Repository, error) {
	mutability, filters := types.ImageTagMutabilityMutable, []types.ImageTagMutabilityExclusionFilter(nil)
	if w.Immutable {
		mutability = types.ImageTagMutabilityImmutable
		for _, f := range w.Mutable {
			mutability = types.ImageTagMutabilityImmutableWithExclusion
			filters = append(filters, types.ImageTagMutabilityExclusionFilter{Filter: aws.String(f), FilterType: types.ImageTagMutabilityExclusionFilterTypeWildcard})
		}
	}
	scanning := &types.ImageScanningConfiguration{ScanOnPush: w.ScanOnPush}
	have, err := p.Repository(ctx, w.Name)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		in := &ecr.CreateRepositoryInput{RepositoryName: &w.Name, ImageTagMutability: mutability, ImageTagMutabilityExclusionFilters: filters, ImageScanningConfiguration: scanning, Tags: ecrTags(w.Tags)}
		if w.Encryption != "" {
			in.EncryptionConfiguration = &types.EncryptionConfiguration{EncryptionType: types.EncryptionType(w.Encryption), KmsKey: text(w.KMSKey)}
		}
		out, err := p.api.CreateRepository(ctx, in)
		if err != nil {
			return w, err
		}
		have = clusterinfra.Repository{ARN: aws.ToString(out.Repository.RepositoryArn), Tags: w.Tags}
	case err != nil:
		return w, err
	default:
		if have.Immutable != w.Immutable || !same(sorted(have.Mutable), sorted(w.Mutable)) {
			if _, err := p.api.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RepositoryName: &w.Name, ImageTagMutability: mutability, ImageTagMutabilityExclusionFilters: filters}); err != nil {
				return w, err
			}
		}
		if have.ScanOnPush != w.ScanOnPush {
			if _, err := p.api.PutImageScanningConfiguration(ctx, &ecr.PutImageScanningConfigurationInput{RepositoryName: &w.Name, ImageScanningConfiguration: scanning}); err != nil {
				return w, err
			}
		}
		if err := p.retag(ctx, have, w.Tags); err != nil {
			return w, err
		}
	}
	if err := p.putPolicies(ctx, w, have); err != nil {
		return w, err
	}
	return p.Repository(ctx, w.Name)
}

func (p imagePort) retag(ctx context.Context, have clusterinfra.Repository, want map[string]string) error {
	if add := missing(have.Tags, want); len(add) > 0 {
		if _, err := p.api.TagResource(ctx, &ecr.TagResourceInput{ResourceArn: &have.ARN, Tags: ecrTags(add)}); err != nil {
			return err
		}
	}
	var gone []string
	for k := range have.Tags {
		if _, ok := want[k]; !ok && !strings.HasPrefix(k, "aws:") {
			gone = append(gone, k)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	_, err := p.api.UntagResource(ctx, &ecr.UntagResourceInput{ResourceArn: &have.ARN, TagKeys: gone})
	return err
}

func (p imagePort) putPolicies(ctx context.Context, w, have clusterinfra.Repository) error {
	switch {
	case w.Lifecycle == have.Lifecycle:
	case w.Lifecycle == "":
		if _, err := p.api.DeleteLifecyclePolicy(ctx, &ecr.DeleteLifecyclePolicyInput{RepositoryName: &w.Name}); err != nil && !is(err, "LifecyclePolicyNotFoundException") {
			return fmt.Errorf("deleting its lifecycle policy: %w", err)
		}
	default:
		if _, err := p.api.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: &w.Name, LifecyclePolicyText: &w.Lifecycle}); err != nil {
			return fmt.Errorf("putting its lifecycle policy: %w", err)
		}
	}
	partition := "aws"
	if parts := strings.SplitN(have.ARN, ":", 3); len(parts) == 3 {
		partition = parts[1]
	}
	policy := repositoryPolicy(w, partition)
	had := len(have.PullAccounts)+len(have.PullRoles)+len(have.PushRoles) > 0
	switch {
	case policy == "" && had:
		if _, err := p.api.DeleteRepositoryPolicy(ctx, &ecr.DeleteRepositoryPolicyInput{RepositoryName: &w.Name}); err != nil && !is(err, "RepositoryPolicyNotFoundException") {
			return fmt.Errorf("deleting its policy: %w", err)
		}
	case policy != "" && !samePrincipals(w, have):
		if _, err := p.api.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: &w.Name, PolicyText: &policy}); err != nil {
			return fmt.Errorf("setting its policy: %w", err)
		}
	}
	return nil
}

func samePrincipals(a, b clusterinfra.Repository) bool {
	return same(sorted(a.PullAccounts), sorted(b.PullAccounts)) && same(sorted(a.PullRoles), sorted(b.PullRoles)) && same(sorted(a.PushRoles), sorted(b.PushRoles))
}

func ecrTags(tags map[string]string) (out []types.Tag) {
	for _, k := range sortedKeys(tags) {
		out = append(out, types.Tag{Key: aws.String(k), Value: aws.String(tags[k])})
	}
	return out
}

// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DeleteRepository.html
func (p imagePort) DeleteRepository(ctx context.Context, name string, force bool) error {
	_, err := p.api.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: &name, Force: force})
	switch {
	case is(err, "RepositoryNotEmptyException"):
		return fmt.Errorf("%w: %w", clusterinfra.ErrNotEmpty, err)
	case is(err, "RepositoryNotFoundException"):
		return clusterinfra.ErrNotFound
	}
	return err
}

// Digest is what a tag of a repository points at; clusterinfra.ErrNotFound if there is none.
func (c *Cloud) Digest(ctx context.Context, repository, tag string) (string, error) {
	out, err := ecr.NewFromConfig(c.cfg).DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &repository, ImageIds: []types.ImageIdentifier{{ImageTag: &tag}}})
	switch {
	case is(err, "ImageNotFoundException", "RepositoryNotFoundException"):
		return "", fmt.Errorf("image %s:%s: %w", repository, tag, clusterinfra.ErrNotFound)
	case err != nil:
		return "", fmt.Errorf("reading image %s:%s: %w", repository, tag, err)
	case len(out.ImageDetails) == 0:
		return "", fmt.Errorf("image %s:%s: %w", repository, tag, clusterinfra.ErrNotFound)
	}
	return aws.ToString(out.ImageDetails[0].ImageDigest), nil
}
