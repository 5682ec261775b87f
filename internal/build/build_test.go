package build

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-ecs/slipway/internal/image"
)

// repo makes a git repository with a Go service in it and one commit.
func repo(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	// Nothing of the user's configuration.
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	for k, v := range map[string]string{"GIT_AUTHOR_NAME": "Ann", "GIT_AUTHOR_EMAIL": "ann@example.com", "GIT_COMMITTER_NAME": "Ci",
		"GIT_COMMITTER_EMAIL": "ci@example.com", "GIT_AUTHOR_DATE": "2026-03-01T12:00:00+01:00", "GIT_COMMITTER_DATE": "2026-03-02T12:00:00+01:00"} {
		t.Setenv(k, v)
	}
	do(t, dir, "init", "-q", "-b", "main")
	write(t, dir, "go.mod", "module example.com/shop\n\ngo 1.24\n")
	write(t, dir, "main.go", "package main\n\nimport \"fmt\"\n\nvar version string\n\nfunc main() { fmt.Println(\"shop\", version) }\n")
	commit(t, dir, "first")
	return dir
}

func do(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, dir, message string) string {
	t.Helper()
	do(t, dir, "add", "-A")
	do(t, dir, "commit", "-q", "--allow-empty", "-m", message)
	return do(t, dir, "rev-parse", "HEAD")
}

func none(string) string { return "" }

// Both readers must agree: which of them reads depends on the machine.
func TestReadSource(t *testing.T) {
	dir := repo(t)
	first := do(t, dir, "rev-parse", "HEAD")
	do(t, dir, "tag", "v1.0.0")
	do(t, dir, "tag", "-a", "-m", "annotated", "release/1")
	do(t, dir, "remote", "add", "origin", "https://ci:secret@git.example.com/org/shop.git")
	tests := []struct {
		name   string
		change func()
		want   func(*Source)
	}{
		{"clean", func() {}, func(*Source) {}},
		{"our own files", func() { write(t, dir, ".slipway/qa/main.tf", "x") }, func(*Source) {}},
		{"a new file", func() { write(t, dir, "new.txt", "x") }, func(s *Source) { s.Dirty = true }},
		{"staged", func() { do(t, dir, "add", "new.txt") }, func(s *Source) { s.Dirty = true }},
		{"gone again", func() { do(t, dir, "rm", "-q", "-f", "new.txt") }, func(*Source) {}},
		{"changed", func() { write(t, dir, "main.go", "package main\n") }, func(s *Source) { s.Dirty = true }},
		{"put back, detached", func() { do(t, dir, "checkout", "-q", "main.go"); do(t, dir, "checkout", "-q", "--detach") }, func(s *Source) { s.Branch = "" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.change()
			want := Source{Revision: image.Revision{Commit: first, GitTags: []string{"release/1", "v1.0.0"}, Branch: "main"},
				Time: time.Date(2026, 3, 2, 11, 0, 0, 0, time.UTC), Author: "ann@example.com", Subject: "first",
				Remote: "https://git.example.com/org/shop"}
			tt.want(&want)
			for name, path := range map[string]string{"git": os.Getenv("PATH"), "the library": t.TempDir()} {
				t.Setenv("PATH", path)
				got, err := ReadSource(t.Context(), filepath.Join(dir), none)
				if err != nil {
					t.Fatal(name, err)
				}
				if got.Root = ""; !reflect.DeepEqual(got, want) {
					t.Errorf("by %s:\ngot  %+v\nwant %+v", name, got, want)
				}
			}
		})
	}
}

func TestNoCommit(t *testing.T) {
	dir := repo(t)
	empty, outside := filepath.Join(t.TempDir(), "empty"), t.TempDir()
	do(t, dir, "init", "-q", empty)
	for name, path := range map[string]string{"git": os.Getenv("PATH"), "the library": t.TempDir()} {
		t.Setenv("PATH", path)
		for in, want := range map[string]string{empty: "has no commit", outside: "is in no git repository"} {
			_, err := ReadSource(t.Context(), in, none)
			var no *NoCommitError
			if !errors.As(err, &no) || no.Reason != want {
				t.Errorf("by %s: error %v, want %q", name, err, want)
			}
		}
	}
}

