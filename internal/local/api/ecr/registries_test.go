package ecr

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// in is a client in a region.
func (f *fixture) in(region, key string) *ecr.Client {
	return ecr.New(ecr.Options{Region: region, BaseEndpoint: aws.String("http://" + f.host), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", "")})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

func (f *fixture) statuses(t *testing.T, repository, digest string) map[string]string {
	t.Helper()
	out, err := f.DescribeImageReplicationStatus(t.Context(), &ecr.DescribeImageReplicationStatusInput{RepositoryName: &repository, ImageId: &types.ImageIdentifier{ImageDigest: &digest}})
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, s := range out.ReplicationStatuses {
		m[*s.Region+"/"+*s.RegistryId] = strings.TrimSpace(string(s.Status) + " " + aws.ToString(s.FailureCode))
	}
	return m
}

func TestReplication(t *testing.T) {
	f, ctx := start(t), t.Context()
	f.create(t, "prod/app")
	f.create(t, "other")
	before := f.push(t, "prod/app:before", nil)
	put := func(rules ...types.ReplicationRule) error {
		_, err := f.PutReplicationConfiguration(ctx, &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: &types.ReplicationConfiguration{Rules: rules}})
		return err
	}
	to := func(region, id string) types.ReplicationDestination {
		return types.ReplicationDestination{Region: &region, RegistryId: &id}
	}
	for _, bad := range []types.ReplicationDestination{to("us-east-1", account), to("nowhere", account), to("eu-west-1", "12")} {
		if err := put(types.ReplicationRule{Destinations: []types.ReplicationDestination{bad}}); code(err) != "InvalidParameterException" {
			t.Errorf("%s/%s: %v", *bad.Region, *bad.RegistryId, err)
		}
	}
	filter := []types.RepositoryFilter{{Filter: aws.String("prod/"), FilterType: types.RepositoryFilterTypePrefixMatch}}
	if err := put(types.ReplicationRule{Destinations: []types.ReplicationDestination{to("eu-west-1", account), to("us-east-1", "222222222222")}, RepositoryFilters: filter}); err != nil {
		t.Fatal(err)
	}
	far, friend := f.in("eu-west-1", "AKIATEST"), f.as("222222222222")
	if _, err := far.CreateRepositoryCreationTemplate(ctx, &ecr.CreateRepositoryCreationTemplateInput{Prefix: aws.String("ROOT"), AppliedFor: []types.RCTAppliedFor{types.RCTAppliedForReplication}, ImageTagMutability: types.ImageTagMutabilityImmutable}); err != nil {
		t.Fatal(err)
	}
	left := f.push(t, "other:v1", nil)
	digest := f.push(t, "prod/app:v1", nil)
	eventually(t, "the replication", func() bool { return f.statuses(t, "prod/app", digest)["eu-west-1/"+account] == "COMPLETE" })
	// Nothing lets this account push into the other's registry yet.
	eventually(t, "the refusal", func() bool {
		return f.statuses(t, "prod/app", digest)["us-east-1/222222222222"] == "FAILED AccessDenied"
	})
	if s := f.statuses(t, "other", left); len(s) != 0 {
		t.Errorf("no filter covers other: %v", s)
	}
	if s := f.statuses(t, "prod/app", before); len(s) != 0 {
		t.Errorf("it was pushed before: %v", s)
	}
	r, err := far.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{})
	if err != nil || len(r.Repositories) != 1 || *r.Repositories[0].RepositoryArn != "arn:aws:ecr:eu-west-1:"+account+":repository/prod/app" || r.Repositories[0].ImageTagMutability != types.ImageTagMutabilityImmutable {
		t.Fatalf("%+v, %v", r, err)
	}
	if host, _, _ := strings.Cut(*r.Repositories[0].RepositoryUri, ":"); host != "127.0.0.100" {
		t.Errorf("uri %s", *r.Repositories[0].RepositoryUri)
	}
	images, err := far.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("prod/app")})
	if err != nil || len(images.ImageDetails) != 1 || *images.ImageDetails[0].ImageDigest != digest || images.ImageDetails[0].ImageTags[0] != "v1" || *images.ImageDetails[0].ImageSizeInBytes == 0 {
		t.Errorf("%+v, %v", images, err)
	}
	if e := f.events("ECR Replication Action"); len(e) != 1 || !strings.Contains(e[0], "arn:aws:ecr:eu-west-1:"+account+":repository/prod/app") || !strings.Contains(e[0], "SourceRegion:us-east-1") {
		t.Errorf("events %v", e)
	}
	// What is deleted here stays there.
	if _, err := f.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: aws.String("prod/app"), ImageIds: []types.ImageIdentifier{{ImageDigest: &digest}}}); err != nil {
		t.Fatal(err)
	}
	if got, err := far.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: aws.String("prod/app"), ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v1")}}}); err != nil || len(got.Images) != 1 {
		t.Errorf("%+v, %v", got, err)
	}

	// The other account allows it, first only to add images.
	allow := func(actions string) {
		t.Helper()
		if _, err := friend.PutRegistryPolicy(ctx, &ecr.PutRegistryPolicyInput{PolicyText: aws.String(`{"Version":"2012-10-17","Statement":[{"Sid":"r","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::` + account +
			`:root"},"Action":[` + actions + `],"Resource":"arn:aws:ecr:us-east-1:222222222222:repository/prod/*"}]}`)}); err != nil {
			t.Fatal(err)
		}
	}
	allow(`"ecr:ReplicateImage"`)
	d2 := f.push(t, "prod/app:v2", nil)
	eventually(t, "the refusal", func() bool {
		return f.statuses(t, "prod/app", d2)["us-east-1/222222222222"] == "FAILED AccessDenied"
	})
	allow(`"ecr:ReplicateImage","ecr:CreateRepository"`)
	child, err := random.Image(256, 1)
	if err != nil {
		t.Fatal(err)
	}
	list := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: child})
	if err := remote.WriteIndex(must(name.ParseReference(f.host+"/prod/app:multi")), list); err != nil {
		t.Fatal(err)
	}
	d3 := must(list.Digest()).String()
	eventually(t, "the replication", func() bool { return f.statuses(t, "prod/app", d3)["us-east-1/222222222222"] == "COMPLETE" })
	theirs, err := friend.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: aws.String("prod/app")})
	if err != nil || len(theirs.ImageIds) != 2 {
		t.Errorf("%+v, %v", theirs, err)
	}
	// A replica goes no further, and an account's repositories are its own.
	if own, err := friend.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{}); err != nil || len(own.Repositories) != 1 || *own.Repositories[0].RegistryId != "222222222222" {
		t.Errorf("%+v, %v", own, err)
	}
	if _, err := friend.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("mine")}); err != nil {
		t.Error(err)
	}
	if _, err := f.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RegistryId: aws.String("222222222222"), RepositoryNames: []string{"mine"}}); code(err) != "AccessDeniedException" {
		t.Error(err)
	}
	// An immutable tag there is not moved.
	if _, err := f.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: aws.String("prod/app"), ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v2")}}}); err != nil {
		t.Fatal(err)
	}
	d4 := f.push(t, "prod/app:v1", nil)
	eventually(t, "the refusal", func() bool {
		return f.statuses(t, "prod/app", d4)["eu-west-1/"+account] == "FAILED ImageTagAlreadyExists"
	})
}

