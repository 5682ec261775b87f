package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/release"
	"github.com/slipway-ecs/slipway/internal/service"
	"github.com/slipway-ecs/slipway/internal/tfexec"
)

// shipped is an image in an environment.
type shipped struct {
	Environment string
	Repository  string
	Digest      image.Digest
	URL         string
	Tag         string // the one it got for being deployed there; empty if none
}

// deploy brings a digest to an environment by Terraform and records how it went.
func (pr *project) deploy(ctx context.Context, env, repo string, digest image.Digest) (shipped, error) {
	return pr.deployInstead(ctx, env, repo, digest, "")
}

// deployInstead is deploy, for a rollback with what it replaces.
func (pr *project) deployInstead(ctx context.Context, env, repo string, digest, instead image.Digest) (shipped, error) {
	out := shipped{Environment: env, Repository: repo, Digest: digest}
	name := pr.releaseName(ctx, repo, digest)
	p, err := pr.plan(ctx, env, repo+"@"+string(digest), name)
	if err != nil {
		return out, err
	}
	if !p.plan.Changes.Any() {
		pr.p.Line("nothing to change: %s runs %s already", env, digest.Short())
	} else {
		pr.p.Line("plan: %d to add, %d to change, %d to remove", p.plan.Changes.Add, p.plan.Changes.Change, p.plan.Changes.Remove)
	}
	err = pr.apply(ctx, p)
	st := release.Statement{Kind: release.DeployedTo, Subject: digest, Environment: env, Outcome: release.Succeeded, Instead: instead}
	if err != nil {
		if exitCode(err) == ExitRolledBack || exitCode(err) == ExitNotRolledBack {
			st.Outcome = release.Failed
			if cause := causeOf(err); cause != "" {
				st.Details = map[string]string{"cause": cause}
			}
			err = errors.Join(err, pr.record(context.WithoutCancel(ctx), repo, st))
		}
		return out, err
	}
	outputs, err := p.runner.Output(ctx)
	if err != nil {
		return out, err
	}
	out.URL, _ = outputs["url"].Value.(string)
	st.Revision, _ = outputs["task_definition_arn"].Value.(string)
	if !p.plan.Changes.Any() && pr.recorded(ctx, repo, st) { // run again
		out.Tag, err = pr.tagDeployed(ctx, env, repo, digest)
		return out, err
	}
	if err := pr.record(ctx, repo, st); err != nil {
		return out, err
	}
	out.Tag, err = pr.tagDeployed(ctx, env, repo, digest)
	return out, err
}

// recorded says that the last thing that happened to the environment is this deployment.
func (pr *project) recorded(ctx context.Context, repo string, st release.Statement) bool {
	history, err := pr.ledger.History(ctx, repo)
	if err != nil {
		return false
	}
	var last release.Statement
	for _, s := range history { // oldest first
		if s.Environment == st.Environment && (s.Kind == release.DeployedTo || s.Kind == release.RolledBack) {
			last = s
		}
	}
	return last.Kind == release.DeployedTo && last.Subject == st.Subject && last.Outcome == st.Outcome && last.Revision == st.Revision
}

// causeOf is the cause of a failed deployment, which the provider gives in one sentence.
func causeOf(err error) string {
	var f *tfexec.Failure
	if !errors.As(err, &f) || len(f.Diagnostics) == 0 {
		return ""
	}
	return f.Diagnostics[0].Summary
}

// releaseName is what people call an image: its git tag, else its commit.
func (pr *project) releaseName(ctx context.Context, repo string, digest image.Digest) string {
	own, err := pr.ledger.Read(ctx, repo, digest)
	if err != nil {
		return ""
	}
	return releaseName(pr.tagPolicy(), own)
}

func releaseName(p image.Policy, own []release.Statement) string {
	b, ok := release.Last(own, release.Built, "")
	if !ok {
		return ""
	}
	if len(b.GitTags) > 0 {
		return b.GitTags[0]
	}
	hash, err := p.Hash(image.Revision{Commit: b.Commit, Dirty: b.Dirty})
	if err != nil {
		return b.Commit
	}
	return hash
}

// tagDeployed gives the image the tag of the environment (prod_c656597), where it has a prefix.
func (pr *project) tagDeployed(ctx context.Context, env, repo string, digest image.Digest) (string, error) {
	own, err := pr.ledger.Read(ctx, repo, digest)
	if err != nil {
		return "", err
	}
	b, ok := release.Last(own, release.Built, "")
	if !ok {
		return "", nil // built by something else: its commit is not known
	}
	tag, err := pr.tagPolicy().DeployedTag(env, image.Revision{Commit: b.Commit, Dirty: b.Dirty})
	if err != nil || tag == "" {
		return "", err
	}
	return tag, pr.registry.Retag(ctx, repo, digest, tag)
}

