package awscloud

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
)

// SecretValue reads a secret by its reference: ssm:NAME or secretsmanager:NAME.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
// https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html
func (c *Cloud) SecretValue(ctx context.Context, reference string) (string, error) {
	kind, name, _ := strings.Cut(reference, ":")
	switch kind {
	case "ssm":
		out, err := ssm.NewFromConfig(c.cfg).GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: aws.Bool(true)})
		if err != nil {
			return "", fmt.Errorf("reading parameter %s: %w", name, err)
		}
		return aws.ToString(out.Parameter.Value), nil
	case "secretsmanager":
		out, err := secretsmanager.NewFromConfig(c.cfg).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
		if err != nil {
			return "", fmt.Errorf("reading secret %s: %w", name, err)
		}
		return aws.ToString(out.SecretString), nil
	}
	return "", fmt.Errorf("not supported: a secret in %q; ssm and secretsmanager are", kind)
}