func TestPoliciesWithConditions(t *testing.T) {
	f, ctx := start(t), t.Context()
	f.create(t, "app")
	digest := f.push(t, "app:v1", nil)
	friend := f.as("222222222222")
	get := func(c *ecr.Client) error {
		_, err := c.BatchGetImage(ctx, &ecr.BatchGetImageInput{RegistryId: aws.String(account), RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{{ImageDigest: &digest}}})
		return err
	}
	arn := "arn:aws:ecr:us-east-1:" + account + ":repository/app"
	if _, err := f.TagResource(ctx, &ecr.TagResourceInput{ResourceArn: &arn, Tags: []types.Tag{{Key: aws.String("stage"), Value: aws.String("prod")}}}); err != nil {
		t.Fatal(err)
	}
	statement := func(effect, principal, condition string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Principal":` + principal + `,"Action":["ecr:BatchGetImage"],"Condition":` + condition + `}]}`
	}
	for _, c := range []struct {
		policy       string
		friend, mine bool
	}{
		{statement("Allow", `"*"`, `{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}`), true, true},
		{statement("Allow", `"*"`, `{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`), false, true},
		{statement("Allow", `"*"`, `{"StringEquals":{"aws:PrincipalAccount":["111111111111","222222222222"]}}`), true, true},
		{statement("Allow", `"*"`, `{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::333333333333:*"}}`), false, true},
		{statement("Allow", `"*"`, `{"StringEquals":{"ecr:ResourceTag/stage":"prod"}}`), true, true},
		{statement("Allow", `"*"`, `{"DateGreaterThan":{"aws:CurrentTime":"2030-01-01T00:00:00Z"}}`), false, true},
		{statement("Deny", `"*"`, `{"StringNotEquals":{"aws:PrincipalAccount":"`+account+`"}}`), false, true},
		{statement("Deny", `"*"`, `{"StringEquals":{"aws:PrincipalAccount":"`+account+`"}}`), false, false},
	} {
		if _, err := f.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("app"), PolicyText: &c.policy}); err != nil {
			t.Fatal(err)
		}
		if err := get(friend); (err == nil) != c.friend {
			t.Errorf("%s: the other account: %v", c.policy, err)
		}
		if err := get(f.Client); (err == nil) != c.mine {
			t.Errorf("%s: the registry's account: %v", c.policy, err)
		}
	}
	if _, err := f.DeleteRepositoryPolicy(ctx, &ecr.DeleteRepositoryPolicyInput{RepositoryName: aws.String("app")}); err != nil {
		t.Fatal(err)
	}
	// The registry's policy shares all that it names.
	if _, err := f.PutRegistryPolicy(ctx, &ecr.PutRegistryPolicyInput{PolicyText: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"222222222222"},"Action":"ecr:BatchGetImage","Resource":"` + arn + `"}]}`)}); err != nil {
		t.Fatal(err)
	}
	if err := get(friend); err != nil {
		t.Error(err)
	}
	if err := get(f.as("333333333333")); code(err) != "AccessDeniedException" {
		t.Error(err)
	}
	if _, err := f.PutRegistryPolicy(ctx, &ecr.PutRegistryPolicyInput{PolicyText: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Perhaps"}]}`)}); code(err) != "InvalidParameterException" {
		t.Error(err)
	}
}

