package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/release"
	"github.com/slipway-ecs/slipway/internal/tfexec"
)

func newDemoCommand() *cobra.Command {
	var d demo
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "The whole way from commit to QA to PROD, on this machine",
		Long: `Starts a local AWS in this process and does what a team does, for real: Terraform makes a cluster
with instances in three zones, a service is tested, built and pushed, deployed to qa, approved,
and the same digest deployed to prod. Then a second commit is shipped under load, and a third,
broken one fails as it should, with the reason.

It stays up until Ctrl-C, so that you can look around; nothing of it remains afterwards.`,
		Args: cobra.NoArgs,
		Example: `  slipway demo
  slipway demo --once
  slipway demo --once --json --runtime sandbox`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d.p = newPrinter(cmd.OutOrStdout(), d.json)
			return d.run(cmd.Context())
		},
	}
	cmd.Flags().BoolVar(&d.once, "once", false, "end after the summary")
	cmd.Flags().BoolVar(&d.json, "json", false, "print one JSON event a line")
	cmd.Flags().StringVar(&d.runtime, "runtime", "auto", "what runs containers: auto, docker or sandbox")
	cmd.Flags().IntVar(&d.port, "port", 4566, "port of the local AWS on 127.0.0.1")
	return cmd
}

// demo is one run of the demo.
type demo struct {
	once, json bool
	runtime    string
	port       int

	p     *printer
	dir   string // everything it writes is below
	local *runningLocal
	env   []string
	work  *workshop
	pr    *project
	tools toolchain
	repo  string

	urls        map[string]string
	qa, prod    image.Digest // what runs in the end
	first       image.Digest
	prodTag     string
	load        loadResult
	diagnosis   string
	clusterTook time.Duration
	ok          bool // every step did what it should
}

func (d *demo) run(ctx context.Context) (err error) {
	if d.runtime == "virtual" {
		return badInput("the demo needs real processes: --runtime auto, docker or sandbox")
	}
	if d.dir, err = os.MkdirTemp("", "slipway-demo-"); err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	began := time.Now()
	steps := []func(context.Context) error{d.startAWS, d.makeCluster, d.firstImage, d.toQA, d.toProd, d.underLoad, d.broken}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			if ctx.Err() != nil {
				return exitWith(130, errors.New("interrupted"))
			}
			d.p.Fail("%v", err)
			return &silentError{exitWith(max(exitCode(err), ExitFailed), err)}
		}
	}
	if err := d.summary(ctx, time.Since(began)); err != nil {
		return err
	}
	d.ok = true
	if d.once {
		return nil
	}
	d.p.Data("waiting", "\nCtrl-C ends it and removes everything.", nil)
	select {
	case <-ctx.Done():
	case <-d.local.Done():
	}
	return nil
}

// cleanUp ends what runs, in order, and removes what was written.
func (d *demo) cleanUp() error {
	var err error
	if d.local != nil {
		err = d.local.Stop()
	}
	if removed := os.RemoveAll(d.dir); removed != nil {
		err = errors.Join(err, fmt.Errorf("removing the demo's files: %w", removed))
	}
	if d.once && d.ok && err == nil {
		d.p.Data("ok", fmt.Sprintf("demo ok: qa=%s prod=%s", d.qa, d.prod), map[string]any{"qa": d.qa, "prod": d.prod})
	}
	return err
}

func (d *demo) startAWS(ctx context.Context) error {
	d.p.Step("aws", "Start a local AWS", "ECS, ECR, load balancers, Auto Scaling, logs, secrets …: real protocols, real containers, one address of this machine.")
	var err error
	d.local, err = startLocal(ctx, local.Config{Runtime: d.runtime, Log: slog.New(slog.DiscardHandler)}, d.port)
	if err != nil {
		return err
	}
	d.env = demoEnv(os.Environ(), d.local.Endpoint())
	cloud, err := awscloud.Open(ctx, awscloud.Options{Endpoint: d.local.Endpoint(), Region: "us-east-1"})
	if err != nil {
		return err
	}
	d.p.Done("%s, containers run with %s", d.local.Endpoint(), d.local.RuntimeName())
	if d.work, err = newWorkshop(filepath.Join(d.dir, "iplookup")); err != nil {
		return err
	}
	d.tools = toolchain{dir: filepath.Join(d.dir, "terraform")}
	if d.pr, err = openProject(ctx, d.p, filepath.Join(d.work.dir, "slipway.yaml"), cloud); err != nil {
		return err
	}
	d.pr.env, d.pr.tools = d.env, d.tools
	d.pr.getenv = func(name string) string {
		if name == "SLIPWAY_BY" {
			return "ci@example.com"
		}
		if strings.HasPrefix(name, "BRANCH") || strings.HasPrefix(name, "CI_") || strings.HasPrefix(name, "GIT") || strings.HasPrefix(name, "BUILD") {
			return "" // the demo is not the CI job it may run in
		}
		return os.Getenv(name)
	}
	return nil
}

