package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/slipway-ecs/slipway/internal/secrets"
)

// SecretVersion is the version a parameter or secret has now, without reading its value. from is
// ssm:NAME, secretsmanager:NAME or an ARN of either, as in slipway.yaml. What is not there, may not
// be looked at, or names a version itself has none.
func (c *Cloud) SecretVersion(ctx context.Context, from string) (string, error) {
	store, name := "", from
	switch {
	case strings.HasPrefix(from, "ssm:"), strings.HasPrefix(from, "secretsmanager:"):
		store, name, _ = strings.Cut(from, ":")
	case strings.HasPrefix(from, "arn:"):
		parts := strings.Split(from, ":")
		if len(parts) < 6 {
			return "", nil
		}
		store = parts[2]
		if store == "ssm" {
			name = strings.TrimPrefix(parts[5], "parameter")
		}
	}
	switch store {
	case "ssm":
		return c.parameterVersion(ctx, name)
	case "secretsmanager":
		return c.currentVersion(ctx, name)
	}
	return "", nil
}

// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DescribeParameters.html
func (c *Cloud) parameterVersion(ctx context.Context, name string) (string, error) {
	names := []string{name}
	if strings.HasPrefix(name, "/") && strings.Count(name, "/") == 1 { // of an ARN: a parameter without a path has no slash
		names = append(names, name[1:])
	}
	out, err := ssm.NewFromConfig(c.cfg).DescribeParameters(ctx, &ssm.DescribeParametersInput{
		ParameterFilters: []ssmtypes.ParameterStringFilter{{Key: aws.String("Name"), Option: aws.String("Equals"), Values: names}}})
	if is(err, "AccessDeniedException") {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the version of parameter %s: %w", name, err)
	}
	for _, p := range out.Parameters {
		return strconv.FormatInt(p.Version, 10), nil
	}
	return "", nil
}

// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DescribeSecret.html
func (c *Cloud) currentVersion(ctx context.Context, name string) (string, error) {
	id, rest := name, ""
	if strings.HasPrefix(name, "arn:") {
		if parts := strings.Split(name, ":"); len(parts) > 7 {
			id, rest = strings.Join(parts[:7], ":"), strings.Join(parts[7:], ":")
		}
	} else {
		id, rest, _ = strings.Cut(name, ":")
	}
	stage := "AWSCURRENT"
	if parts := strings.Split(rest, ":"); len(parts) == 3 { // JSON key, stage, version
		if parts[2] != "" {
			return "", nil
		}
		if parts[1] != "" {
			stage = parts[1]
		}
	}
	out, err := secretsmanager.NewFromConfig(c.cfg).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id})
	if is(err, "AccessDeniedException", "ResourceNotFoundException") {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the version of secret %s: %w", id, err)
	}
	for version, stages := range out.VersionIdsToStages {
		if slices.Contains(stages, stage) {
			return version, nil
		}
	}
	return "", nil
}

// KeepSecret makes the secret have the version. Each version keeps a stage of its own, so that those
// which running tasks and earlier releases name are not cleared away; AWS takes twenty stages a
// secret, of which the oldest give way.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
func (c *Cloud) KeepSecret(ctx context.Context, s secrets.Copy) error {
	api := secretsmanager.NewFromConfig(c.cfg)
	was, err := api.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &s.Name})
	if is(err, "ResourceNotFoundException") {
		in := &secretsmanager.CreateSecretInput{Name: &s.Name, SecretString: &s.Value, ClientRequestToken: &s.Version}
		for _, k := range sortedKeys(s.Tags) {
			in.Tags = append(in.Tags, types.Tag{Key: aws.String(k), Value: aws.String(s.Tags[k])})
		}
		if _, err := api.CreateSecret(ctx, in); err != nil {
			return fmt.Errorf("making secret %s: %w", s.Name, err)
		}
		return c.hold(ctx, api, s, nil)
	}
	if err != nil {
		return fmt.Errorf("reading secret %s: %w", s.Name, err)
	}
	if was.DeletedDate != nil {
		if _, err := api.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: &s.Name}); err != nil {
			return fmt.Errorf("restoring secret %s: %w", s.Name, err)
		}
	}
	if _, there := was.VersionIdsToStages[s.Version]; !there {
		if _, err := api.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &s.Name, SecretString: &s.Value, ClientRequestToken: &s.Version}); err != nil {
			return fmt.Errorf("writing secret %s: %w", s.Name, err)
		}
	}
	return c.hold(ctx, api, s, was.VersionIdsToStages)
}

// heldVersions leaves room below AWS's twenty for the stages of its own.
const heldVersions = 15

func (c *Cloud) hold(ctx context.Context, api *secretsmanager.Client, s secrets.Copy, stages map[string][]string) error {
	mine := "slipway-" + s.Version
	var held []string
	for version, names := range stages {
		for _, n := range names {
			if n == mine {
				return nil
			}
			if strings.HasPrefix(n, "slipway-") {
				held = append(held, version)
			}
		}
	}
	if len(held) >= heldVersions { // which is oldest, only the list of versions tells
		list, err := api.ListSecretVersionIds(ctx, &secretsmanager.ListSecretVersionIdsInput{SecretId: &s.Name, MaxResults: aws.Int32(100)})
		if err != nil {
			return fmt.Errorf("listing the versions of secret %s: %w", s.Name, err)
		}
		slices.SortFunc(list.Versions, func(a, b types.SecretVersionsListEntry) int {
			return aws.ToTime(a.CreatedDate).Compare(aws.ToTime(b.CreatedDate))
		})
		for _, v := range list.Versions {
			if id := aws.ToString(v.VersionId); slices.Contains(held, id) {
				stage := "slipway-" + id
				if _, err := api.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: &s.Name, VersionStage: &stage, RemoveFromVersionId: &id}); err != nil {
					return fmt.Errorf("letting go of an old version of secret %s: %w", s.Name, err)
				}
				break
			}
		}
	}
	if _, err := api.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: &s.Name, VersionStage: &mine, MoveToVersionId: &s.Version}); err != nil {
		return fmt.Errorf("holding a version of secret %s: %w", s.Name, err)
	}
	return nil
}
