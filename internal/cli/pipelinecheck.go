package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/pipeline"
	"github.com/slipway-ecs/slipway/internal/pipeline/report"
	"github.com/slipway-ecs/slipway/internal/release"
)

// check is the smoke test of an environment, or its verification: the very digest runs and answers.
func (d *delivery) check(ctx context.Context, s pipeline.Stage) (pipeline.Result, error) {
	env := s.Environment
	if _, err := d.need(ctx); err != nil {
		return pipeline.Result{}, err
	}
	own, err := d.pr.repositoryOf(ctx, env)
	if err != nil {
		return pipeline.Result{}, err
	}
	suite := report.Suite{Name: d.pr.file.Service + "." + env}
	var failed error
	one := func(name string, f func() error) {
		if failed != nil {
			suite.Cases = append(suite.Cases, report.Case{Name: name, Skipped: true})
			return
		}
		began := d.pr.now()
		failed = f()
		c := report.Case{Name: name, Took: d.pr.now().Sub(began)}
		if failed != nil {
			c.Failed, c.Failure = true, failed.Error()
		}
		suite.Cases = append(suite.Cases, c)
	}
	one("runs "+d.digest.Short(), func() error {
		running, err := d.pr.runningIn(ctx, env, own)
		if err == nil && running != d.digest {
			if history, err := d.history(ctx); err == nil {
				if err := d.overtaken(history, env); err != nil {
					return err
				}
			}
			err = exitWith(ExitRefused, fmt.Errorf("%s runs %s, not %s; deploy it first", env, running.Short(), d.digest.Short()))
		}
		return err
	})
	if from := d.pr.file.Promotion[env].From; s.Kind == pipeline.Verify && from != "" {
		one("ran in "+from, func() error { return d.ranIn(ctx, from) })
	}
	spec, _, err := d.pr.spec(env)
	if err != nil {
		return pipeline.Result{}, err
	}
	said := fmt.Sprintf("%s runs %s", env, d.digest.Short())
	if spec.Route != nil {
		said += " and answers"
		one("answers", func() error {
			if err := d.pr.smoke(ctx, env); err != nil {
				return exitWith(ExitNotRolledBack, err)
			}
			return nil
		})
	}
	if err := errors.Join(failed, d.writeJUnit(s.Name()+".xml", []report.Suite{suite})); err != nil {
		return pipeline.Result{}, err
	}
	return pipeline.Result{Said: said, URL: d.url(ctx, env)}, nil
}

// ranIn says that this digest, byte for byte, was deployed to the environment it is promoted from.
func (d *delivery) ranIn(ctx context.Context, env string) error {
	history, err := d.history(ctx)
	if err != nil {
		return err
	}
	s, ok := release.Last(release.About(history, d.digest), release.DeployedTo, env)
	if !ok || s.Outcome != release.Succeeded {
		return exitWith(ExitRefused, fmt.Errorf("%s was never deployed to %s", d.digest.Short(), env))
	}
	return nil
}

// scan asks for known weaknesses in the image, once: what was found is in the ledger.
func (d *delivery) scan(ctx context.Context) (pipeline.Result, error) {
	own, err := d.need(ctx)
	if err != nil {
		return pipeline.Result{}, err
	}
	limits := map[string]string{} // environment → worst severity let through
	for _, env := range d.pr.file.Pipeline.Environments {
		if s := d.pr.file.Promotion[env].Severity; s != "" {
			limits[env] = s
		}
	}
	if len(limits) == 0 {
		return pipeline.Result{Already: true, Said: "not asked for: no environment has promotion.max_severity"}, nil
	}
	if s, ok := release.Last(own, release.Scanned, ""); ok && s.Outcome == release.Succeeded {
		return pipeline.Result{Already: true, Said: "scanned already; " + severityText(s.Severity)}, d.scanPasses(own)
	}
	name := d.pr.file.Repository
	if ref, err := image.ParseReference(name); err == nil && ref.Registry != "" {
		name = ref.Repository
	}
	limited, cancel := context.WithTimeoutCause(ctx, d.pr.file.Pipeline.ScanTimeout, fmt.Errorf("it gave no findings within %s", d.pr.file.Pipeline.ScanTimeout))
	defer cancel()
	d.pr.p.Line("scanning %s", d.digest.Short())
	found, err := d.pr.cloud.Scan(limited, name, string(d.digest))
	if failed := (*awscloud.ScanFailedError)(nil); errors.As(err, &failed) {
		st := release.Statement{Kind: release.Scanned, Subject: d.digest, Outcome: release.Failed, Details: map[string]string{"cause": failed.Error()}}
		return pipeline.Result{}, errors.Join(fmt.Errorf("scanning %s: %w", d.digest.Short(), err), d.pr.record(ctx, d.repo, st))
	}
	if err != nil {
		return pipeline.Result{}, fmt.Errorf("scanning %s: %w", d.digest.Short(), err)
	}
	var findings []report.Finding
	for _, f := range found {
		findings = append(findings, report.Finding(f))
	}
	data, err := report.SARIF("Amazon ECR image scan", Version, d.repo, string(d.digest), findings)
	if err != nil {
		return pipeline.Result{}, err
	}
	if err := d.writeReport("scan.sarif", data); err != nil {
		return pipeline.Result{}, err
	}
	st := release.Statement{Kind: release.Scanned, Subject: d.digest, Outcome: release.Succeeded, Severity: release.Severity(report.Worst(findings)),
		Details: map[string]string{"findings": fmt.Sprint(len(findings))}}
	if err := d.pr.record(ctx, d.repo, st); err != nil {
		return pipeline.Result{}, err
	}
	st.At = d.pr.now()
	return pipeline.Result{Said: fmt.Sprintf("%d findings; %s", len(findings), severityText(st.Severity))}, d.scanPasses(append(own, st))
}

func severityText(s release.Severity) string {
	if s == "" {
		return "nothing was found"
	}
	return "the worst is " + strings.ToLower(string(s))
}

// scanPasses fails if what was found is too bad for an environment that comes after: there is no point
// in having people test what will be refused in the end.
func (d *delivery) scanPasses(own []release.Statement) error {
	for _, env := range d.pr.file.Pipeline.Environments {
		policy := release.Policy{MaxSeverity: release.Severity(d.pr.file.Promotion[env].Severity), AllowDirty: true}
		for _, r := range release.CanPromote(release.Candidate{Digest: d.digest, To: env}, own, policy, d.pr.now()) {
			if r.Rule == "scan" {
				return exitWith(ExitRefused, fmt.Errorf("%s may not go to %s: %s", d.digest.Short(), env, r))
			}
		}
	}
	return nil
}
