package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/slipway-ecs/slipway/internal/build"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/pipeline"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/release"
	"github.com/slipway-ecs/slipway/internal/service"
)

// delivery does the stages of one commit of one service. What it knows of stages before it has read
// from the registry, from AWS and, where there is nothing better, from .slipway in the service's folder.
type delivery struct {
	pr              *project
	reports         string
	tested          bool
	approveAs, note string
	ask             func(question string) (bool, error) // nil = nobody is there to be asked

	mu     sync.Mutex // of what is printed by those who are told
	src    build.Source
	hash   string // the commit's tag
	repo   string
	digest image.Digest // empty = not pushed
}

var (
	_ pipeline.Worker  = (*delivery)(nil)
	_ pipeline.Watcher = (*delivery)(nil)
)

// stagesOf a service are those of the environments its pipeline delivers to.
func stagesOf(f *service.File) []pipeline.Stage {
	var envs []pipeline.Environment
	for _, name := range f.Pipeline.Environments {
		p := f.Promotion[name]
		envs = append(envs, pipeline.Environment{Name: name, From: p.From, Approved: p.Approvals > 0})
	}
	return pipeline.Stages(envs)
}

func (d *delivery) stages() []pipeline.Stage { return stagesOf(d.pr.file) }

// prepare reads what is delivered.
func (d *delivery) prepare(ctx context.Context) error {
	src, err := d.pr.source(ctx)
	if err != nil {
		return exitWith(ExitBadInput, err)
	}
	if src.Dirty {
		return exitWith(ExitRefused, fmt.Errorf("the working tree of %s has changes that are in no commit, and a pipeline delivers commits; commit them", src.Root))
	}
	d.src = src
	if d.hash, err = d.pr.tagPolicy().Hash(src.Revision); err != nil {
		return exitWith(ExitBadInput, err)
	}
	if d.pr.buildURL() == "" {
		d.pr.p.Line("%s, commit %s by %s", d.pr.file.Service, d.hash, src.Author)
	}
	return nil
}

// find looks for the commit's image and what is known of it; the digest stays empty if there is none.
func (d *delivery) find(ctx context.Context) (own []release.Statement, err error) {
	if d.repo == "" {
		if d.repo, err = d.pr.repository(ctx); err != nil {
			return nil, err
		}
	}
	if d.digest == "" {
		digest, err := d.pr.registry.Resolve(ctx, d.repo+":"+d.hash)
		if none := (*registry.NotFoundError)(nil); errors.As(err, &none) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		d.digest = digest
	}
	return d.pr.ledger.Read(ctx, d.repo, d.digest)
}

// need is find for stages that cannot be without an image.
func (d *delivery) need(ctx context.Context) ([]release.Statement, error) {
	own, err := d.find(ctx)
	if err == nil && d.digest == "" {
		err = exitWith(ExitRefused, fmt.Errorf("there is no image of commit %s in %s; run the stage push first", d.hash, d.repo))
	}
	return own, err
}

// history is the ledger of every repository the service has.
func (d *delivery) history(ctx context.Context) ([]release.Statement, error) {
	repos, err := d.pr.repositories(ctx)
	if err != nil {
		return nil, err
	}
	return d.pr.history(ctx, repos...)
}

// Do implements pipeline.Worker.
func (d *delivery) Do(ctx context.Context, s pipeline.Stage) (pipeline.Result, error) {
	switch s.Kind {
	case pipeline.Test:
		return d.test(ctx)
	case pipeline.Build:
		return d.build(ctx)
	case pipeline.Push:
		return d.push(ctx)
	case pipeline.Scan:
		return d.scan(ctx)
	case pipeline.Approve:
		return d.approve(ctx, s.Environment)
	case pipeline.Deploy:
		return d.deploy(ctx, s.Environment)
	case pipeline.Smoke, pipeline.Verify:
		return d.check(ctx, s)
	}
	return pipeline.Result{}, fmt.Errorf("not supported: stage %s", s.Name())
}

// name is what people call what is delivered.
func (d *delivery) name() string {
	if len(d.src.GitTags) > 0 {
		return fmt.Sprintf("%s %s (%s)", d.pr.file.Service, d.src.GitTags[0], d.hash)
	}
	return d.pr.file.Service + " " + d.hash
}

// Delivery implements pipeline.Worker.
func (d *delivery) Delivery(context.Context) pipeline.Delivery {
	out := pipeline.Delivery{Service: d.pr.file.Service, Release: d.hash, Commit: d.src.Commit, Digest: string(d.digest), Author: d.src.Author, BuildURL: d.pr.buildURL()}
	if len(d.src.GitTags) > 0 {
		out.Release = d.src.GitTags[0]
	}
	return out
}

