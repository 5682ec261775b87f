package ecr

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ggcrtypes "github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

const account = "000000000000"

// handClock is moved by the test while the server reads it from other goroutines.
type handClock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *handClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *handClock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = t
}

func (c *handClock) After(time.Duration) <-chan time.Time { return nil }
func (c *handClock) Real(d time.Duration) time.Duration   { return d }

type fixture struct {
	*ecr.Client
	host   string
	clock  *handClock
	server *registry.Server
	svc    *wire.Service
	scans  string // file of findings; not there yet

	secrets map[string]string // by ARN
	mu      sync.Mutex
	told    []string // detail types of events, with their details
}

func (f *fixture) tell(kind string, resources []string, detail any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, fmt.Sprintf("%s %v %+v", kind, resources, detail))
}

func (f *fixture) events(kind string) (out []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.told {
		if strings.HasPrefix(e, kind) {
			out = append(out, e)
		}
	}
	return out
}

func start(t *testing.T) *fixture {
	t.Helper()
	db, err := state.Open("")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{clock: &handClock{t: time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)}, scans: t.TempDir() + "/findings.json"}
	all, err := registry.OpenAll(registry.Config{DB: db, Dir: t.TempDir(), Clock: f.clock, Account: account, Region: "us-east-1", Destinations: Destinations, Tell: f.tell,
		Secret: func(arn string) (string, error) {
			if s, ok := f.secrets[arn]; ok {
				return s, nil
			}
			return "", errors.New("no such secret")
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = all.Run(ctx) }() // it ends with ctx
	t.Cleanup(func() { cancel(); <-done })
	tokens := registry.NewTokens(f.clock.Now)
	f.server = registry.NewServers(all, tokens)
	srv := wire.NewServer()
	f.svc = srv.Service("ecr")
	Register(f.svc, Deps{Registries: all, Tokens: tokens, Host: func() string { return f.host }, ScanFindings: f.scans,
		Principal: func(key string) string {
			if key == "AKIASCANNER" {
				return "arn:aws:sts::" + account + ":assumed-role/scanner/s"
			}
			return ""
		}})
	srv.Fallback("/v2/", f.server)
	ts := httptest.NewUnstartedServer(srv)
	f.host = ts.Listener.Addr().String()
	ts.Start()
	t.Cleanup(ts.Close)
	f.Client = f.as("AKIATEST")
	return f
}

// as is a client with an access key.
func (f *fixture) as(key string) *ecr.Client {
	return ecr.New(ecr.Options{Region: "us-east-1", BaseEndpoint: aws.String("http://" + f.host), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key, "secret", "")})
}