// demoEnv is this process's environment without anything that leads to a real account.
func demoEnv(env []string, endpoint string) []string {
	var out []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, "AWS_") {
			out = append(out, kv)
		}
	}
	return append(out, localEnv(endpoint, "us-east-1")...)
}

const clusterModule = `terraform {
  required_providers {
    slipway = {
      source  = "slipway/slipway"
      version = "%s"
    }
  }
}

provider "slipway" {}

resource "slipway_cluster" "demo" {
  name = "demo"

  instances = {
    type = "t3.small"
    min  = 3
    max  = 6
  }

  balancer = {
    listeners = {
      qa   = { port = 8080 }
      prod = { port = 8081 }
    }
  }
}

resource "slipway_repository" "iplookup" {
  name         = "iplookup"
  force_delete = true
}

output "urls" {
  value = slipway_cluster.demo.urls
}

output "repository" {
  value = slipway_repository.iplookup.uri
}
`

func (d *demo) makeCluster(ctx context.Context) error {
	d.p.Step("cluster", "Terraform makes the platform", "slipway_cluster: three t3.small in three zones, a load balancer with a listener for qa and one for prod. slipway_repository: where images go.")
	began := time.Now()
	dir := filepath.Join(d.dir, "platform")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), fmt.Appendf(nil, clusterModule, Version), 0o644); err != nil {
		return err
	}
	r, err := d.pr.tools.runner(ctx, d.p, dir, d.env)
	if err != nil {
		return err
	}
	d.p.Line("%s %s", r.Tool.Name, r.Tool.Version)
	if err := r.Init(ctx); err != nil {
		return err
	}
	if _, err := r.Plan(ctx, planFile, tfexec.PlanOptions{}); err != nil {
		return err
	}
	if _, err := r.Apply(ctx, planFile); err != nil {
		return err
	}
	out, err := r.Output(ctx)
	if err != nil {
		return err
	}
	d.urls = map[string]string{}
	if urls, ok := out["urls"].Value.(map[string]any); ok {
		for k, v := range urls {
			d.urls[k], _ = v.(string)
		}
	}
	d.repo, _ = out["repository"].Value.(string)
	d.clusterTook = time.Since(began)
	d.p.Done("cluster demo with 3 instances, %s", d.repo)
	return nil
}

func (d *demo) firstImage(ctx context.Context) error {
	d.p.Step("build", "Test, build and push the first commit", "The image has a name that never changes, its digest. Tags are for people: the commit's hash, its git tags, latest.")
	if err := d.work.commit("iplookup answers with the caller's address", "v1.0.0"); err != nil {
		return err
	}
	var err error
	d.first, err = d.produce(ctx)
	return err
}

func (d *demo) produce(ctx context.Context) (image.Digest, error) {
	if err := d.pr.test(ctx); err != nil {
		return "", err
	}
	return d.pr.produce(ctx, true, true, false)
}

func (d *demo) toQA(ctx context.Context) error {
	d.p.Step("qa", "Terraform deploys the digest to QA", "A rendered root module, a saved plan, an apply of that plan. The apply waits until the tasks serve.")
	if err := d.pr.ship(ctx, "qa", d.repo, d.first); err != nil {
		return err
	}
	d.qa = d.first
	return nil
}

func (d *demo) toProd(ctx context.Context) error {
	d.p.Step("prod", "Approve, and deploy the same digest to PROD", "Somebody tests QA and approves. The approval is bound to the digest and stored beside the image; without it, prod refuses.")
	if err := d.pr.allowed(ctx, "prod", "qa", d.repo, d.first); exitCode(err) != ExitRefused {
		return fmt.Errorf("prod should refuse an image that nobody has approved: %v", err)
	}
	d.p.Line("not approved yet: prod refuses")
	if err := d.promote(ctx); err != nil {
		return err
	}
	return d.checkTag(ctx)
}

// promote approves what runs in qa and deploys it to prod.
func (d *demo) promote(ctx context.Context) error {
	digest, err := d.pr.runningIn(ctx, "qa", d.repo)
	if err != nil {
		return err
	}
	if err := d.pr.approve(ctx, "prod", d.repo, digest, "qa@example.com", "tested by hand"); err != nil {
		return err
	}
	if err := d.pr.allowed(ctx, "prod", "qa", d.repo, digest); err != nil {
		return err
	}
	if err := d.pr.ship(ctx, "prod", d.repo, digest); err != nil {
		return err
	}
	d.prod = digest
	return nil
}

func (d *demo) checkTag(ctx context.Context) error {
	hash, err := d.work.short()
	if err != nil {
		return err
	}
	d.prodTag = "prod_" + hash
	got, err := d.pr.registry.Resolve(ctx, d.repo+":"+d.prodTag)
	if err == nil && got != d.prod {
		err = fmt.Errorf("%s is on %s", d.prodTag, got)
	}
	return err
}

