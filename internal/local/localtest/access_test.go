package localtest_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func enforce(c *local.Config) { c.EnforceIAM = true }
func auth(c *local.Config)    { c.Auth = true }

// with is a configuration with other credentials.
func with(cfg aws.Config, key, secret, token string) aws.Config {
	cfg = cfg.Copy()
	cfg.RetryMaxAttempts = 1
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: key, SecretAccessKey: secret, SessionToken: token}, nil
	})
	return cfg
}

// user makes a user with an inline policy and returns a configuration with its key.
func user(t *testing.T, cfg aws.Config, name, policy string) aws.Config {
	t.Helper()
	c, ctx := iam.NewFromConfig(cfg), t.Context()
	ok[iam.CreateUserOutput](t)(c.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}))
	if policy != "" {
		ok[iam.PutUserPolicyOutput](t)(c.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: &policy}))
	}
	k := ok[iam.CreateAccessKeyOutput](t)(c.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})).AccessKey
	return with(cfg, *k.AccessKeyId, *k.SecretAccessKey, "")
}

func TestEnforceIAM(t *testing.T) {
	a := localtest.Start(t, enforce)
	ctx := t.Context()
	root := iam.NewFromConfig(a.Config)
	ann := user(t, a.Config, "ann", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["ecs:CreateCluster","ecs:DescribeClusters"],"Resource":"arn:aws:ecs:*:*:cluster/qa*"},
		{"Effect":"Allow","Action":"ecs:TagResource","Resource":"*","Condition":{"StringEquals":{"ecs:CreateAction":"CreateCluster"},"ForAllValues:StringEquals":{"aws:TagKeys":["team"]}}},
		{"Effect":"Allow","Action":"ecs:RegisterTaskDefinition","Resource":"arn:aws:ecs:*:*:task-definition/app:*"},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"arn:aws:iam::000000000000:role/task","Condition":{"StringEquals":{"iam:PassedToService":"ecs-tasks.amazonaws.com"}}},
		{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"},
		{"Effect":"Deny","Action":"ecs:DescribeClusters","Resource":"arn:aws:ecs:*:*:cluster/qa-secret"}]}`)
	e := ecs.NewFromConfig(ann)
	me := ok[sts.GetCallerIdentityOutput](t)(sts.NewFromConfig(ann).GetCallerIdentity(ctx, nil))
	same(t, "I am", str(me.Arn), "arn:aws:iam::000000000000:user/ann")
	tag := func(k string) []ecstypes.Tag { return []ecstypes.Tag{{Key: aws.String(k), Value: aws.String("a")}} }
	task := func(family, role string) error {
		_, err := e.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: &family, TaskRoleArn: aws.String("arn:aws:iam::000000000000:role/" + role),
			ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("c"), Image: aws.String("i"), Memory: aws.Int32(64)}}})
		return err
	}
	create := func(name, key string) error {
		_, err := e.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: &name, Tags: tag(key)})
		return err
	}
	describe := func(names ...string) error {
		_, err := e.DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: names})
		return err
	}
	list := func() error { _, err := e.ListClusters(ctx, nil); return err }
	for _, c := range []struct {
		what string
		err  error
		want string // part of the message; empty: allowed
	}{
		{"create", create("qa", "team"), ""},
		{"create with another tag", create("qa2", "owner"), "is not authorized to perform: ecs:TagResource on resource: arn:aws:ecs:us-east-1:000000000000:cluster/qa2 because no identity-based policy allows the ecs:TagResource action"},
		{"create another", create("prod", "team"), "User: arn:aws:iam::000000000000:user/ann is not authorized to perform: ecs:CreateCluster on resource: arn:aws:ecs:us-east-1:000000000000:cluster/prod because no identity-based policy allows the ecs:CreateCluster action"},
		{"describe", describe("qa", "qa-other"), ""},
		{"describe what is denied", describe("qa", "qa-secret"), "with an explicit deny in an identity-based policy"},
		{"list", list(), "on resource: * because no identity-based policy allows the ecs:ListClusters action"},
		{"register", task("app", "task"), ""},
		{"register another family", task("other", "task"), "ecs:RegisterTaskDefinition on resource: arn:aws:ecs:us-east-1:000000000000:task-definition/other:*"},
		{"pass another role", task("app", "admin"), "iam:PassRole on resource: arn:aws:iam::000000000000:role/admin because no identity-based policy allows the iam:PassRole action"},
	} {
		if c.want == "" {
			if c.err != nil {
				t.Errorf("%s: %v", c.what, c.err)
			}
			continue
		}
		refused(t, c.err, "AccessDeniedException")
		if c.err != nil {
			contains(t, c.what, c.err.Error(), c.want)
		}
	}
	_, err := ec2.NewFromConfig(ann).DescribeVpcs(ctx, nil)
	refused(t, err, "UnauthorizedOperation")
	_, err = elasticloadbalancingv2.NewFromConfig(ann).DescribeLoadBalancers(ctx, nil)
	refused(t, err, "AccessDenied")

	// A role: only whom it trusts, and then what its policies allow.
	role := func(name, trust string) {
		ok[iam.CreateRoleOutput](t)(root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + trust + `,"Action":"sts:AssumeRole"}]}`)}))
		ok[iam.PutRolePolicyOutput](t)(root.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["ecs:ListClusters","ecs:DescribeClusters"],"Resource":"*"}}`)}))
	}
	role("open", `{"AWS":"arn:aws:iam::000000000000:root"}`)
	role("tasks", `{"Service":"ecs-tasks.amazonaws.com"}`)
	assume := func(name string, policy *string) (aws.Config, error) {
		out, err := sts.NewFromConfig(ann).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::000000000000:role/" + name), RoleSessionName: aws.String("ci"), Policy: policy})
		if err != nil {
			return aws.Config{}, err
		}
		return with(a.Config, *out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken), nil
	}
	if _, err = assume("tasks", nil); code(err) != "AccessDenied" || !strings.Contains(err.Error(), "because no resource-based policy allows the sts:AssumeRole action") {
		t.Errorf("a role of tasks is assumed by a user: %v", err)
	}
	session, err := assume("open", nil)
	if err != nil {
		t.Fatal(err)
	}
	e = ecs.NewFromConfig(session)
	if err := list(); err != nil {
		t.Error(err)
	}
	refused(t, create("qa3", "team"), "AccessDeniedException")
	narrow, err := assume("open", aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"ecs:DescribeClusters","Resource":"*"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if e = ecs.NewFromConfig(narrow); list() == nil || !strings.Contains(list().Error(), "User: arn:aws:sts::000000000000:assumed-role/open/ci") || !strings.Contains(list().Error(), "because no session policy allows") {
		t.Errorf("the session policy: %v", list())
	}

	// The simulator says the same of the same policies.
	sim := ok[iam.SimulatePrincipalPolicyOutput](t)(root.SimulatePrincipalPolicy(ctx, &iam.SimulatePrincipalPolicyInput{PolicySourceArn: aws.String("arn:aws:iam::000000000000:user/ann"),
		ActionNames: []string{"ecs:DescribeClusters", "ecs:ListClusters"}, ResourceArns: []string{"arn:aws:ecs:us-east-1:000000000000:cluster/qa-secret", "arn:aws:ecs:us-east-1:000000000000:cluster/qa"}}))
	var verdicts []string
	for _, r := range sim.EvaluationResults {
		verdicts = append(verdicts, string(r.EvalDecision))
	}
	same(t, "simulated", strings.Join(verdicts, " "), "explicitDeny allowed implicitDeny implicitDeny")
	keys := ok[iam.GetContextKeysForPrincipalPolicyOutput](t)(root.GetContextKeysForPrincipalPolicy(ctx, &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: aws.String("arn:aws:iam::000000000000:user/ann")}))
	same(t, "keys", strings.Join(keys.ContextKeyNames, " "), "aws:TagKeys ecs:CreateAction iam:PassedToService")
	custom := ok[iam.SimulateCustomPolicyOutput](t)(root.SimulateCustomPolicy(ctx, &iam.SimulateCustomPolicyInput{PolicyInputList: []string{"{\"Version\":\"2012-10-17\",\n\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"ecs:*\",\"Resource\":\"*\",\"Condition\":{\"Bool\":{\"aws:SecureTransport\":\"true\"}}}}"},
		ActionNames: []string{"ecs:ListClusters"}, ContextEntries: []iamtypes.ContextEntry{{ContextKeyName: aws.String("aws:SecureTransport"), ContextKeyType: "boolean", ContextKeyValues: []string{"true"}}}}))
	if r := custom.EvaluationResults[0]; r.EvalDecision != "allowed" || len(r.MatchedStatements) != 1 || r.MatchedStatements[0].StartPosition.Line != 2 {
		t.Errorf("%+v", r)
	}
	_, err = root.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("x"), AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole"}]}`)})
	refused(t, err, "MalformedPolicyDocument")
}