func (f *fixture) create(t *testing.T, name string) *types.Repository {
	t.Helper()
	out, err := f.CreateRepository(t.Context(), &ecr.CreateRepositoryInput{RepositoryName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return out.Repository
}

func (f *fixture) push(t *testing.T, ref string, im v1.Image) string {
	t.Helper()
	r, err := name.ParseReference(f.host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	if im == nil {
		if im, err = random.Image(512, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := remote.Write(r, im); err != nil {
		t.Fatal(err)
	}
	d, err := im.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

func TestSupport(t *testing.T) {
	f := start(t)
	all := wire.Operations("ecr")
	have := 0
	for _, op := range f.svc.Operations() {
		if op.Handled {
			have++
		}
	}
	if have*100 < 80*len(all) {
		t.Errorf("%d of %d operations", have, len(all))
	}
	t.Logf("%d of %d operations", have, len(all))
}

func TestRepositories(t *testing.T) {
	f, ctx := start(t), t.Context()
	out, err := f.CreateRepository(ctx, &ecr.CreateRepositoryInput{
		RepositoryName: aws.String("team/app"), ImageTagMutability: types.ImageTagMutabilityImmutableWithExclusion,
		ImageTagMutabilityExclusionFilters: []types.ImageTagMutabilityExclusionFilter{{Filter: aws.String("latest*"), FilterType: "WILDCARD"}},
		ImageScanningConfiguration:         &types.ImageScanningConfiguration{ScanOnPush: true},
		Tags:                               []types.Tag{{Key: aws.String("team"), Value: aws.String("core")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := out.Repository
	if *r.RepositoryUri != f.host+"/team/app" || *r.RepositoryArn != "arn:aws:ecr:us-east-1:000000000000:repository/team/app" ||
		*r.RegistryId != account || !r.CreatedAt.Equal(f.clock.Now()) || r.EncryptionConfiguration.EncryptionType != "AES256" || !r.ImageScanningConfiguration.ScanOnPush ||
		*r.ImageTagMutabilityExclusionFilters[0].Filter != "latest*" {
		t.Errorf("%+v", r)
	}
	if _, err := f.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("team/app")}); code(err) != "RepositoryAlreadyExistsException" {
		t.Error(err)
	}
	for _, in := range []ecr.CreateRepositoryInput{{RepositoryName: aws.String("Team")}, {RepositoryName: aws.String("x/")},
		{RepositoryName: aws.String("ok"), ImageTagMutability: types.ImageTagMutabilityImmutableWithExclusion}} {
		if _, err := f.CreateRepository(ctx, &in); code(err) != "InvalidParameterException" {
			t.Errorf("%s: %v", *in.RepositoryName, err)
		}
	}
	for i := range 4 {
		f.create(t, fmt.Sprintf("app%d", i))
	}
	var names []string
	p := ecr.NewDescribeRepositoriesPaginator(f, &ecr.DescribeRepositoriesInput{MaxResults: aws.Int32(2)})
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Repositories {
			names = append(names, *r.RepositoryName)
		}
	}
	if got := strings.Join(names, " "); got != "app0 app1 app2 app3 team/app" {
		t.Error(got)
	}
	if _, err := f.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"app0", "none"}}); code(err) != "RepositoryNotFoundException" {
		t.Error(err)
	}
	if _, err := f.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RepositoryName: aws.String("app0"), ImageTagMutability: "IMMUTABLE"}); err != nil {
		t.Error(err)
	}
	if _, err := f.TagResource(ctx, &ecr.TagResourceInput{ResourceArn: r.RepositoryArn, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}); err != nil {
		t.Error(err)
	}
	if _, err := f.UntagResource(ctx, &ecr.UntagResourceInput{ResourceArn: r.RepositoryArn, TagKeys: []string{"team"}}); err != nil {
		t.Error(err)
	}
	tags, err := f.ListTagsForResource(ctx, &ecr.ListTagsForResourceInput{ResourceArn: r.RepositoryArn})
	if err != nil || len(tags.Tags) != 1 || *tags.Tags[0].Key != "a" {
		t.Error(tags, err)
	}
	f.push(t, "app1:v1", nil)
	if _, err := f.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("app1")}); code(err) != "RepositoryNotEmptyException" {
		t.Error(err)
	}
	if _, err := f.DeleteRepository(ctx, &ecr.DeleteRepositoryInput{RepositoryName: aws.String("app1"), Force: true}); err != nil {
		t.Error(err)
	}
}

