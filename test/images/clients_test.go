package images

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-ecs/slipway/internal/release"
)

// friend is another account of the local AWS.
const friend = "222222222222"

// tool finds a client nobody here wrote; without it the test is skipped, under CI it fails.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	missing(t, name+" is not installed")
	return ""
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// client is a program that pushes and pulls images. Its commands are run with the environment it was
// made with; each instance has its own logins and its own store.
type client struct {
	t      *testing.T
	path   string
	env    []string
	login  func(host string) []string
	load   func(tar, ref string) [][]string // puts an archive into its store, if it has one
	push   func(tar, ref string) []string
	pull   func(ref, to string) []string
	forget func(ref string) []string
}

func (c *client) run(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, args...)
	cmd.Env, cmd.Stdin = append(os.Environ(), c.env...), strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *client) must(args ...string) {
	c.t.Helper()
	if out, err := c.run("", args...); err != nil {
		c.t.Fatalf("%s %s: %v\n%s", filepath.Base(c.path), strings.Join(args, " "), err, out)
	}
}

// logIn does what the ECR pages say: aws ecr get-login-password | docker login.
func (c *client) logIn(s *shop, account string) {
	c.t.Helper()
	password, err := s.password(c.t.Context(), account)
	if err != nil {
		c.t.Fatal(err)
	}
	if out, err := c.run(password, c.login(s.host())...); err != nil {
		c.t.Fatalf("logging in: %v\n%s", err, out)
	}
}

func (c *client) pulls(ref string) (string, error) {
	if c.forget != nil {
		_, _ = c.run("", c.forget(ref)...) // it may not be there
	}
	return c.run("", c.pull(ref, filepath.Join(c.t.TempDir(), "image"))...)
}

func docker(t *testing.T) *client {
	c := &client{t: t, path: tool(t, "docker"), env: []string{"DOCKER_CONFIG=" + t.TempDir()}}
	if out, err := c.run("", "version", "--format", "{{.Server.Version}}"); err != nil {
		missing(t, "no Docker engine answers: "+out)
	}
	c.login = func(host string) []string { return []string{"login", host, "-u", "AWS", "--password-stdin"} }
	c.load = func(tar, ref string) [][]string { return [][]string{{"load", "-q", "-i", tar}} }
	c.push = func(_, ref string) []string { return []string{"push", ref} }
	c.pull = func(ref, _ string) []string { return []string{"pull", ref} }
	c.forget = func(ref string) []string { return []string{"image", "rm", "-f", ref} }
	return c
}

func podman(t *testing.T) *client {
	dir := t.TempDir()
	c := &client{t: t, path: tool(t, "podman"), env: []string{"REGISTRY_AUTH_FILE=" + filepath.Join(dir, "auth.json")}}
	store := func(args ...string) []string {
		return append([]string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs", "--runtime", "runc"}, args...)
	}
	t.Cleanup(func() {
		_ = exec.CommandContext(context.Background(), c.path, store("image", "rm", "--all", "--force")...).Run()
	})
	c.login = func(host string) []string {
		return store("login", "--tls-verify=false", "-u", "AWS", "--password-stdin", host)
	}
	c.load = func(tar, ref string) [][]string { return [][]string{store("load", "-q", "-i", tar)} }
	c.push = func(_, ref string) []string { return store("push", "--tls-verify=false", ref) }
	c.pull = func(ref, _ string) []string { return store("pull", "--tls-verify=false", ref) }
	c.forget = func(ref string) []string { return store("image", "rm", "-f", ref) }
	return c
}

func skopeo(t *testing.T) *client {
	c := &client{t: t, path: tool(t, "skopeo"), env: []string{"REGISTRY_AUTH_FILE=" + filepath.Join(t.TempDir(), "auth.json")}}
	c.login = func(host string) []string {
		return []string{"login", "--tls-verify=false", "-u", "AWS", "--password-stdin", host}
	}
	c.push = func(tar, ref string) []string {
		return []string{"copy", "--insecure-policy", "--dest-tls-verify=false", "docker-archive:" + tar, "docker://" + ref}
	}
	c.pull = func(ref, to string) []string {
		return []string{"copy", "--insecure-policy", "--src-tls-verify=false", "docker://" + ref, "dir:" + to}
	}
	return c
}

// buildCrane builds the crane of the module that go.mod names, once.
var buildCrane = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "crane-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "crane")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/google/go-containerregistry/cmd/crane").CombinedOutput(); err != nil {
		return dir, fmt.Errorf("building crane: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built {
		if path, _ := buildCrane(); path != "" {
			_ = os.RemoveAll(filepath.Dir(path))
		}
	}
	os.Exit(code)
}