func TestBranchOfCI(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		want string
	}{
		"none":             {nil, ""},
		"GitHub":           {map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_REF_TYPE": "branch", "GITHUB_REF": "refs/heads/main", "GITHUB_REF_NAME": "main"}, "main"},
		"GitHub, request":  {map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_REF_TYPE": "branch", "GITHUB_REF": "refs/pull/7/merge", "GITHUB_REF_NAME": "7/merge"}, ""},
		"GitHub, tag":      {map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": "main"}, ""},
		"Jenkins":          {map[string]string{"GIT_BRANCH": "origin/main"}, "main"},
		"Jenkins, multi":   {map[string]string{"BRANCH_NAME": "feature/x", "GIT_BRANCH": "feature/x"}, "feature/x"},
		"Jenkins, request": {map[string]string{"BRANCH_NAME": "PR-7", "CHANGE_ID": "7", "GIT_BRANCH": "main"}, ""},
		"GitLab":           {map[string]string{"CI_COMMIT_BRANCH": "main"}, "main"},
	} {
		if got := ciBranch(func(k string) string { return tt.env[k] }); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestWebAddress(t *testing.T) {
	for in, want := range map[string]string{
		"https://user:token@github.com/org/shop.git": "https://github.com/org/shop",
		"git@github.com:org/shop.git":                "https://github.com/org/shop",
		"ssh://git@github.com:22/org/shop.git":       "https://github.com/org/shop",
		"https://github.com/org/shop/":               "https://github.com/org/shop",
		"http://git.local:3000/org/shop":             "http://git.local:3000/org/shop",
		"/srv/git/shop.git":                          "",
		"file:///srv/git/shop.git":                   "",
		"../shop":                                    "",
		`C:\git\shop`:                                "",
		"":                                           "",
	} {
		if got := webAddress(in); got != want {
			t.Errorf("webAddress(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestRelation(t *testing.T) {
	dir := repo(t)
	a := do(t, dir, "rev-parse", "HEAD")
	b := commit(t, dir, "second")
	do(t, dir, "checkout", "-q", "-b", "side", a)
	c := commit(t, dir, "side")
	for name, path := range map[string]string{"git": os.Getenv("PATH"), "the library": t.TempDir()} {
		t.Setenv("PATH", path)
		for _, tt := range []struct {
			from, to string
			want     image.Relation
		}{{a, a, image.Same}, {a, b, image.Older}, {b, a, image.Newer}, {b, c, image.Diverged}, {strings.Repeat("0", 40), b, image.Unknown}} {
			if got, err := Relation(t.Context(), dir, tt.from, tt.to); err != nil || got != tt.want {
				t.Errorf("by %s: %s to %s: %v, %v; want %v", name, tt.from[:7], tt.to[:7], got, err, tt.want)
			}
		}
	}
}

func build(t *testing.T, o GoOptions) *Image {
	t.Helper()
	var err error
	if o.Source, err = ReadSource(t.Context(), o.Dir, none); err != nil {
		t.Fatal(err)
	}
	img, err := Go(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(img.Close)
	return img
}

func TestGoImage(t *testing.T) {
	dir := repo(t)
	do(t, dir, "remote", "add", "origin", "git@github.com:org/shop.git")
	var out bytes.Buffer
	got := build(t, GoOptions{Dir: dir, Package: ".", Platforms: []string{"linux/amd64"}, Progress: &out})
	if !strings.Contains(out.String(), "Building example.com/shop for linux/amd64") || !strings.Contains(out.String(), string(got.Digest)) {
		t.Errorf("progress:\n%s", &out)
	}
	img, ok := got.Content.(v1.Image)
	if !ok {
		t.Fatalf("%T is no image", got.Content)
	}
	f, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	head := do(t, dir, "rev-parse", "HEAD")
	for k, want := range map[string]string{"org.opencontainers.image.revision": head, "org.opencontainers.image.source": "https://github.com/org/shop",
		"org.opencontainers.image.created": "2026-03-02T11:00:00Z"} {
		if f.Config.Labels[k] != want {
			t.Errorf("label %s is %q, want %q", k, f.Config.Labels[k], want)
		}
	}
	m, err := img.Manifest()
	if err != nil || m.Annotations["org.opencontainers.image.revision"] != head {
		t.Errorf("annotations %v, %v", m.Annotations, err)
	}
	if f.Config.User != User || f.OS != "linux" || f.Architecture != "amd64" || !slices.Equal(f.Config.Entrypoint, []string{"/ko-app/shop"}) ||
		!f.Created.Equal(time.Date(2026, 3, 2, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", f)
	}
	files := unpack(t, img)
	if h := files["tmp"]; h.header == nil || h.header.Mode != 0o1777 {
		t.Errorf("/tmp: %+v", h.header)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(files[certificates].data) {
		t.Error("no certificates")
	}
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
		path := filepath.Join(t.TempDir(), "shop")
		if err := os.WriteFile(path, files["/ko-app/shop"].data, 0o755); err != nil {
			t.Fatal(err)
		}
		said, err := exec.Command(path).Output()
		if err != nil || string(said) != "shop "+head[:7]+"\n" {
			t.Errorf("it says %q, %v", said, err)
		}
	}
	var sbom struct {
		Version  string `json:"spdxVersion"`
		Packages []struct {
			Name string `json:"name"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(got.SBOM, &sbom); err != nil || sbom.Version == "" || !strings.Contains(string(got.SBOM), "example.com/shop") || got.SBOMType == "" {
		t.Errorf("bill of materials %s: %v\n%.300s", got.SBOMType, err, got.SBOM)
	}
}

type packed struct {
	header *tar.Header
	data   []byte
}

func unpack(t *testing.T, img v1.Image) map[string]packed {
	t.Helper()
	rc := mutate.Extract(img)
	defer func() { _ = rc.Close() }()
	out := map[string]packed{}
	r := tar.NewReader(rc)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = packed{h, data}
	}
}

// The same commit gives the same digest: in another folder, at another time, for another user, with a
// git tag that came later. Another commit gives another.
func TestSameCommitSameDigest(t *testing.T) {
	dir := repo(t)
	platform := []string{"linux/amd64"}
	one := build(t, GoOptions{Dir: dir, Package: ".", Platforms: platform})
	clone := filepath.Join(t.TempDir(), "elsewhere", "x")
	do(t, dir, "clone", "-q", dir, clone)
	do(t, clone, "tag", "v1.0.0")
	t.Setenv("GOCACHE", goEnv(t, "GOCACHE")) // the caches are in the home, and would be cold in another
	t.Setenv("GOMODCACHE", goEnv(t, "GOMODCACHE"))
	t.Setenv("HOME", t.TempDir())
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("GOOS", "windows")
	t.Setenv("GOFLAGS", "-buildvcs=true")
	if two := build(t, GoOptions{Dir: clone, Package: ".", Platforms: platform}); two.Digest != one.Digest || !bytes.Equal(two.SBOM, one.SBOM) {
		t.Errorf("%s and %s", one.Digest, two.Digest)
	}
	write(t, dir, "README", "x")
	commit(t, dir, "second")
	if three := build(t, GoOptions{Dir: dir, Package: ".", Platforms: platform}); three.Digest == one.Digest {
		t.Error("two commits have the same digest")
	}
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestTwoPlatforms(t *testing.T) {
	if testing.Short() {
		t.Skip("it compiles the standard library for another machine")
	}
	dir := repo(t)
	write(t, dir, "cmd/tiny/main.go", "package main\n\nfunc main() {}\n")
	commit(t, dir, "tiny")
	got := build(t, GoOptions{Dir: dir, Package: "cmd/tiny", Platforms: []string{"linux/amd64", "linux/arm64"}})
	idx, ok := got.Content.(v1.ImageIndex)
	if !ok {
		t.Fatalf("%T is no list", got.Content)
	}
	m, err := idx.IndexManifest()
	if err != nil || len(m.Manifests) != 2 || m.Manifests[0].Platform.String() != "linux/amd64" || m.Manifests[1].Platform.String() != "linux/arm64" {
		t.Fatalf("%+v, %v", m, err)
	}
	img, err := idx.Image(m.Manifests[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	f, err := img.ConfigFile()
	if err != nil || f.Architecture != "arm64" {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestGoThatDoesNotBuild(t *testing.T) {
	dir := repo(t)
	src, err := ReadSource(t.Context(), dir, none)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "lib/lib.go", "package lib\n")
	write(t, dir, "cmd/bad/main.go", "package main\n\nfunc main() { undefined() }\n")
	var compile *CompileError
	_, err = Go(t.Context(), GoOptions{Dir: dir, Package: "./cmd/bad", Source: src})
	if !errors.As(err, &compile) || !strings.Contains(compile.Output, "main.go:3:15: undefined: undefined") || strings.Contains(compile.Output, "exit status") {
		t.Errorf("error %v", err)
	}
	for pkg, want := range map[string]string{"./lib": "not `package main`", "./none": "none"} {
		if _, err := Go(t.Context(), GoOptions{Dir: dir, Package: pkg, Source: src}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", pkg, err)
		}
	}
	if _, err := Go(t.Context(), GoOptions{Dir: dir, Package: ".", Source: src, Platforms: []string{"windows/amd64"}}); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Go(ctx, GoOptions{Dir: dir, Package: ".", Source: src}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := Go(t.Context(), GoOptions{Dir: dir, Package: ".", Source: src}); err == nil || !strings.Contains(err.Error(), "go.dev/dl") {
		t.Errorf("error %v", err)
	}
}

func TestRunTests(t *testing.T) {
	dir := repo(t)
	write(t, dir, "main_test.go", "package main\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { t.Fatal(\"no good\") }\n")
	var out bytes.Buffer
	var failed *TestFailure
	if err := RunTests(t.Context(), dir, []string{"go", "test", "./..."}, &out); !errors.As(err, &failed) || failed.ExitCode != 1 || !strings.Contains(out.String(), "no good") {
		t.Errorf("error %v\n%s", err, &out)
	}
	if err := RunTests(t.Context(), dir, []string{"go", "version"}, &out); err != nil {
		t.Error(err)
	}
	if err := RunTests(t.Context(), dir, []string{"no-such-program"}, &out); err == nil || errors.As(err, &failed) {
		t.Errorf("error %v", err)
	}
	if err := RunTests(t.Context(), dir, nil, &out); err == nil {
		t.Error("no command was run well")
	}
	if runtime.GOOS == "windows" {
		return
	}
	// What the tests started ends with them.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- RunTests(ctx, dir, []string{"sh", "-c", "sleep 300 & echo $!; wait"}, w) }()
	pid, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid = strings.TrimSpace(pid)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	// It was killed; when the kernel gets round to it is the kernel's affair.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		state, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is left: %s", pid, state)
		}
	}
}

func TestDockerfileNeedsAnEngine(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")
	file := filepath.Join(dir, "Dockerfile")
	t.Setenv("PATH", t.TempDir())
	for engine, want := range map[string]string{"": "podman is not on PATH", "docker": "needs Docker, Podman or Buildah", "kaniko": "not supported"} {
		if _, err := Dockerfile(t.Context(), DockerfileOptions{Dockerfile: file, Engine: engine}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", engine, err, want)
		}
	}
	if _, err := Dockerfile(t.Context(), DockerfileOptions{Dockerfile: file + ".none"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestDockerfileArguments(t *testing.T) {
	got := engines[0].arguments(DockerfileOptions{Dockerfile: "a/Dockerfile", Context: "a", Target: "prod",
		Args: map[string]string{"B": "2", "A": "1"}, Secrets: map[string]string{"npm": "/run/npm", "token": "env:TOKEN"},
		Source: Source{Revision: image.Revision{Commit: "abc"}, Time: time.Unix(0, 0)}}, "linux/arm64", "id")
	want := "build --file a/Dockerfile --iidfile id --target prod --platform linux/arm64 --build-arg A=1 --build-arg B=2 --secret id=npm,src=/run/npm --secret id=token,env=TOKEN" +
		" --label org.opencontainers.image.created=1970-01-01T00:00:00Z --label org.opencontainers.image.revision=abc a"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

// Each engine that is installed and works builds the same: labels of the commit, secrets that leave no
// trace, a platform for each that is asked for.
func TestDockerfile(t *testing.T) {
	for _, name := range []string{"docker", "podman", "buildah"} {
		t.Run(name, func(t *testing.T) {
			e, err := findEngine(t.Context(), name)
			if err != nil {
				if os.Getenv("CI") == "true" {
					t.Fatal(err)
				}
				t.Skip(err)
			}
			dir := repo(t)
			write(t, dir, "Dockerfile", "FROM scratch\nCOPY main.go /main.go\n")
			commit(t, dir, "Dockerfile")
			src, err := ReadSource(t.Context(), dir, none)
			if err != nil {
				t.Fatal(err)
			}
			o := DockerfileOptions{Dockerfile: filepath.Join(dir, "Dockerfile"), Source: src, Engine: name}
			img, err := Dockerfile(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			f, err := img.Content.(v1.Image).ConfigFile()
			if err != nil || f.Config.Labels["org.opencontainers.image.revision"] != src.Commit {
				t.Errorf("%+v, %v", f, err)
			}
			if files := unpack(t, img.Content.(v1.Image)); len(files["main.go"].data) == 0 {
				t.Errorf("files %v", files)
			}
			o.Secrets = map[string]string{"token": "env:NOT_SET_ANYWHERE"}
			if _, err := Dockerfile(t.Context(), o); err == nil || !strings.Contains(err.Error(), "NOT_SET_ANYWHERE is not set") {
				t.Errorf("a secret that is not there: %v", err)
			}
			if kit, err := e.buildKit(t.Context(), DockerfileOptions{}); err != nil || kit != "1" {
				return // Docker without buildx makes images of its own platform only
			}
			o.Secrets, o.Platforms = nil, []string{"linux/amd64", "linux/arm64"}
			both, err := Dockerfile(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer both.Close()
			m, err := both.Content.(v1.ImageIndex).IndexManifest()
			if err != nil || len(m.Manifests) != 2 || m.Manifests[1].Platform.Architecture != "arm64" {
				t.Errorf("%+v, %v", m, err)
			}
		})
	}
}