func TestImages(t *testing.T) {
	f, ctx := start(t), t.Context()
	repo := aws.String("app")
	f.create(t, "app")
	old := f.push(t, "app:latest", nil)
	f.clock.set(f.clock.Now().Add(time.Hour))
	digest := f.push(t, "app:latest", nil)
	out, err := f.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo})
	if err != nil || len(out.ImageDetails) != 2 {
		t.Fatal(out, err)
	}
	for _, d := range out.ImageDetails {
		switch *d.ImageDigest {
		case old:
			if len(d.ImageTags) != 0 || !d.ImagePushedAt.Equal(f.clock.Now().Add(-time.Hour)) {
				t.Errorf("old: %+v", d)
			}
		case digest:
			if fmt.Sprint(d.ImageTags) != "[latest]" || *d.ImageSizeInBytes < 512 || *d.ArtifactMediaType != "application/vnd.docker.container.image.v1+json" || d.ImageStatus != "ACTIVE" {
				t.Errorf("new: %+v", d)
			}
		}
	}
	got, err := f.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("latest")}, {ImageTag: aws.String("none")}}})
	if err != nil || len(got.Images) != 1 || len(got.Failures) != 1 || got.Failures[0].FailureCode != "ImageNotFound" {
		t.Fatal(got, err)
	}
	im := got.Images[0]
	// The same manifest under another tag: what promotion by tag does.
	if _, err := f.PutImage(ctx, &ecr.PutImageInput{RepositoryName: repo, ImageManifest: im.ImageManifest, ImageManifestMediaType: im.ImageManifestMediaType, ImageTag: aws.String("prod_1"), ImageDigest: &digest}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutImage(ctx, &ecr.PutImageInput{RepositoryName: repo, ImageManifest: im.ImageManifest, ImageTag: aws.String("prod_1")}); code(err) != "ImageAlreadyExistsException" {
		t.Error(err)
	}
	if _, err := f.PutImage(ctx, &ecr.PutImageInput{RepositoryName: repo, ImageManifest: im.ImageManifest, ImageTag: aws.String("x"), ImageDigest: &old}); code(err) != "ImageDigestDoesNotMatchException" {
		t.Error(err)
	}
	if _, err := f.PutImageTagMutability(ctx, &ecr.PutImageTagMutabilityInput{RepositoryName: repo, ImageTagMutability: "IMMUTABLE"}); err != nil {
		t.Fatal(err)
	}
	oldImage, err := f.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{{ImageDigest: &old}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutImage(ctx, &ecr.PutImageInput{RepositoryName: repo, ImageManifest: oldImage.Images[0].ImageManifest, ImageTag: aws.String("prod_1")}); code(err) != "ImageTagAlreadyExistsException" {
		t.Error(err)
	}
	var ids []string
	p := ecr.NewListImagesPaginator(f, &ecr.ListImagesInput{RepositoryName: repo, MaxResults: aws.Int32(1)})
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range page.ImageIds {
			ids = append(ids, *id.ImageDigest+"|"+aws.ToString(id.ImageTag))
		}
	}
	if len(ids) != 3 {
		t.Error(ids)
	}
	tagged, err := f.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: repo, Filter: &types.ListImagesFilter{TagStatus: "UNTAGGED"}})
	if err != nil || len(tagged.ImageIds) != 1 || *tagged.ImageIds[0].ImageDigest != old {
		t.Error(tagged, err)
	}
	if _, err := f.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("none")}}}); code(err) != "ImageNotFoundException" {
		t.Error(err)
	}
	del, err := f.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: repo, ImageIds: []types.ImageIdentifier{{ImageTag: aws.String("prod_1")}, {ImageDigest: &old}, {}}})
	if err != nil || len(del.ImageIds) != 2 || len(del.Failures) != 1 || del.Failures[0].FailureCode != "MissingDigestAndTag" {
		t.Error(del, err)
	}
	arch, err := f.UpdateImageStorageClass(ctx, &ecr.UpdateImageStorageClassInput{RepositoryName: repo, ImageId: &types.ImageIdentifier{ImageTag: aws.String("latest")}, TargetStorageClass: "ARCHIVE"})
	if err != nil || arch.ImageStatus != "ARCHIVED" {
		t.Error(arch, err)
	}
	if out, err := f.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo}); err != nil || len(out.ImageDetails) != 0 {
		t.Error("archived images are listed without being asked for", err)
	}
}