func TestScanOnPushAndItsEvents(t *testing.T) {
	f, ctx := start(t), t.Context()
	if err := os.WriteFile(f.scans, []byte(`{"*":[{"name":"CVE-1","severity":"HIGH"},{"name":"CVE-2","severity":"LOW"},{"name":"CVE-3","severity":"HIGH"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f.create(t, "prod/app")
	f.create(t, "dev")
	put := func(kind types.ScanType, often types.ScanFrequency) error {
		_, err := f.PutRegistryScanningConfiguration(ctx, &ecr.PutRegistryScanningConfigurationInput{ScanType: kind, Rules: []types.RegistryScanningRule{{ScanFrequency: often,
			RepositoryFilters: []types.ScanningRepositoryFilter{{Filter: aws.String("prod/*"), FilterType: types.ScanningRepositoryFilterTypeWildcard}}}}})
		return err
	}
	if err := put(types.ScanTypeBasic, types.ScanFrequencyContinuousScan); code(err) != "InvalidParameterException" {
		t.Error(err)
	}
	if err := put(types.ScanTypeBasic, types.ScanFrequencyScanOnPush); err != nil {
		t.Fatal(err)
	}
	dev := f.push(t, "dev:v1", nil)
	digest := f.push(t, "prod/app:v1", nil)
	eventually(t, "the scan", func() bool { return len(f.events("ECR Image Scan")) > 0 })
	if e := f.events("ECR Image Scan"); len(e) != 1 || !strings.Contains(e[0], "repository/prod/app] ") || !strings.Contains(e[0], "map[HIGH:2 LOW:1]") || !strings.Contains(e[0], digest) || !strings.Contains(e[0], "[v1]") {
		t.Errorf("events %v", e)
	}
	found, err := f.DescribeImageScanFindings(ctx, &ecr.DescribeImageScanFindingsInput{RepositoryName: aws.String("prod/app"), ImageId: &types.ImageIdentifier{ImageTag: aws.String("v1")}})
	if err != nil || found.ImageScanFindings.FindingSeverityCounts["HIGH"] != 2 {
		t.Errorf("%+v, %v", found, err)
	}
	if _, err := f.DescribeImageScanFindings(ctx, &ecr.DescribeImageScanFindingsInput{RepositoryName: aws.String("dev"), ImageId: &types.ImageIdentifier{ImageDigest: &dev}}); code(err) != "ScanNotFoundException" {
		t.Error(err)
	}
	if err := put(types.ScanTypeEnhanced, types.ScanFrequencyContinuousScan); err != nil {
		t.Fatal(err)
	}
	if _, err := f.StartImageScan(ctx, &ecr.StartImageScanInput{RepositoryName: aws.String("dev"), ImageId: &types.ImageIdentifier{ImageDigest: &dev}}); code(err) != "ValidationException" {
		t.Error(err)
	}
}

func TestPullThroughWithCredentials(t *testing.T) {
	f, ctx := start(t), t.Context()
	inner := ggcr.New()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "me" || password != "let me in" {
			w.Header().Set("WWW-Authenticate", `Basic realm="upstream"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(upstream.Close)
	host := strings.TrimPrefix(upstream.URL, "http://")
	login := remote.WithAuth(&authn.Basic{Username: "me", Password: "let me in"})
	push := func() string {
		im := must(random.Image(256, 1))
		if err := remote.Write(must(name.ParseReference(host+"/lib/app:latest")), im, login); err != nil {
			t.Fatal(err)
		}
		return must(im.Digest()).String()
	}
	first := push()
	const secret = "arn:aws:secretsmanager:us-east-1:" + account + ":secret:ecr-pullthroughcache/up-abcdef"
	create := func(arn string) error {
		_, err := f.CreatePullThroughCacheRule(ctx, &ecr.CreatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("up"), UpstreamRegistryUrl: &host, CredentialArn: &arn})
		return err
	}
	if err := create(strings.Replace(secret, "ecr-pullthroughcache/", "", 1)); code(err) != "InvalidParameterException" {
		t.Error(err)
	}
	if err := create(secret); code(err) != "SecretNotFoundException" {
		t.Error(err)
	}
	f.secrets = map[string]string{secret: `{"user":"me"}`}
	if err := create(secret); code(err) != "UnableToDecryptSecretValueException" {
		t.Error(err)
	}
	f.secrets[secret] = `{"username":"me","accessToken":"wrong"}`
	if err := create(secret); err != nil {
		t.Fatal(err)
	}
	valid := func() bool {
		out, err := f.ValidatePullThroughCacheRule(ctx, &ecr.ValidatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("up")})
		return err == nil && out.IsValid
	}
	if valid() {
		t.Error("wrong credentials are valid")
	}
	ref := must(name.ParseReference(f.host + "/up/lib/app:latest"))
	if _, err := remote.Get(ref); err == nil {
		t.Error("upstream was read with wrong credentials")
	}
	f.secrets[secret] = `{"username":"me","accessToken":"let me in"}`
	if !valid() {
		t.Error("the right credentials are not valid")
	}
	digest := func() string {
		got, err := remote.Get(ref)
		if err != nil {
			t.Fatal(err)
		}
		return got.Digest.String()
	}
	if got := digest(); got != first {
		t.Errorf("got %s, want %s", got, first)
	}
	if e := f.events("ECR Pull Through Cache Action"); len(e) != 1 || !strings.Contains(e[0], first) {
		t.Errorf("events %v", e)
	}
	second := push()
	if got := digest(); got != first {
		t.Error("upstream was asked again before 24 hours had passed")
	}
	f.clock.set(f.clock.Now().Add(24 * time.Hour))
	if got := digest(); got != second {
		t.Errorf("after 24 hours: got %s, want %s", got, second)
	}
	third := push()
	if got := digest(); got != second {
		t.Errorf("got %s: asked again too soon (third is %s)", got, third)
	}
	f.clock.set(f.clock.Now().Add(24 * time.Hour))
	f.secrets[secret] = `{"username":"me","accessToken":"wrong"}`
	if got := digest(); got != second {
		t.Error("what is cached is not served while upstream cannot be asked")
	}
}