// built says that crane was built: it is removed at the end.
var built bool

func crane(t *testing.T) *client {
	built = true
	path, err := buildCrane()
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, path: path, env: []string{"DOCKER_CONFIG=" + t.TempDir()}}
	c.login = func(host string) []string { return []string{"auth", "login", host, "-u", "AWS", "--password-stdin"} }
	c.push = func(tar, ref string) []string { return []string{"push", tar, ref} }
	c.pull = func(ref, to string) []string { return []string{"pull", ref, to} }
	return c
}

var clients = map[string]func(t *testing.T) *client{"docker": docker, "podman": podman, "skopeo": skopeo, "crane": crane}

// host is the registry.
func (s *shop) host() string { return strings.TrimPrefix(s.aws.Endpoint, "http://") }

// password is what 'aws ecr get-login-password' prints for an account.
func (s *shop) password(ctx context.Context, account string) (string, error) {
	key := "test"
	if account != "" {
		key = account
	}
	cfg := s.aws.Config.Copy()
	cfg.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: key, SecretAccessKey: "test"}, nil
	})
	out, err := ecr.NewFromConfig(cfg).GetAuthorizationToken(ctx, nil)
	if err != nil {
		return "", err
	}
	text, err := base64.StdEncoding.DecodeString(*out.AuthorizationData[0].AuthorizationToken)
	_, password, ok := strings.Cut(string(text), ":")
	if err == nil && !ok {
		err = errors.New("there is no password")
	}
	return password, err
}

// policy sets the repository's policy: who may do what.
func (s *shop) policy(t *testing.T, account string, actions ...string) {
	t.Helper()
	text := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::%s:root"},"Action":["%s"]}]}`, account, strings.Join(actions, `","`))
	if _, err := ecr.NewFromConfig(s.aws.Config).SetRepositoryPolicy(t.Context(), &ecr.SetRepositoryPolicyInput{RepositoryName: aws.String("app"), PolicyText: &text}); err != nil {
		t.Fatal(err)
	}
}