func TestReferrers(t *testing.T) {
	f, ctx := start(t), t.Context()
	f.create(t, "app")
	im, _ := random.Image(256, 1)
	subject := f.push(t, "app:v1", im)
	desc, err := remote.Head(must(name.ParseReference(f.host + "/app:v1")))
	if err != nil {
		t.Fatal(err)
	}
	sig := mutate.Subject(mutate.MediaType(mutate.ConfigMediaType(empty.Image, "application/vnd.slipway.test"), ggcrtypes.OCIManifestSchema1), *desc).(v1.Image)
	d, _ := sig.Digest()
	f.push(t, "app@"+d.String(), sig)
	out, err := f.ListImageReferrers(ctx, &ecr.ListImageReferrersInput{RepositoryName: aws.String("app"), SubjectId: &types.SubjectIdentifier{ImageDigest: &subject}})
	if err != nil || len(out.Referrers) != 1 || *out.Referrers[0].ArtifactType != "application/vnd.slipway.test" || *out.Referrers[0].Digest != d.String() {
		t.Error(out, err)
	}
	one, err := f.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{{ImageDigest: aws.String(d.String())}}})
	if err != nil || *one.ImageDetails[0].SubjectManifestDigest != subject {
		t.Error(one, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestLayerUpload(t *testing.T) {
	f, ctx := start(t), t.Context()
	repo := aws.String("app")
	f.create(t, "app")
	content := []byte(strings.Repeat("layer", 1000))
	up, err := f.InitiateLayerUpload(ctx, &ecr.InitiateLayerUploadInput{RepositoryName: repo})
	if err != nil {
		t.Fatal(err)
	}
	part := func(first, last int64) (*ecr.UploadLayerPartOutput, error) {
		return f.UploadLayerPart(ctx, &ecr.UploadLayerPartInput{RepositoryName: repo, UploadId: up.UploadId, PartFirstByte: &first, PartLastByte: &last, LayerPartBlob: content[first : last+1]})
	}
	if _, err := f.CompleteLayerUpload(ctx, &ecr.CompleteLayerUploadInput{RepositoryName: repo, UploadId: up.UploadId, LayerDigests: []string{registry.Digest(content)}}); code(err) != "EmptyUploadException" {
		t.Error(err)
	}
	if out, err := part(0, 1999); err != nil || *out.LastByteReceived != 1999 {
		t.Fatal(out, err)
	}
	_, err = part(3000, 4999)
	var bad *types.InvalidLayerPartException
	if !errors.As(err, &bad) || bad.LastValidByteReceived == nil || *bad.LastValidByteReceived != 1999 {
		t.Error(err)
	}
	if _, err := part(2000, 4999); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CompleteLayerUpload(ctx, &ecr.CompleteLayerUploadInput{RepositoryName: repo, UploadId: up.UploadId, LayerDigests: []string{registry.Digest(content)}}); err != nil {
		t.Fatal(err)
	}
	got, err := f.BatchCheckLayerAvailability(ctx, &ecr.BatchCheckLayerAvailabilityInput{RepositoryName: repo, LayerDigests: []string{registry.Digest(content), registry.Digest(nil), "x"}})
	if err != nil || len(got.Layers) != 2 || got.Layers[0].LayerAvailability != "AVAILABLE" || *got.Layers[0].LayerSize != 5000 || got.Layers[1].LayerAvailability != "UNAVAILABLE" || len(got.Failures) != 1 {
		t.Error(got, err)
	}
	url, err := f.GetDownloadUrlForLayer(ctx, &ecr.GetDownloadUrlForLayerInput{RepositoryName: repo, LayerDigest: aws.String(registry.Digest(content))})
	if err != nil || !strings.HasPrefix(*url.DownloadUrl, "http://"+f.host) {
		t.Error(url, err)
	}
}

func TestLifecyclePolicyIsReal(t *testing.T) {
	f, ctx := start(t), t.Context()
	repo := aws.String("app")
	f.create(t, "app")
	for i := range 4 {
		f.push(t, fmt.Sprintf("app:v%d", i), nil)
		f.clock.set(f.clock.Now().Add(time.Hour))
	}
	const policy = `{"rules":[{"rulePriority":1,"description":"newest two","selection":{"tagStatus":"tagged","tagPrefixList":["v"],"countType":"imageCountMoreThan","countNumber":2},"action":{"type":"expire"}}]}`
	if _, err := f.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: repo}); code(err) != "LifecyclePolicyNotFoundException" {
		t.Error(err)
	}
	bad := strings.Replace(policy, `"countNumber":2`, `"countNumber":2,"countUnit":"days"`, 1)
	if _, err := f.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: repo, LifecyclePolicyText: &bad}); code(err) != "InvalidParameterException" || !strings.Contains(err.Error(), "Lifecycle policy validation failure: rule 1 (rulePriority 1): selection.countUnit") {
		t.Error(err)
	}
	if _, err := f.GetLifecyclePolicyPreview(ctx, &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: repo}); code(err) != "LifecyclePolicyPreviewNotFoundException" {
		t.Error(err)
	}
	if _, err := f.StartLifecyclePolicyPreview(ctx, &ecr.StartLifecyclePolicyPreviewInput{RepositoryName: repo, LifecyclePolicyText: aws.String(policy)}); err != nil {
		t.Fatal(err)
	}
	if err := ecr.NewLifecyclePolicyPreviewCompleteWaiter(f).Wait(ctx, &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: repo}, time.Minute); err != nil {
		t.Fatal(err)
	}
	pre, err := f.GetLifecyclePolicyPreview(ctx, &ecr.GetLifecyclePolicyPreviewInput{RepositoryName: repo})
	if err != nil || len(pre.PreviewResults) != 2 || fmt.Sprint(pre.PreviewResults[0].ImageTags) != "[v0]" || *pre.PreviewResults[0].AppliedRulePriority != 1 ||
		pre.PreviewResults[0].Action.Type != "EXPIRE" || *pre.Summary.ExpiringImageTotalCount != 2 || pre.PreviewResults[0].StorageClass != "STANDARD" {
		t.Errorf("%+v, %v", pre, err)
	}
	if out, err := f.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: repo}); err != nil || len(out.ImageDetails) != 4 {
		t.Error("a preview deleted images", err)
	}
	if _, err := f.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: repo, LifecyclePolicyText: aws.String(policy)}); err != nil {
		t.Fatal(err)
	}
	out, err := f.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: repo})
	if err != nil || len(out.ImageIds) != 2 {
		t.Errorf("%d images are left, %v", len(out.ImageIds), err)
	}
	got, err := f.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: repo})
	if err != nil || *got.LifecyclePolicyText != policy || !got.LastEvaluatedAt.Equal(f.clock.Now()) {
		t.Error(got, err)
	}
	if _, err := f.DeleteLifecyclePolicy(ctx, &ecr.DeleteLifecyclePolicyInput{RepositoryName: repo}); err != nil {
		t.Error(err)
	}
}

