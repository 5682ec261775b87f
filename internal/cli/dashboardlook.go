package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/release"
	"github.com/slipway-ecs/slipway/internal/service"
	"github.com/slipway-ecs/slipway/internal/web"
)

// boardSource is what the dashboard shows: the services' projects, and the clusters they are on.
type boardSource struct {
	cloud           *awscloud.Cloud
	files, clusters []string
	readOnly        bool
	now             func() time.Time

	projects []*project
	account  string
	you      string
}

// open reads the definitions: faults in them are told at once, not on a page.
func (b *boardSource) open(ctx context.Context) error {
	var faults []error
	by := map[string]string{}
	for _, file := range b.files {
		pr, err := openProject(ctx, silentPrinter(), file, b.cloud)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if other := by[pr.file.Service]; other != "" {
			faults = append(faults, badInput("service %s is defined twice: in %s and %s", pr.file.Service, other, file))
		}
		by[pr.file.Service] = file
		b.projects = append(b.projects, pr)
	}
	if err := errors.Join(faults...); err != nil {
		return exitWith(ExitBadInput, err)
	}
	id, err := b.cloud.Identity(ctx)
	if err != nil {
		return fmt.Errorf("asking AWS whose credentials these are: %w", err)
	}
	b.account = id.Account
	if !b.readOnly {
		b.you = b.projects[0].who(ctx)
	}
	return nil
}

func (b *boardSource) names() []string {
	var out []string
	for _, pr := range b.projects {
		out = append(out, pr.file.Service)
	}
	return out
}

// asking is how many services or clusters are read at once.
const asking = 4

// Look reads all services and clusters.
func (b *boardSource) Look(ctx context.Context) (*web.Picture, error) {
	p := &web.Picture{At: b.now(), Account: b.account, Region: b.cloud.Region(), You: b.you, Services: make([]web.Service, len(b.projects))}
	names := slices.Clone(b.clusters)
	for _, pr := range b.projects {
		for _, env := range pr.file.Environments() {
			spec, target, err := pr.spec(env)
			if err == nil && (target.Region == "" || target.Region == b.cloud.Region()) && !slices.Contains(names, spec.Cluster) {
				names = append(names, spec.Cluster)
			}
		}
	}
	p.Clusters = make([]web.Cluster, len(names))
	var g errgroup.Group
	g.SetLimit(asking)
	for i, pr := range b.projects {
		g.Go(func() error { p.Services[i] = pr.look(ctx); return nil })
	}
	for i, name := range names {
		g.Go(func() error { p.Clusters[i] = lookCluster(ctx, b.cloud, name); return nil })
	}
	_ = g.Wait() // what could not be read says so in its place
	return p, ctx.Err()
}

// look is the service as the ledger and ECS tell it.
func (pr *project) look(ctx context.Context) web.Service {
	s := web.Service{Name: pr.file.Service, Team: pr.file.Team}
	repos, err := pr.repositories(ctx)
	var all []release.Statement
	if err == nil {
		s.Repository = repos[0]
		all, err = pr.history(ctx, repos...)
	}
	if err != nil {
		s.Problem = "the ledger could not be read: " + err.Error()
	}
	for _, env := range pr.file.Environments() {
		s.Environments = append(s.Environments, pr.lookAt(ctx, env, all))
	}
	for i := range s.Environments {
		s.Environments[i].Next = pr.next(&s.Environments[i], s.Environments, all)
	}
	for _, st := range slices.Backward(all) {
		if len(s.History) == 200 {
			break
		}
		note := cmp.Or(st.Details["cause"], st.Details["note"])
		if st.Kind == release.Scanned && st.Severity != "" {
			note = cmp.Or(note, "worst finding: "+string(st.Severity))
		}
		s.History = append(s.History, web.Event{At: st.At, What: string(st.Kind), Environment: st.Environment, Release: releaseName(pr.tagPolicy(), release.About(all, st.Subject)),
			Digest: string(st.Subject), Outcome: string(st.Outcome), By: st.By, Note: note, Link: st.BuildURL, Signed: st.Signature.String()})
	}
	return s
}

func (pr *project) lookAt(ctx context.Context, env string, all []release.Statement) web.Environment {
	e := web.Environment{Name: env, State: web.Unknown}
	spec, _, err := pr.spec(env)
	if err != nil {
		e.Says = err.Error()
		return e
	}
	e.Cluster = spec.Cluster
	if now, ok := release.Current(release.Credible(all, false), env); ok {
		own := release.About(all, now.Digest)
		e.Release, e.Digest, e.Since, e.Why = releaseName(pr.tagPolicy(), own), string(now.Digest), now.Since, pr.why(env, now, own)
	}
	cloud, err := pr.cloudOf(env)
	if err != nil {
		e.Says = err.Error()
		return e
	}
	ref := deploy.Ref{Cluster: spec.Cluster, Service: deploy.ServiceName(spec)}
	if spec.Kind == service.KindJob {
		j, err := cloud.Deploy().Job(ctx, ref)
		return pr.lookAtJob(e, j, err)
	}
	st, err := cloud.Deploy().Status(ctx, ref)
	if err != nil {
		return notThere(e, err)
	}
	e.URL, e.Running, e.Desired = st.URL, st.Observed.Service.Running, st.Observed.Service.Desired
	e.State, e.Says = stateOf(st)
	if _, digest, ok := strings.Cut(st.Observed.Image, "@"); ok && digest != e.Digest {
		// Somebody deployed by other means: what runs is shown, not what the ledger expects.
		own := release.About(all, image.Digest(digest))
		e.Digest, e.Release, e.Since, e.Why = digest, releaseName(pr.tagPolicy(), own), time.Time{}, ""
		if e.State == web.Serving {
			e.Says = "it runs something else than was deployed last by slipway"
		}
	}
	for _, t := range st.Tasks {
		e.Tasks = append(e.Tasks, boardTask(t))
	}
	for _, t := range st.Targets {
		e.Targets = append(e.Targets, web.Target{Name: fmt.Sprintf("%s:%d", t.ID, t.Port), State: t.State, Reason: t.Description})
	}
	for i, d := range st.Deployments {
		if i == 5 {
			break
		}
		e.Deployments = append(e.Deployments, web.Deployment{Status: d.Status, Reason: d.StatusReason, At: d.CreatedAt})
	}
	return e
}