func TestSettingsHaveEffect(t *testing.T) {
	f, ctx := start(t), t.Context()
	f.create(t, "a/b")
	f.create(t, "c/d")
	im := must(random.Image(512, 1))
	f.push(t, "a/b:v1", im)
	layers := must(im.Layers())
	layer := must(layers[0].Digest()).String()
	mount := func() int {
		resp, err := http.Post("http://"+f.host+"/v2/c/d/blobs/uploads/?mount="+layer+"&from=a/b", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	set := func(k, v string) error {
		_, err := f.PutAccountSetting(ctx, &ecr.PutAccountSettingInput{Name: &k, Value: &v})
		return err
	}
	if err := set("BLOB_MOUNTING", "PERHAPS"); code(err) != "InvalidParameterException" {
		t.Error(err)
	}
	if err := set("BLOB_MOUNTING", "DISABLED"); err != nil {
		t.Fatal(err)
	}
	if got := mount(); got != http.StatusAccepted { // the client is to upload it
		t.Errorf("mounting answers %d", got)
	}
	if err := set("BLOB_MOUNTING", "ENABLED"); err != nil {
		t.Fatal(err)
	}
	if got := mount(); got != http.StatusCreated {
		t.Errorf("mounting answers %d", got)
	}

	// Pulls of the scanner do not count.
	role := "arn:aws:iam::" + account + ":role/scanner"
	if _, err := f.RegisterPullTimeUpdateExclusion(ctx, &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: aws.String("scanner")}); code(err) != "InvalidParameterException" {
		t.Error(err)
	}
	if _, err := f.RegisterPullTimeUpdateExclusion(ctx, &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: &role}); err != nil {
		t.Fatal(err)
	}
	pulled := func() bool {
		out, err := f.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("a/b")})
		if err != nil {
			t.Fatal(err)
		}
		return out.ImageDetails[0].LastRecordedPullTime != nil
	}
	token, err := f.as("AKIASCANNER").GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		t.Fatal(err)
	}
	f.server.RequireAuth = true
	auth := authn.FromConfig(authn.AuthConfig{Auth: *token.AuthorizationData[0].AuthorizationToken})
	if _, err := remote.Get(must(name.ParseReference(f.host+"/a/b:v1")), remote.WithAuth(auth)); err != nil {
		t.Fatal(err)
	}
	if pulled() {
		t.Error("the scanner's pull counts")
	}
	get := func(c *ecr.Client) {
		if _, err := c.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: aws.String("a/b"), ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("v1")}}}); err != nil {
			t.Fatal(err)
		}
	}
	if get(f.as("AKIASCANNER")); pulled() {
		t.Error("the scanner's pull counts")
	}
	if get(f.Client); !pulled() {
		t.Error("another pull does not count")
	}

	// An archived image takes its time to come back.
	id := &types.ImageIdentifier{ImageTag: aws.String("v1")}
	move := func(class types.TargetStorageClass) types.ImageStatus {
		out, err := f.UpdateImageStorageClass(ctx, &ecr.UpdateImageStorageClassInput{RepositoryName: aws.String("a/b"), ImageId: id, TargetStorageClass: class})
		if err != nil {
			t.Fatal(err)
		}
		return out.ImageStatus
	}
	if got := move(types.TargetStorageClassArchive); got != types.ImageStatusArchived {
		t.Errorf("status %s", got)
	}
	if got := move(types.TargetStorageClassStandard); got != types.ImageStatusActivating {
		t.Errorf("status %s", got)
	}
	f.clock.set(f.clock.Now().Add(time.Hour))
	out, err := f.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("a/b"), ImageIds: []types.ImageIdentifier{*id}})
	if err != nil || out.ImageDetails[0].ImageStatus != types.ImageStatusActive || out.ImageDetails[0].LastActivatedAt == nil {
		t.Errorf("%+v, %v", out, err)
	}
}