func TestSignatures(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, auth, enforce, localtest.Dir(dir), localtest.Speed(200))
	ctx := t.Context()
	file := a.Local.KeyFile()
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || filepath.Dir(file) != dir {
		t.Fatalf("the first key's file: %v %v", info, err)
	}
	data, _ := os.ReadFile(file)
	var key, secret string
	for line := range strings.Lines(string(data)) {
		switch k, v, _ := strings.Cut(strings.TrimSpace(line), " = "); k {
		case "aws_access_key_id":
			key = v
		case "aws_secret_access_key":
			secret = v
		}
	}
	first := with(a.Config, key, secret, "")
	list := func(cfg aws.Config) error { _, err := ecs.NewFromConfig(cfg).ListClusters(ctx, nil); return err }
	if err := list(first); err != nil {
		t.Fatal(err)
	}
	refused(t, list(with(a.Config, "test", "test", "")), "UnrecognizedClientException")
	refused(t, list(with(a.Config, key, "wrong", "")), "InvalidSignatureException")
	_, err := iam.NewFromConfig(with(a.Config, key, "wrong", "")).ListRoles(ctx, nil)
	refused(t, err, "SignatureDoesNotMatch")
	_, err = iam.NewFromConfig(with(a.Config, "test", "test", "")).ListRoles(ctx, nil)
	refused(t, err, "InvalidClientTokenId")
	_, err = ec2.NewFromConfig(with(a.Config, "test", "test", "")).DescribeVpcs(ctx, nil)
	refused(t, err, "AuthFailure")

	bob := user(t, first, "bob", "")
	refused(t, list(bob), "AccessDeniedException")
	c := iam.NewFromConfig(first)
	keys := ok[iam.ListAccessKeysOutput](t)(c.ListAccessKeys(ctx, &iam.ListAccessKeysInput{UserName: aws.String("bob")}))
	ok[iam.UpdateAccessKeyOutput](t)(c.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: keys.AccessKeyMetadata[0].AccessKeyId, Status: "Inactive"}))
	refused(t, list(bob), "UnrecognizedClientException")

	out := ok[sts.GetSessionTokenOutput](t)(sts.NewFromConfig(first).GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(900)})).Credentials
	// 900 s are 4.5 s of this machine: enough for one call before, and soon over.
	good := with(a.Config, *out.AccessKeyId, *out.SecretAccessKey, *out.SessionToken)
	if err := list(good); err != nil {
		t.Error(err)
	}
	refused(t, list(with(a.Config, *out.AccessKeyId, *out.SecretAccessKey, "another")), "UnrecognizedClientException")
	localtest.Eventually(t, "the session expires", func() bool { return code(list(good)) == "ExpiredTokenException" })
	a.Stop()

	b := localtest.Start(t, auth, localtest.Dir(dir))
	if err := list(with(b.Config, key, secret, "")); err != nil {
		t.Errorf("after a restart the first key is another: %v", err)
	}
}

// The documented rate of changes to clusters: 20 at once and one a second.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
func TestThrottle(t *testing.T) {
	a := localtest.Start(t, func(c *local.Config) { c.Throttle = true })
	e, began, refusals := ecs.NewFromConfig(with(a.Config, "test", "test", "")), time.Now(), 0
	for range 60 {
		_, err := e.CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("c")})
		if err != nil {
			refused(t, err, "ThrottlingException")
			refusals++
		}
	}
	if allowed := 60 - refusals; allowed < 20 || float64(allowed) > 21+time.Since(began).Seconds() {
		t.Errorf("%d of 60 were answered in %s", allowed, time.Since(began))
	}
}
