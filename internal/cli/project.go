package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/build"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/release"
	"github.com/slipway-ecs/slipway/internal/service"
)

// shipFlags are what every command about a service takes.
type shipFlags struct {
	file string
	json bool
}

func (f *shipFlags) add(cmd *cobra.Command) {
	if cmd.Name() == "logs" { // where -f means follow, as everywhere
		cmd.Flags().StringVar(&f.file, "file", "slipway.yaml", "the service's definition")
	} else {
		cmd.Flags().StringVarP(&f.file, "file", "f", "slipway.yaml", "the service's definition")
	}
	cmd.Flags().BoolVar(&f.json, "json", false, "print one JSON object a line")
}

// project is a service in its folder, with what reaches AWS and the registry.
type project struct {
	p        *printer
	dir      string
	file     *service.File
	cloud    *awscloud.Cloud
	registry registry.Client
	ledger   release.Ledger
	env      []string // of the programs it starts; nil: this process's
	getenv   func(string) string
	now      func() time.Time
	tools    toolchain

	took   *awscloud.Claim            // of a run that was killed, whose place this one has
	clouds map[string]*awscloud.Cloud // by region, but the default one
	homes  map[string]string          // repositories with their registries, by region and name
}

// openProject reads the definition; every fault in it is shown at its place.
func openProject(ctx context.Context, p *printer, file string, cloud *awscloud.Cloud) (*project, error) {
	f, err := readDefinition(file)
	if err != nil {
		return nil, err
	}
	if cloud == nil {
		if cloud, err = awscloud.Open(ctx, awscloud.Options{}); err != nil {
			return nil, err
		}
	}
	client := registry.Client{Credentials: cloud.RegistryCredentials}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, err
	}
	pr := &project{p: p, dir: dir, file: f, cloud: cloud, registry: client, ledger: release.Ledger{Referrers: client, Catalog: client}, getenv: os.Getenv, now: time.Now}
	keys, err := openSigning(f.Signing, dir, pr.getenv, cloud)
	pr.ledger.Signer, pr.ledger.Verifier = keys.signer, keys.verifier
	return pr, err
}

func readDefinition(file string) (*service.File, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, badInput("there is no %s here; go to the service's folder, or name the file with -f", file)
	}
	if err != nil {
		return nil, badInput("%w", err)
	}
	f, faults := service.Parse(file, data)
	if err := faults.Err(); err != nil {
		return nil, exitWith(ExitBadInput, err)
	}
	return f, nil
}

// open is how the commands get a project.
func (f *shipFlags) open(cmd *cobra.Command) (*project, error) {
	return openProject(cmd.Context(), newPrinter(cmd.OutOrStdout(), f.json), f.file, nil)
}

// spec is the service in an environment.
func (pr *project) spec(env string) (service.Spec, service.Target, error) {
	spec, faults := pr.file.Spec(env)
	if err := faults.Err(); err != nil {
		return spec, service.Target{}, exitWith(ExitBadInput, err)
	}
	target, faults := pr.file.Target(env)
	if err := faults.Err(); err != nil {
		return spec, target, exitWith(ExitBadInput, err)
	}
	return spec, target, nil
}

// cloudOf reaches the region of an environment.
func (pr *project) cloudOf(env string) (*awscloud.Cloud, error) {
	_, target, err := pr.spec(env)
	if err != nil {
		return nil, err
	}
	return pr.cloudIn(context.Background(), target.Region)
}

func (pr *project) cloudIn(ctx context.Context, region string) (*awscloud.Cloud, error) {
	if region == "" || region == pr.cloud.Region() {
		return pr.cloud, nil
	}
	if c := pr.clouds[region]; c != nil {
		return c, nil
	}
	c, err := awscloud.Open(ctx, awscloud.Options{Region: region}) // no call is made
	if err != nil {
		return nil, err
	}
	if pr.clouds == nil {
		pr.clouds = map[string]*awscloud.Cloud{}
	}
	pr.clouds[region] = c
	return c, nil
}

// repository is the image repository that is built into, with its registry.
func (pr *project) repository(ctx context.Context) (string, error) {
	return pr.home(ctx, "", pr.file.Repository)
}