func TestSharingWithAnotherAccount(t *testing.T) {
	f, ctx := start(t), t.Context()
	f.create(t, "app")
	digest := f.push(t, "app:v1", nil)
	friend := f.as("222222222222")
	ref := must(name.ParseReference(f.host + "/app@" + digest))
	pull := func() error {
		out, err := friend.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
		if err != nil {
			t.Fatal(err)
		}
		d := out.AuthorizationData[0]
		raw, err := base64.StdEncoding.DecodeString(*d.AuthorizationToken)
		if err != nil || *d.ProxyEndpoint != "http://127.0.0.100"+f.host[strings.LastIndexByte(f.host, ':'):] || !d.ExpiresAt.Equal(f.clock.Now().Add(12*time.Hour)) {
			t.Fatal(string(raw), d, err)
		}
		user, password, _ := strings.Cut(string(raw), ":")
		_, err = remote.Image(ref, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
		return err
	}
	get := func() error {
		_, err := friend.BatchGetImage(ctx, &ecr.BatchGetImageInput{RegistryId: aws.String(account), RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{{ImageDigest: &digest}}})
		return err
	}
	if err := pull(); err == nil || !strings.Contains(err.Error(), "no resource-based policy allows the ecr:BatchGetImage action") {
		t.Errorf("without a policy: %v", err)
	}
	if err := get(); code(err) != "AccessDeniedException" {
		t.Error(err)
	}
	if _, err := friend.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: aws.String("app"), ImageIds: []types.ImageIdentifier{{ImageDigest: &digest}}}); code(err) != "RepositoryNotFoundException" {
		t.Error("the other account's own registry has the repository")
	}
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::222222222222:root"]},"Action":["ecr:BatchGet*","ecr:GetDownloadUrlForLayer"]}]}`
	if _, err := f.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("app"), PolicyText: &policy}); err != nil {
		t.Fatal(err)
	}
	if err := pull(); err != nil {
		t.Errorf("with the policy: %v", err)
	}
	if err := get(); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]bool{
		strings.Replace(policy, "222222222222", "333333333333", 1):                                     false,
		strings.Replace(policy, "Allow", "Deny", 1):                                                    false,
		strings.Replace(policy, `{"AWS":["arn:aws:iam::222222222222:root"]}`, `"*"`, 1):                true,
		strings.Replace(policy, `]}]}`, `],"Condition":{"Bool":{"aws:SecureTransport":"true"}}}]}`, 1): false,
	} {
		if _, err := f.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("app"), PolicyText: &text}); err != nil {
			t.Fatal(err)
		}
		if err := get(); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := f.SetRepositoryPolicy(ctx, &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("app"), PolicyText: aws.String(`{"Statement":[]}`)}); code(err) != "InvalidParameterException" {
		t.Error(err)
	}
	if _, err := f.DeleteRepositoryPolicy(ctx, &ecr.DeleteRepositoryPolicyInput{RepositoryName: aws.String("app")}); err != nil {
		t.Error(err)
	}
	if _, err := f.GetRepositoryPolicy(ctx, &ecr.GetRepositoryPolicyInput{RepositoryName: aws.String("app")}); code(err) != "RepositoryPolicyNotFoundException" {
		t.Error(err)
	}
}