// smoke asks the service through its load balancer what slipway.yaml says it must answer.
func (pr *project) smoke(ctx context.Context, env string) error {
	spec, _, err := pr.spec(env)
	if err != nil {
		return err
	}
	if spec.Route == nil { // nor has a job a service to look up
		return nil
	}
	cloud, err := pr.cloudOf(env)
	if err != nil {
		return err
	}
	st, err := cloud.Deploy().Status(ctx, deploy.Ref{Cluster: spec.Cluster, Service: deploy.ServiceName(spec)})
	if err != nil {
		return fmt.Errorf("looking up the service: %w", err)
	}
	if st.URL == "" {
		return nil
	}
	want := service.Smoke{Path: spec.Route.Health.Path, Status: 200}
	if s := spec.Deployment.Smoke; s != nil {
		want = *s
	}
	host := ""
	if len(spec.Route.Hosts) > 0 && !strings.ContainsAny(spec.Route.Hosts[0], "*?") {
		host = spec.Route.Hosts[0]
	}
	// A few tries: targets that AWS calls healthy may take a moment to be reached from here.
	for try := 1; ; try++ {
		said, err := smokeTest(ctx, strings.TrimSuffix(st.URL, "/")+want.Path, host, want)
		if err == nil {
			pr.p.Done("smoke test: %s", said)
			return nil
		}
		if try == smokeTries {
			return fmt.Errorf("the smoke test failed %d times: %w", try, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
}

// smokeTries is how often a smoke test may fail, two seconds apart, before it has failed.
const smokeTries = 8

// promotionPolicy is what an image must have before it goes to the environment.
func promotionPolicy(f *service.File, env string) release.Policy {
	p, ok := f.Promotion[env]
	if !ok {
		return release.Policy{}
	}
	out := release.Policy{From: p.From, Soak: p.Soak, Tests: p.Tests, Approvals: p.Approvals, Approvers: p.Approvers, NotAuthor: p.NotAuthor, MaxSeverity: release.Severity(p.Severity), Signed: p.Signed}
	for _, fr := range p.Freezes {
		r := release.Freeze{Name: fr.Name, Start: fr.Start, End: fr.End}
		if len(fr.Days) > 0 {
			r.Weekly = &release.Weekly{Days: fr.Days, From: fr.From, To: fr.To, Location: fr.Location}
		}
		out.Freezes = append(out.Freezes, r)
	}
	return out
}

// allowed refuses with every rule that is not met.
func (pr *project) allowed(ctx context.Context, env, from, repo string, digest image.Digest) error {
	policy := promotionPolicy(pr.file, env)
	if from != "" {
		policy.From = from
	}
	repos := []string{repo}
	if own, err := pr.repositoryOf(ctx, env); err == nil {
		repos = append(repos, own)
	}
	if policy.From != "" {
		if own, err := pr.repositoryOf(ctx, policy.From); err == nil {
			repos = append(repos, own)
		}
	}
	history, err := pr.history(ctx, repos...)
	if err != nil {
		return err
	}
	refusals := release.CanPromote(release.Candidate{Digest: digest, To: env}, history, policy, pr.now())
	if len(refusals) == 0 {
		return nil
	}
	var lines []string
	for _, r := range refusals {
		lines = append(lines, "  "+r.String())
	}
	return exitWith(ExitRefused, fmt.Errorf("%s may not go to %s:\n%s", digest.Short(), env, strings.Join(lines, "\n")))
}

// runningIn is the digest that an environment runs, by the ledger and, where both can be asked, by AWS.
func (pr *project) runningIn(ctx context.Context, env, repo string) (image.Digest, error) {
	now, ok, err := pr.ledger.Current(ctx, repo, env)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", exitWith(ExitRefused, fmt.Errorf("nothing has been deployed to %s; deploy it first with: slipway deploy %s", env, env))
	}
	spec, _, err := pr.spec(env)
	if err != nil {
		return "", err
	}
	if spec.Kind == service.KindJob { // no service says what runs; what was deployed is what is started
		return now.Digest, nil
	}
	cloud, err := pr.cloudOf(env)
	if err != nil {
		return "", err
	}
	seen, err := cloud.Deploy().Read(ctx, deploy.Ref{Cluster: spec.Cluster, Service: deploy.ServiceName(spec)})
	if err != nil {
		return "", fmt.Errorf("looking at what %s runs: %w", env, err)
	}
	if got := seen.Image; got != repo+"@"+string(now.Digest) {
		return "", exitWith(ExitRefused, fmt.Errorf("%s runs %s, which is not what was deployed last (%s); deploy again, so that it is known what was tested", env, got, now.Digest.Short()))
	}
	if seen.Last != nil && seen.Last.Open() {
		return "", exitWith(ExitRefused, fmt.Errorf("a deployment to %s is going on; wait for its end", env))
	}
	return now.Digest, nil
}
