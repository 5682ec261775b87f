package awscloud

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
)

// RegistryCredentials is the user and password of an ECR registry, or of the local AWS's; both are
// empty for any other registry, whose credentials are Docker's business.
func (c *Cloud) RegistryCredentials(ctx context.Context, registry string) (user, password string, err error) {
	if !strings.Contains(registry, ".dkr.ecr.") && !strings.Contains(aws.ToString(c.cfg.BaseEndpoint), registry) {
		return "", "", nil
	}
	out, err := ecr.NewFromConfig(c.cfg).GetAuthorizationToken(ctx, nil)
	if err != nil {
		return "", "", fmt.Errorf("getting a password for %s: %w", registry, err)
	}
	for _, a := range out.AuthorizationData {
		text, err := base64.StdEncoding.DecodeString(aws.ToString(a.AuthorizationToken))
		if user, password, ok := strings.Cut(string(text), ":"); err == nil && ok {
			return user, password, nil
		}
	}
	return "", "", fmt.Errorf("getting a password for %s: ECR's answer holds none", registry)
}
