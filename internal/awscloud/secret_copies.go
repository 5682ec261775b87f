package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/secrets"
)

// copyPort finds and deletes the copies that KeepSecret made.
type copyPort struct{ api *secretsmanager.Client }

// SecretCopies takes only what has both the name and the tag of a copy: a secret that somebody made
// under such a name is theirs.
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html
func (p copyPort) SecretCopies(ctx context.Context, ref deploy.Ref) ([]string, error) {
	prefix := secrets.CopyPrefix(lastPart(ref.Cluster), ref.Service)
	pages := secretsmanager.NewListSecretsPaginator(p.api, &secretsmanager.ListSecretsInput{Filters: []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{prefix}}}})
	var out []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if is(err, "AccessDeniedException") {
			return nil, fmt.Errorf("%w: %w", deploy.ErrUnavailable, err)
		}
		if err != nil {
			return nil, err
		}
		for _, s := range page.SecretList {
			ours := slices.ContainsFunc(s.Tags, func(t types.Tag) bool { return aws.ToString(t.Key) == secrets.TagSource })
			if name := aws.ToString(s.Name); ours && strings.HasPrefix(name, prefix) && s.DeletedDate == nil {
				out = append(out, name)
			}
		}
	}
	return out, nil
}

func (p copyPort) DeleteSecretCopy(ctx context.Context, name string) error {
	_, err := p.api.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &name, RecoveryWindowInDays: aws.Int64(deploy.SecretRecoveryDays)})
	if is(err, "ResourceNotFoundException") {
		return nil
	}
	return err
}