// repositoryOf is the image repository an environment is deployed from, with its registry.
func (pr *project) repositoryOf(ctx context.Context, env string) (string, error) {
	_, target, err := pr.spec(env)
	if err != nil {
		return "", err
	}
	if target.Repository == pr.file.Repository { // the one that is built into, wherever the environment is
		return pr.repository(ctx)
	}
	return pr.home(ctx, target.Region, target.Repository)
}

// repositories are those of all environments, the one that is built into first.
func (pr *project) repositories(ctx context.Context) ([]string, error) {
	repo, err := pr.repository(ctx)
	if err != nil {
		return nil, err
	}
	out := []string{repo}
	for _, env := range pr.file.Environments() {
		if repo, err = pr.repositoryOf(ctx, env); err != nil {
			return nil, err
		}
		if !slices.Contains(out, repo) {
			out = append(out, repo)
		}
	}
	return out, nil
}

func (pr *project) home(ctx context.Context, region, name string) (string, error) {
	if ref, err := image.ParseReference(name); err == nil && ref.Registry != "" {
		return ref.Name(), nil
	}
	key := region + "/" + name
	if uri := pr.homes[key]; uri != "" {
		return uri, nil
	}
	cloud, err := pr.cloudIn(ctx, region)
	if err != nil {
		return "", err
	}
	r, err := cloud.Repositories().Read(ctx, name)
	if errors.Is(err, clusterinfra.ErrNotFound) {
		return "", fmt.Errorf("there is no image repository %q in %s; make it with a slipway_repository, or name another one in slipway.yaml (repository:)", name, cloud.Region())
	}
	if err != nil {
		return "", fmt.Errorf("looking up the image repository: %w", err)
	}
	if pr.homes == nil {
		pr.homes = map[string]string{}
	}
	pr.homes[key] = r.URI
	return r.URI, nil
}

// history is the ledger of these repositories as one; what was copied with an image counts once.
func (pr *project) history(ctx context.Context, repos ...string) ([]release.Statement, error) {
	var all []release.Statement
	for i, repo := range repos {
		if slices.Contains(repos[:i], repo) {
			continue
		}
		got, err := pr.ledger.History(ctx, repo)
		if err != nil {
			return nil, err
		}
		all = append(all, got...)
	}
	return release.Distinct(all), nil
}

func (pr *project) source(ctx context.Context) (build.Source, error) {
	return build.ReadSource(ctx, pr.dir, pr.getenv)
}

func (pr *project) tagPolicy() image.Policy {
	t := pr.file.ImageTags
	return image.Policy{HashLength: t.HashLength, Latest: t.Latest, MainBranches: t.Branches, GitTags: t.GitTags, Prefixes: t.Prefixes}
}

// who is the person or the machine that acts, for the ledger.
func (pr *project) who(ctx context.Context) string {
	for _, name := range []string{"SLIPWAY_BY", "BUILD_USER_EMAIL", "BUILD_USER_ID", "GITLAB_USER_EMAIL", "GITHUB_ACTOR"} {
		if v := pr.getenv(name); v != "" {
			return v
		}
	}
	git := exec.CommandContext(ctx, "git", "config", "user.email")
	git.Dir = pr.dir
	if out, err := git.Output(); err == nil && strings.TrimSpace(string(out)) != "" {
		return strings.TrimSpace(string(out))
	}
	if id, err := pr.cloud.Identity(ctx); err == nil {
		return id.ARN
	}
	return cmp.Or(pr.getenv("USER"), "unknown")
}

func (pr *project) buildURL() string {
	for _, name := range []string{"BUILD_URL", "CI_JOB_URL"} {
		if v := pr.getenv(name); v != "" {
			return v
		}
	}
	if run := pr.getenv("GITHUB_RUN_ID"); run != "" {
		return pr.getenv("GITHUB_SERVER_URL") + "/" + pr.getenv("GITHUB_REPOSITORY") + "/actions/runs/" + run
	}
	return ""
}

// record appends a statement to the ledger.
func (pr *project) record(ctx context.Context, repo string, s release.Statement) error {
	s.Repository, s.At, s.BuildURL = pr.file.Repository, pr.now(), pr.buildURL()
	if s.By == "" {
		s.By = pr.who(ctx)
	}
	return pr.ledger.Append(ctx, repo, s)
}

// details passes a program's output to the printer line by line.
func (pr *project) details() io.Writer {
	return &lineWriter{f: func(line string) {
		if strings.TrimSpace(line) != "" {
			pr.p.Detail("%s", line)
		}
	}}
}