func (pr *project) lookAtJob(e web.Environment, j deploy.Job, err error) web.Environment {
	if err != nil {
		return notThere(e, err)
	}
	e.State = web.OnDemand
	if j.Schedule != nil {
		e.Says = "runs " + j.Schedule.Expression
	}
	if _, digest, ok := strings.Cut(j.Image, "@"); ok {
		e.Digest = digest
	}
	for _, t := range j.Tasks {
		e.Tasks = append(e.Tasks, boardTask(t))
	}
	return e
}

// notThere is an environment that nothing was deployed to, or that cannot be read.
func notThere(e web.Environment, err error) web.Environment {
	if errors.Is(err, deploy.ErrNotFound) {
		e.State, e.Digest, e.Release, e.Why, e.Since = web.Absent, "", "", "", time.Time{}
		return e
	}
	e.Says = err.Error()
	return e
}

func boardTask(t deploy.Task) web.Task {
	out := web.Task{ID: t.ID, Status: t.LastStatus, Health: t.Health, Zone: t.Zone, Since: t.StartedAt, Reason: t.StoppedReason}
	if !t.StoppedAt.IsZero() {
		out.Since = t.StoppedAt
	}
	for _, c := range t.Containers {
		if c.ExitCode != nil && *c.ExitCode != 0 {
			out.Reason = strings.TrimSpace(fmt.Sprintf("%s; %s exited with code %d", out.Reason, c.Name, *c.ExitCode))
		}
	}
	return out
}

// stateOf is the service in a word, and why.
func stateOf(st deploy.Status) (web.State, string) {
	svc := st.Observed.Service
	if len(st.Deployments) > 0 {
		switch d := st.Deployments[0]; d.Status {
		case "PENDING", "IN_PROGRESS", "STOP_REQUESTED":
			return web.Deploying, fmt.Sprintf("%d of %d new tasks run", d.Running, d.Requested)
		case "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS":
			return web.RollingBack, cmp.Or(d.RollbackWhy, d.StatusReason)
		case "ROLLBACK_SUCCESSFUL":
			return web.RolledBack, cmp.Or(d.RollbackWhy, d.StatusReason)
		case "ROLLBACK_FAILED", "STOPPED":
			return web.Failed, cmp.Or(d.RollbackWhy, d.StatusReason)
		}
	}
	if svc.Running < svc.Desired {
		return web.Degraded, fmt.Sprintf("%d of %d tasks run", svc.Running, svc.Desired)
	}
	return web.Serving, ""
}

// next is what could go to the environment: what the one before it runs, if that is another image.
func (pr *project) next(e *web.Environment, envs []web.Environment, all []release.Statement) *web.Candidate {
	policy := promotionPolicy(pr.file, e.Name)
	if policy.From == "" {
		return nil
	}
	i := slices.IndexFunc(envs, func(o web.Environment) bool { return o.Name == policy.From })
	if i < 0 || envs[i].Digest == "" || envs[i].Digest == e.Digest {
		return nil
	}
	c := &web.Candidate{From: policy.From, Release: envs[i].Release, Digest: envs[i].Digest, Refusals: []web.Refusal{}, Command: fmt.Sprintf("slipway promote --from %s --to %s", policy.From, e.Name)}
	for _, r := range release.CanPromote(release.Candidate{Digest: image.Digest(c.Digest), To: e.Name}, all, policy, pr.now()) {
		c.Refusals = append(c.Refusals, web.Refusal{Rule: r.Rule, Reason: r.Reason, Remedy: r.Remedy})
		c.Asks = c.Asks || r.Rule == "approval"
	}
	return c
}

// Decide records what the person at the dashboard says of the digest they saw.
func (b *boardSource) Decide(ctx context.Context, v web.Verdict) error {
	if b.readOnly {
		return errors.New("this dashboard takes no verdicts: it was started with --read-only")
	}
	i := slices.IndexFunc(b.projects, func(pr *project) bool { return pr.file.Service == v.Service })
	if i < 0 {
		return fmt.Errorf("there is no service %s here", v.Service)
	}
	pr := b.projects[i]
	if _, _, err := pr.spec(v.Environment); err != nil {
		return err
	}
	digest, err := image.ParseDigest(v.Digest)
	if err != nil {
		return fmt.Errorf("the digest: %w", err)
	}
	repo, err := pr.repository(ctx)
	if from := pr.file.Promotion[v.Environment].From; err == nil && from != "" {
		repo, err = pr.repositoryOf(ctx, from)
	}
	if err != nil {
		return err
	}
	own, err := pr.ledger.Read(ctx, repo, digest)
	if err != nil {
		return err
	}
	if len(own) == 0 {
		return fmt.Errorf("nothing is known of %s in %s", digest.Short(), repo)
	}
	if v.Approve {
		return pr.approve(ctx, v.Environment, repo, digest, b.you, v.Note)
	}
	return pr.reject(ctx, v.Environment, repo, digest, b.you, v.Note)
}