var stageWhy = map[pipeline.Kind]string{
	pipeline.Test: "tests of the commit", pipeline.Build: "image of the commit", pipeline.Push: "image and tags to the registry", pipeline.Scan: "known weaknesses in the image",
	pipeline.Approve: "somebody says that it may go there", pipeline.Deploy: "the digest by Terraform", pipeline.Smoke: "does it answer", pipeline.Verify: "does the very digest run and answer",
}

// Begun implements pipeline.Watcher.
func (d *delivery) Begun(s pipeline.Stage) {
	d.pr.p.Step(s.Name(), s.Name(), stageWhy[s.Kind])
	d.pr.p.Data("stage", "", map[string]any{"stage": s.Name(), "state": "begun"})
}

// Ended implements pipeline.Watcher.
func (d *delivery) Ended(s pipeline.Stage, r pipeline.Result, err error) {
	facts := map[string]any{"stage": s.Name(), "state": "done"}
	if d.digest != "" {
		facts["digest"] = d.digest
	}
	switch stop := (*pipeline.Stop)(nil); {
	case errors.As(err, &stop):
		facts["state"], facts["reason"] = stop.End, stop.Error()
		d.pr.p.Line("%s", stop.Reason)
	case err != nil:
		facts["state"], facts["reason"] = "failed", err.Error()
		first, _, _ := strings.Cut(err.Error(), "\n")
		d.pr.p.Fail("%s: %s", s.Name(), first)
	default:
		if r.Already {
			facts["state"] = "already"
		}
		if r.URL != "" {
			facts["url"] = r.URL
		}
		if r.Said != "" {
			d.pr.p.Done("%s", r.Said)
		}
	}
	d.pr.p.Data("stage", "", facts)
}

// deploy brings the image to an environment.
func (d *delivery) deploy(ctx context.Context, env string) (pipeline.Result, error) {
	var r pipeline.Result
	if _, err := d.need(ctx); err != nil {
		return r, err
	}
	history, err := d.history(ctx)
	if err != nil {
		return r, err
	}
	if now, ok := release.Current(history, env); ok && now.Digest == d.digest {
		own, err := d.pr.repositoryOf(ctx, env)
		if err != nil {
			return r, err
		}
		if got, err := d.pr.runningIn(ctx, env, own); err == nil && got == d.digest {
			r.Already, r.Said, r.URL = true, fmt.Sprintf("%s runs %s already", env, d.digest.Short()), d.url(ctx, env)
			_, err := d.pr.tagDeployed(ctx, env, own, d.digest) // the run that deployed it may have been killed before
			return r, err
		}
	}
	if err := d.overtaken(history, env); err != nil {
		return r, err
	}
	err = d.pr.claiming(ctx, env, "deployment of "+d.digest.Short(), func(ctx context.Context) error {
		if err := d.pr.allowed(ctx, env, "", d.repo, d.digest); err != nil {
			return err
		}
		own, err := d.pr.bring(ctx, d.repo, d.digest, env)
		if err != nil {
			return err
		}
		done, err := d.pr.deploy(ctx, env, own, d.digest)
		if err != nil {
			return err
		}
		r.URL, r.Said = done.URL, strings.TrimSpace(fmt.Sprintf("%s runs %s %s", env, d.digest.Short(), done.URL))
		return nil
	})
	return r, err
}

// overtaken ends a delivery to an environment that a newer commit has reached, or has left behind where
// it comes from. It is not undone by running an old pipeline again: that is what rollback is for.
func (d *delivery) overtaken(history []release.Statement, env string) error {
	ours := pushedImage(history, d.digest)
	for _, e := range []string{env, d.pr.file.Promotion[env].From} {
		now, runs := release.Current(history, e)
		if e == "" || !runs || now.Digest == d.digest {
			continue
		}
		if _, is := pipeline.Newer(ours, []pipeline.Image{pushedImage(history, now.Digest)}); is {
			return &pipeline.Stop{End: pipeline.Superseded, Reason: fmt.Sprintf("%s runs a newer commit of %s already: %.7s", e, ours.Branch, pushedImage(history, now.Digest).Commit),
				Remedy: "to go back to this one: slipway rollback " + e + " --to " + d.hash}
		}
	}
	return nil
}

func (d *delivery) url(ctx context.Context, env string) string {
	spec, _, err := d.pr.spec(env)
	if err != nil {
		return ""
	}
	cloud, err := d.pr.cloudOf(env)
	if err != nil {
		return ""
	}
	st, err := cloud.Deploy().Status(ctx, deploy.Ref{Cluster: spec.Cluster, Service: deploy.ServiceName(spec)})
	if err != nil {
		return ""
	}
	return st.URL
}