func TestTemplatesAndSettings(t *testing.T) {
	f, ctx := start(t), t.Context()
	if _, err := f.CreateRepositoryCreationTemplate(ctx, &ecr.CreateRepositoryCreationTemplateInput{Prefix: aws.String("auto"), AppliedFor: []types.RCTAppliedFor{"CREATE_ON_PUSH"}, ImageTagMutability: "IMMUTABLE"}); err != nil {
		t.Fatal(err)
	}
	f.push(t, "auto/app:v1", nil)
	r, err := f.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{"auto/app"}})
	if err != nil || r.Repositories[0].ImageTagMutability != "IMMUTABLE" {
		t.Error(r, err)
	}
	up, err := f.UpdateRepositoryCreationTemplate(ctx, &ecr.UpdateRepositoryCreationTemplateInput{Prefix: aws.String("auto"), Description: aws.String("d")})
	if err != nil || *up.RepositoryCreationTemplate.Description != "d" || up.RepositoryCreationTemplate.ImageTagMutability != "IMMUTABLE" {
		t.Error(up, err)
	}
	if out, err := f.DescribeRepositoryCreationTemplates(ctx, &ecr.DescribeRepositoryCreationTemplatesInput{}); err != nil || len(out.RepositoryCreationTemplates) != 1 {
		t.Error(out, err)
	}
	if _, err := f.DeleteRepositoryCreationTemplate(ctx, &ecr.DeleteRepositoryCreationTemplateInput{Prefix: aws.String("auto")}); err != nil {
		t.Error(err)
	}
	conf := &types.ReplicationConfiguration{Rules: []types.ReplicationRule{{Destinations: []types.ReplicationDestination{{Region: aws.String("eu-west-1"), RegistryId: aws.String(account)}}}}}
	if _, err := f.PutReplicationConfiguration(ctx, &ecr.PutReplicationConfigurationInput{ReplicationConfiguration: conf}); err != nil {
		t.Error(err)
	}
	st, err := f.DescribeImageReplicationStatus(ctx, &ecr.DescribeImageReplicationStatusInput{RepositoryName: aws.String("auto/app"), ImageId: &types.ImageIdentifier{ImageTag: aws.String("v1")}})
	if err != nil || len(st.ReplicationStatuses) != 0 { // it was pushed before there was a configuration
		t.Error(st, err)
	}
	if d, err := f.DescribeRegistry(ctx, &ecr.DescribeRegistryInput{}); err != nil || *d.RegistryId != account || len(d.ReplicationConfiguration.Rules) != 1 {
		t.Error(d, err)
	}
	if _, err := f.PutRegistryScanningConfiguration(ctx, &ecr.PutRegistryScanningConfigurationInput{ScanType: "BASIC", Rules: []types.RegistryScanningRule{{ScanFrequency: "SCAN_ON_PUSH",
		RepositoryFilters: []types.ScanningRepositoryFilter{{Filter: aws.String("auto/*"), FilterType: "WILDCARD"}}}}}); err != nil {
		t.Error(err)
	}
	sc, err := f.BatchGetRepositoryScanningConfiguration(ctx, &ecr.BatchGetRepositoryScanningConfigurationInput{RepositoryNames: []string{"auto/app", "none"}})
	if err != nil || !sc.ScanningConfigurations[0].ScanOnPush || len(sc.Failures) != 1 {
		t.Error(sc, err)
	}
	if _, err := f.CreatePullThroughCacheRule(ctx, &ecr.CreatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("hub"), UpstreamRegistryUrl: aws.String("registry-1.docker.io")}); err != nil {
		t.Error(err)
	}
	if out, err := f.DescribePullThroughCacheRules(ctx, &ecr.DescribePullThroughCacheRulesInput{}); err != nil || len(out.PullThroughCacheRules) != 1 {
		t.Error(out, err)
	}
	if out, err := f.ValidatePullThroughCacheRule(ctx, &ecr.ValidatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("none")}); code(err) != "PullThroughCacheRuleNotFoundException" {
		t.Error(out, err)
	}
	if _, err := f.CreatePullThroughCacheRule(ctx, &ecr.CreatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("self"), UpstreamRegistryUrl: &f.host}); err != nil {
		t.Error(err)
	}
	if out, err := f.ValidatePullThroughCacheRule(ctx, &ecr.ValidatePullThroughCacheRuleInput{EcrRepositoryPrefix: aws.String("self")}); err != nil || !out.IsValid {
		t.Error(out, err)
	}
	role := aws.String("arn:aws:iam::000000000000:role/scanner")
	if _, err := f.RegisterPullTimeUpdateExclusion(ctx, &ecr.RegisterPullTimeUpdateExclusionInput{PrincipalArn: role}); err != nil {
		t.Error(err)
	}
	if out, err := f.ListPullTimeUpdateExclusions(ctx, &ecr.ListPullTimeUpdateExclusionsInput{}); err != nil || len(out.PullTimeUpdateExclusions) != 1 {
		t.Error(out, err)
	}
	if _, err := f.DeregisterPullTimeUpdateExclusion(ctx, &ecr.DeregisterPullTimeUpdateExclusionInput{PrincipalArn: role}); err != nil {
		t.Error(err)
	}
	profile := aws.String("arn:aws:signer:us-east-1:000000000000:/signing-profiles/p")
	if _, err := f.GetSigningConfiguration(ctx, &ecr.GetSigningConfigurationInput{}); code(err) != "SigningConfigurationNotFoundException" {
		t.Error(err)
	}
	if _, err := f.PutSigningConfiguration(ctx, &ecr.PutSigningConfigurationInput{SigningConfiguration: &types.SigningConfiguration{Rules: []types.SigningRule{{SigningProfileArn: profile}}}}); err != nil {
		t.Error(err)
	}
	if out, err := f.DescribeImageSigningStatus(ctx, &ecr.DescribeImageSigningStatusInput{RepositoryName: aws.String("auto/app"), ImageId: &types.ImageIdentifier{ImageTag: aws.String("v1")}}); err != nil ||
		len(out.SigningStatuses) != 1 || out.SigningStatuses[0].Status != "FAILED" {
		t.Error(out, err)
	}
	if _, err := f.DeleteSigningConfiguration(ctx, &ecr.DeleteSigningConfigurationInput{}); err != nil {
		t.Error(err)
	}
	if _, err := f.GetRegistryPolicy(ctx, &ecr.GetRegistryPolicyInput{}); code(err) != "RegistryPolicyNotFoundException" {
		t.Error(err)
	}
	if out, err := f.GetAccountSetting(ctx, &ecr.GetAccountSettingInput{Name: aws.String("BLOB_MOUNTING")}); err != nil || *out.Value != "ENABLED" {
		t.Error(out, err)
	}
	scan, err := f.StartImageScan(ctx, &ecr.StartImageScanInput{RepositoryName: aws.String("auto/app"), ImageId: &types.ImageIdentifier{ImageTag: aws.String("v1")}})
	if err != nil || scan.ImageScanStatus.Status != "FAILED" {
		t.Error(scan, err)
	}
}