func (d *demo) underLoad(ctx context.Context) error {
	d.p.Step("load", "Ship a second commit while prod is under load", "Start, healthy, swap, drain: not one request may fail.")
	if err := d.work.improve(); err != nil {
		return err
	}
	if err := d.work.commit("Say hello to the caller", "v1.1.0"); err != nil {
		return err
	}
	load := startLoad(ctx, d.urls["prod"])
	second, err := d.produce(ctx)
	if err == nil {
		err = d.pr.ship(ctx, "qa", d.repo, second)
	}
	if err == nil {
		d.qa = second
		err = d.promote(ctx)
	}
	d.load = load.stop()
	if err != nil {
		return err
	}
	if d.load.Failed > 0 || d.load.Requests == 0 {
		return fmt.Errorf("%d of %d requests failed while prod was replaced; the first: %s", d.load.Failed, d.load.Requests, d.load.FirstFailure)
	}
	d.p.Done("%d requests to prod meanwhile, %d failed", d.load.Requests, d.load.Failed)
	return d.checkTag(ctx)
}

func (d *demo) broken(ctx context.Context) error {
	d.p.Step("broken", "Ship a third, broken commit to QA", "Its tests pass, but it cannot start. The deployment must fail, roll back, and say why.")
	if err := d.work.breakIt(); err != nil {
		return err
	}
	if err := d.work.commit("Look the country up in a database", ""); err != nil {
		return err
	}
	third, err := d.produce(ctx)
	if err != nil {
		return err
	}
	_, err = d.pr.deploy(ctx, "qa", d.repo, third)
	var failure *tfexec.Failure
	switch {
	case err == nil:
		return errors.New("the broken commit was deployed as if it were good")
	case !errors.As(err, &failure) || exitCode(err) != ExitRolledBack:
		return fmt.Errorf("the deployment should have failed and been rolled back: %w", err)
	}
	d.diagnosis = causeOf(err)
	d.p.Done("%s failed, as it should:", failure.Tool.Name)
	for _, diag := range failure.Diagnostics {
		d.p.Line("%s", diag.String())
	}
	if running, err := d.pr.runningIn(ctx, "qa", d.repo); err != nil || running != d.qa {
		return fmt.Errorf("qa should run %s again, not %s (%v)", d.qa.Short(), running.Short(), err)
	}
	if err := d.pr.smoke(ctx, "qa"); err != nil {
		return err
	}
	d.p.Done("qa runs %s again", d.qa.Short())
	return nil
}

func (d *demo) summary(ctx context.Context, took time.Duration) error {
	for env, want := range map[string]image.Digest{"qa": d.qa, "prod": d.prod} {
		if got, err := d.pr.runningIn(ctx, env, d.repo); err != nil || got != want {
			return fmt.Errorf("%s should run %s, not %s (%v)", env, want.Short(), got.Short(), err)
		}
	}
	if d.qa != d.prod {
		return fmt.Errorf("qa and prod should run the same digest, not %s and %s", d.qa.Short(), d.prod.Short())
	}
	history, err := d.pr.ledger.History(ctx, d.repo)
	if err != nil {
		return err
	}
	now, _ := release.Current(history, "prod")
	text := fmt.Sprintf(`
%s
  qa         %s
  prod       %s  (%s)
  under load %d requests to prod, %d failed
  broken     %s
  platform   made in %.0fs, all of it in %.0fs

%s
  qa         %s
  prod       %s
  AWS        %s

%s
`, d.p.paint(bold, "What happened"), d.qa, d.prod, d.prodTag, d.load.Requests, d.load.Failed, d.diagnosis, d.clusterTook.Seconds(), took.Seconds(),
		d.p.paint(bold, "Look at it"), d.urls["qa"], d.urls["prod"], d.local.Endpoint(), d.pr.why("prod", now, release.About(history, now.Digest)))
	if !d.once {
		on, err := d.goOn()
		if err != nil {
			return err
		}
		text += on
	}
	d.p.step = ""
	d.p.Data("summary", strings.TrimRight(text, "\n"), map[string]any{"qa": d.qa, "prod": d.prod, "prodTag": d.prodTag, "requests": d.load.Requests, "failed": d.load.Failed, "broken": d.diagnosis,
		"urls": d.urls, "endpoint": d.local.Endpoint(), "seconds": took.Seconds()})
	return nil
}

// goOn tells how to go on by hand, with this very program on PATH.
func (d *demo) goOn() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(d.dir, "bin")
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.Symlink(self, filepath.Join(bin, "slipway"))); err != nil {
		return "", fmt.Errorf("putting slipway on a path: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n  cd %s\n  export PATH=%s:$PATH\n", d.p.paint(bold, "Go on by hand, in another terminal"), d.work.dir, bin)
	for _, kv := range localEnv(d.local.Endpoint(), "us-east-1") {
		fmt.Fprintf(&b, "  export %s\n", kv)
	}
	fmt.Fprintf(&b, "  slipway status\n  slipway logs prod\n  slipway history\n  slipway why prod\n  slipway dashboard\n  slipway rollback prod\n  aws ecs describe-services --cluster demo --services iplookup-prod\n  aws ecr describe-images --repository-name iplookup\n  curl %s\n", d.urls["prod"])
	return b.String(), nil
}
