package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/pipeline"
	"github.com/slipway-ecs/slipway/internal/release"
)

// approve finds the approval in the ledger, or gets it from whoever is there to be asked.
func (d *delivery) approve(ctx context.Context, env string) (pipeline.Result, error) {
	var r pipeline.Result
	if _, err := d.need(ctx); err != nil {
		return r, err
	}
	history, err := d.history(ctx)
	if err != nil {
		return r, err
	}
	if now, ok := release.Current(history, env); ok && now.Digest == d.digest {
		return pipeline.Result{Already: true, Said: fmt.Sprintf("%s runs it already", env)}, nil
	}
	missing, other := d.refusals(history, env)
	if missing == nil {
		return pipeline.Result{Already: true, Said: "approved by " + strings.Join(d.approvers(history, env), ", ")}, nil
	}
	if err := d.overtaken(history, env); err != nil {
		return r, err
	}
	if v, ok := pipeline.Rejected(d.votes(history, env)); ok {
		return r, d.rejected(env, v)
	}
	if newer, ok := d.newer(history); ok {
		return r, &pipeline.Stop{End: pipeline.Superseded, Reason: fmt.Sprintf("commit %.7s of %s came after this one and was pushed; it is the one to approve", newer.Commit, newer.Branch)}
	}
	// Nobody should approve what is not there to be looked at.
	for _, o := range other {
		if o.Rule == "running" {
			return r, exitWith(ExitRefused, fmt.Errorf("%s cannot be approved for %s: %s", d.digest.Short(), env, o))
		}
		d.pr.p.Line("%s", o)
	}
	switch {
	case d.approveAs != "" && slices.ContainsFunc(d.votes(history, env), func(v pipeline.Vote) bool { return v.For && release.SamePerson(v.By, d.approveAs) }):
		// Recorded by a run before; more are asked for, or this one does not count.
	case d.approveAs != "":
		if err := d.vote(ctx, env, d.approveAs, true); err != nil {
			return r, err
		}
	case d.ask != nil:
		yes, err := d.ask(fmt.Sprintf("%s runs in %s. Ship %s to %s?", d.name(), d.pr.file.Promotion[env].From, d.digest.Short(), env))
		if err != nil {
			return r, err
		}
		who := d.pr.who(ctx)
		if err := d.vote(ctx, env, who, yes); err != nil {
			return r, err
		}
		if !yes {
			return r, d.rejected(env, pipeline.Vote{By: who})
		}
	default:
		return r, d.waiting(env, missing)
	}
	if history, err = d.history(ctx); err != nil {
		return r, err
	}
	if missing, _ = d.refusals(history, env); missing != nil { // more than one is asked, or not this one
		return r, d.waiting(env, missing)
	}
	return pipeline.Result{Said: fmt.Sprintf("%s is approved for %s by %s", d.digest.Short(), env, strings.Join(d.approvers(history, env), ", "))}, nil
}

// refusals tells the missing approval from all else that stands against the environment.
func (d *delivery) refusals(history []release.Statement, env string) (approval *release.Refusal, other []release.Refusal) {
	for _, r := range release.CanPromote(release.Candidate{Digest: d.digest, To: env}, history, promotionPolicy(d.pr.file, env), d.pr.now()) {
		if r.Rule == "approval" {
			approval = &r
		} else {
			other = append(other, r)
		}
	}
	return approval, other
}

func (d *delivery) waiting(env string, missing *release.Refusal) error {
	return &pipeline.Stop{End: pipeline.Waiting, Reason: fmt.Sprintf("%s waits for approval for %s: %s", d.name(), env, missing.Reason),
		Remedy: fmt.Sprintf("approve it with: slipway approve %s --image %s, or reject it with --reject; then go on with: slipway pipeline run --from approve-%s", env, d.hash, env)}
}

func (d *delivery) rejected(env string, v pipeline.Vote) error {
	reason := fmt.Sprintf("%s was rejected for %s by %s", d.name(), env, v.By)
	if v.Note != "" {
		reason += ": " + v.Note
	}
	return &pipeline.Stop{End: pipeline.Refused, Reason: reason, By: v.By}
}

// vote records what somebody said; the same again is not recorded twice.
func (d *delivery) vote(ctx context.Context, env, by string, yes bool) error {
	if yes {
		return d.pr.approve(ctx, env, d.repo, d.digest, by, d.note)
	}
	return d.pr.reject(ctx, env, d.repo, d.digest, by, d.note)
}

// votes for the environment; what was withdrawn is neither for nor against. Where approvers are named,
// nobody else can reject.
func (d *delivery) votes(history []release.Statement, env string) []pipeline.Vote {
	approvers := d.pr.file.Promotion[env].Approvers
	var out []pipeline.Vote
	for _, s := range release.About(history, d.digest) {
		if s.Kind != release.ApprovedFor || s.Environment != env {
			continue
		}
		if len(approvers) > 0 && !slices.ContainsFunc(approvers, func(a string) bool { return release.SamePerson(a, s.By) }) {
			continue
		}
		if s.Outcome == release.Withdrawn {
			out = slices.DeleteFunc(out, func(v pipeline.Vote) bool { return release.SamePerson(v.By, s.By) })
			continue
		}
		out = append(out, pipeline.Vote{By: s.By, Note: s.Details["note"], At: s.At, For: s.Outcome == release.Succeeded})
	}
	return out
}

func (d *delivery) approvers(history []release.Statement, env string) []string {
	var out []string
	for _, v := range d.votes(history, env) {
		if v.For && !slices.Contains(out, v.By) {
			out = append(out, v.By)
		}
	}
	if len(out) == 0 {
		return []string{"nobody, as none is asked for"}
	}
	return out
}

// reject records that an image may not go to an environment. It holds until the same person approves it.
func (pr *project) reject(ctx context.Context, env, repo string, digest image.Digest, by, note string) error {
	if by == "" {
		by = pr.who(ctx)
	}
	st := release.Statement{Kind: release.ApprovedFor, Subject: digest, Environment: env, Outcome: release.Failed, By: by}
	if note != "" {
		st.Details = map[string]string{"note": note}
	}
	if err := pr.record(ctx, repo, st); err != nil {
		return err
	}
	pr.p.Done("%s is rejected for %s by %s", digest.Short(), env, by)
	pr.p.Data("rejected", "", map[string]any{"environment": env, "digest": digest, "by": by})
	return nil
}
