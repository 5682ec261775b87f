package localtest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	smtypes "github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func TestParameters(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir))
	c, ctx := ssm.NewFromConfig(a.Config), t.Context()
	put := func(name, value string, kind types.ParameterType, overwrite bool) error {
		_, err := c.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &value, Type: kind, Overwrite: &overwrite})
		return err
	}
	for _, k := range []string{"/app/a", "/app/b", "/app/deep/c", "/application", "plain"} {
		if err := put(k, "v-"+k, "String", false); err != nil {
			t.Fatal(err)
		}
	}
	refused(t, put("/app/a", "x", "String", false), "ParameterAlreadyExists")
	refused(t, put("/aws/x", "x", "String", false), "AccessDeniedException")
	refused(t, put("no/slash", "x", "String", false), "ValidationException")
	refused(t, put("new", "x", "", false), "ValidationException")
	if err := put("/app/a", "second", "", true); err != nil {
		t.Fatal(err)
	}
	if err := put("secret", "hush", "SecureString", false); err != nil {
		t.Fatal(err)
	}
	get := func(name string, decrypt bool) (*types.Parameter, error) {
		out, err := c.GetParameter(ctx, &ssm.GetParameterInput{Name: &name, WithDecryption: &decrypt})
		if err != nil {
			return nil, err
		}
		return out.Parameter, nil
	}
	for name, want := range map[string]string{"/app/a": "second", "/app/a:1": "v-/app/a", "plain": "v-plain", "arn:aws:ssm:us-east-1:000000000000:parameter/app/b": "v-/app/b",
		"arn:aws:ssm:us-east-1:000000000000:parameter/plain": "v-plain"} {
		p, err := get(name, true)
		if err != nil || str(p.Value) != want {
			t.Errorf("get %s: %v %v", name, p, err)
		}
	}
	if p, _ := get("secret", false); str(p.Value) == "hush" {
		t.Error("a SecureString came back in plain text")
	}
	if p, _ := get("secret", true); str(p.Value) != "hush" {
		t.Error("a SecureString was not decrypted")
	}
	_, err := get("none", false)
	refused(t, err, "ParameterNotFound")
	_, err = get("/app/a:9", false)
	refused(t, err, "ParameterVersionNotFound")
	p, err := get("/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id", false)
	if err != nil || str(p.Value) == "" {
		t.Errorf("the public parameter: %v %v", p, err)
	}
	label := func(l string, version int64) *ssm.LabelParameterVersionOutput {
		out, err := c.LabelParameterVersion(ctx, &ssm.LabelParameterVersionInput{Name: aws.String("/app/a"), Labels: []string{l}, ParameterVersion: &version})
		return ok[ssm.LabelParameterVersionOutput](t)(out, err)
	}
	label("prod", 1)
	label("beta", 1)
	if p, err := get("/app/a:prod", false); err != nil || p.Version != 1 {
		t.Errorf("by label: %v %v", p, err)
	}
	label("prod", 2) // a label moves
	if p, err := get("/app/a:prod", false); err != nil || p.Version != 2 {
		t.Errorf("by moved label: %v %v", p, err)
	}
	if p, err := get("/app/a:beta", false); err != nil || p.Version != 1 {
		t.Errorf("the label that stayed: %v %v", p, err)
	}
	// By path: one level or all, a page at a time.
	names := func(recursive bool) (out []string) {
		pages := ssm.NewGetParametersByPathPaginator(c, &ssm.GetParametersByPathInput{Path: aws.String("/app"), Recursive: &recursive, MaxResults: aws.Int32(1)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.Parameters {
				out = append(out, *p.Name)
			}
		}
		return out
	}
	same(t, "one level", fmt.Sprint(names(false)), "[/app/a /app/b]")
	same(t, "all levels", fmt.Sprint(names(true)), "[/app/a /app/b /app/deep/c]")
	many := ok[ssm.GetParametersOutput](t)(c.GetParameters(ctx, &ssm.GetParametersInput{Names: []string{"plain", "gone"}}))
	same(t, "found and not", fmt.Sprint(len(many.Parameters), many.InvalidParameters), "1 [gone]")
	described := ok[ssm.DescribeParametersOutput](t)(c.DescribeParameters(ctx, &ssm.DescribeParametersInput{ParameterFilters: []types.ParameterStringFilter{{Key: aws.String("Name"), Option: aws.String("BeginsWith"), Values: []string{"/app/"}}}}))
	same(t, "described", len(described.Parameters), 3)
	tag := &ssm.AddTagsToResourceInput{ResourceType: "Parameter", ResourceId: aws.String("plain"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}
	ok[ssm.AddTagsToResourceOutput](t)(c.AddTagsToResource(ctx, tag))
	ok[ssm.DeleteParametersOutput](t)(c.DeleteParameters(ctx, &ssm.DeleteParametersInput{Names: []string{"/application"}}))
	_, err = c.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: aws.String("/application")})
	refused(t, err, "ParameterNotFound")

	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir))
	c = ssm.NewFromConfig(a.Config)
	if p, err := get("/app/a:prod", false); err != nil || str(p.Value) != "second" {
		t.Errorf("after a restart: %v %v", p, err)
	}
	tags := ok[ssm.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &ssm.ListTagsForResourceInput{ResourceType: "Parameter", ResourceId: aws.String("plain")}))
	same(t, "tags", len(tags.TagList), 1)
	history := ok[ssm.GetParameterHistoryOutput](t)(c.GetParameterHistory(ctx, &ssm.GetParameterHistoryInput{Name: aws.String("/app/a")}))
	same(t, "history", len(history.Parameters), 2)
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir))
	c, ctx := secretsmanager.NewFromConfig(a.Config), t.Context()
	made := ok[secretsmanager.CreateSecretOutput](t)(c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db/main"), SecretString: aws.String(`{"user":"u"}`), Tags: []smtypes.Tag{{Key: aws.String("team"), Value: aws.String("a")}}}))
	_, err := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db/main"), SecretString: aws.String("x")})
	refused(t, err, "ResourceExistsException")
	get := func(ctx context.Context, id, stage string) (string, error) {
		in := &secretsmanager.GetSecretValueInput{SecretId: &id}
		if stage != "" {
			in.VersionStage = &stage
		}
		out, err := c.GetSecretValue(ctx, in)
		if err != nil {
			return "", err
		}
		return str(out.SecretString), nil
	}
	partial := (*made.ARN)[:len(*made.ARN)-7]
	for _, id := range []string{"db/main", *made.ARN, partial} {
		if v, err := get(ctx, id, ""); err != nil || v != `{"user":"u"}` {
			t.Errorf("by %s: %q %v", id, v, err)
		}
	}
	second := ok[secretsmanager.PutSecretValueOutput](t)(c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: made.ARN, SecretString: aws.String("two"), ClientRequestToken: aws.String("11111111-2222-3333-4444-555555555555")}))
	again := ok[secretsmanager.PutSecretValueOutput](t)(c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: made.ARN, SecretString: aws.String("two"), ClientRequestToken: aws.String("11111111-2222-3333-4444-555555555555")}))
	same(t, "the same request again", str(again.VersionId), str(second.VersionId))
	_, err = c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: made.ARN, SecretString: aws.String("other"), ClientRequestToken: aws.String("11111111-2222-3333-4444-555555555555")})
	refused(t, err, "ResourceExistsException")
	now, _ := get(ctx, "db/main", "")
	before, _ := get(ctx, "db/main", "AWSPREVIOUS")
	same(t, "current and previous", now+" "+before, `two {"user":"u"}`)
	_, err = get(ctx, "db/main", "NONE")
	refused(t, err, "ResourceNotFoundException")
	_, err = get(ctx, "nothing", "")
	refused(t, err, "ResourceNotFoundException")
	// Going back: the current label moves to the old version.
	ok[secretsmanager.UpdateSecretVersionStageOutput](t)(c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: made.ARN, VersionStage: aws.String("AWSCURRENT"), RemoveFromVersionId: second.VersionId, MoveToVersionId: made.VersionId}))
	now, _ = get(ctx, "db/main", "")
	before, _ = get(ctx, "db/main", "AWSPREVIOUS")
	same(t, "after going back", now+" "+before, `{"user":"u"} two`)
	for i := range 3 {
		ok[secretsmanager.CreateSecretOutput](t)(c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String(fmt.Sprint("s", i)), SecretBinary: []byte{byte(i)}}))
	}
	n := 0
	pages := secretsmanager.NewListSecretsPaginator(c, &secretsmanager.ListSecretsInput{MaxResults: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n += len(page.SecretList)
	}
	same(t, "listed", n, 4)
	filtered := ok[secretsmanager.ListSecretsOutput](t)(c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{Filters: []smtypes.Filter{{Key: "tag-key", Values: []string{"team"}}}}))
	same(t, "filtered by tag", len(filtered.SecretList), 1)
	_, err = c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("s0"), RecoveryWindowInDays: aws.Int64(3)})
	refused(t, err, "InvalidParameterException")
	ok[secretsmanager.DeleteSecretOutput](t)(c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("s0")}))
	_, err = get(ctx, "s0", "")
	refused(t, err, "InvalidRequestException")
	ok[secretsmanager.RestoreSecretOutput](t)(c.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: aws.String("s0")}))
	ok[secretsmanager.DeleteSecretOutput](t)(c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("s1"), ForceDeleteWithoutRecovery: aws.Bool(true)}))
	_, err = get(ctx, "s1", "")
	refused(t, err, "ResourceNotFoundException")

	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir))
	c = secretsmanager.NewFromConfig(a.Config)
	if v, err := get(ctx, *made.ARN, "AWSPREVIOUS"); err != nil || v != "two" {
		t.Errorf("after a restart: %q %v", v, err)
	}
	d := ok[secretsmanager.DescribeSecretOutput](t)(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String("db/main")}))
	same(t, "tags and versions", fmt.Sprint(len(d.Tags), len(d.VersionIdsToStages)), "1 2")
}