// runnable is an image that engines take.
func runnable(t *testing.T) v1.Image {
	t.Helper()
	img, err := random.Image(4000, 2)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Config = "linux", "amd64", v1.Config{Cmd: []string{"/nothing"}}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

// archive writes an image into a tar file.
func archive(t *testing.T, ref string) string {
	t.Helper()
	tag, err := name.NewTag(ref, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := tarball.WriteToFile(file, tag, runnable(t)); err != nil {
		t.Fatal(err)
	}
	return file
}

// What one client pushed every other pulls, by tag and by digest; each has to log in, and another
// account gets what the repository's policy gives it.
func TestClients(t *testing.T) {
	for name, open := range clients {
		t.Run(name, func(t *testing.T) {
			s := newShop(t)
			c := open(t)
			ref := s.uri + ":" + name
			tar := archive(t, ref)
			if c.load != nil {
				for _, args := range c.load(tar, ref) {
					c.must(args...)
				}
				t.Cleanup(func() { c.t = t; _, _ = c.run("", c.forget(ref)...) })
			}
			if out, err := c.run("", c.push(tar, ref)...); err == nil {
				t.Fatalf("it pushed without logging in:\n%s", out)
			}
			c.logIn(s, "")
			c.must(c.push(tar, ref)...)
			c.must(c.push(tar, ref)...) // again is no error
			d, err := s.client.Resolve(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range []string{ref, s.uri + "@" + string(d)} {
				if out, err := c.pulls(r); err != nil {
					t.Errorf("pulling %s: %v\n%s", r, err, out)
				}
			}
			t.Run("another account", func(t *testing.T) { c.t = t; otherAccount(t, s, c) })
			c.t = t
		})
	}
}

func otherAccount(t *testing.T, s *shop, c *client) {
	const denied = "is not authorized to perform: ecr:"
	// One the client has never seen: engines keep manifests by digest.
	d, err := s.client.Push(t.Context(), s.uri, runnable(t), "shared")
	if err != nil {
		t.Fatal(err)
	}
	ref, byDigest := s.uri+":shared", s.uri+"@"+string(d)
	c.logIn(s, friend)
	if out, err := c.pulls(byDigest); err == nil || !strings.Contains(out, denied+"BatchGetImage") || !strings.Contains(out, friend) {
		t.Errorf("without a policy: %v\n%s", err, out)
	}
	s.policy(t, "333333333333", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
	if out, err := c.pulls(byDigest); err == nil || !strings.Contains(out, denied) {
		t.Errorf("with a policy for somebody else: %v\n%s", err, out)
	}
	s.policy(t, friend, "ecr:BatchGetImage")
	if out, err := c.pulls(byDigest); err == nil {
		t.Errorf("it got layers, which the policy does not give:\n%s", out)
	}
	s.policy(t, friend, "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")
	for _, r := range []string{ref, byDigest} {
		if out, err := c.pulls(r); err != nil {
			t.Errorf("with the policy, pulling %s: %v\n%s", r, err, out)
		}
	}
	other := s.uri + ":friend"
	newTar := archive(t, other)
	if c.load != nil {
		for _, args := range c.load(newTar, other) {
			c.must(args...)
		}
		t.Cleanup(func() { c.t = t; _, _ = c.run("", c.forget(other)...) })
	}
	if out, err := c.run("", c.push(newTar, other)...); err == nil || !strings.Contains(out, "not authorized") && !strings.Contains(out, "denied") {
		t.Errorf("pushing with a policy for pulling: %v\n%s", err, out)
	}
	s.policy(t, friend, "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability",
		"ecr:InitiateLayerUpload", "ecr:UploadLayerPart", "ecr:CompleteLayerUpload", "ecr:PutImage")
	if out, err := c.run("", c.push(newTar, other)...); err != nil {
		t.Errorf("pushing with a policy for pushing: %v\n%s", err, out)
	}
}

// What is recorded beside an image is found by a client that knows nothing of slipway.
func TestReferrersForOthers(t *testing.T) {
	s := newShop(t)
	d := s.push(t, "v1")
	st := release.Statement{Kind: release.Tested, Subject: d, Repository: "app", Outcome: release.Succeeded, At: time.Now(), By: "ci@example.com"}
	if err := s.ledger().Append(t.Context(), s.uri, st); err != nil {
		t.Fatal(err)
	}
	password, err := s.password(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(s.uri+"@"+string(d), name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Referrers(ref, remote.WithAuth(&authn.Basic{Username: "AWS", Password: password}), remote.WithFilter("artifactType", release.ArtifactType))
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Annotations[release.AnnotationKind] != "tested" {
		t.Fatalf("referrers: %+v, %v", m, err)
	}
	c := skopeo(t)
	c.logIn(s, "")
	out, err := c.run("", "inspect", "--raw", "--tls-verify=false", "docker://"+s.uri+"@"+m.Manifests[0].Digest.String())
	if err != nil || !strings.Contains(out, string(d)) {
		t.Errorf("the statement's manifest: %v\n%s", err, out)
	}
}
