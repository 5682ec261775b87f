package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/release"
	"github.com/slipway-ecs/slipway/internal/service"
)

// ref names the service of an environment in AWS.
func (pr *project) ref(env string) (deploy.Ref, error) {
	spec, _, err := pr.spec(env)
	return deploy.Ref{Cluster: spec.Cluster, Service: deploy.ServiceName(spec)}, err
}

func newStatusCommand() *cobra.Command {
	var f shipFlags
	var follow bool
	cmd := &cobra.Command{
		Use:   "status [ENVIRONMENT]",
		Short: "Show what runs: tasks, targets, the last deployments",
		Args:  cobra.MaximumNArgs(1),
		Example: `  slipway status
  slipway status prod --json
  slipway status prod --follow`,
		RunE: func(cmd *cobra.Command, args []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			envs := pr.file.Environments()
			if len(args) == 1 {
				envs = args
			}
			if follow {
				if len(envs) != 1 {
					return badInput("--follow needs the name of one environment: slipway status %s --follow", envs[0])
				}
				return f.follow(cmd, envs[0])
			}
			for _, env := range envs {
				if err := pr.status(cmd.Context(), env); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&follow, "follow", false, "wait for the end of the deployment that goes on")
	return cmd
}

// follow waits for the end of the deployment that goes on, and ends as deploy does.
func (f *shipFlags) follow(cmd *cobra.Command, env string) error {
	s, err := f.reach(cmd, env)
	if err != nil {
		return err
	}
	report, done := s.p.progress()
	out, err := s.engine.Watch(cmd.Context(), s.ref, report)
	done()
	if err != nil {
		return s.told(err)
	}
	s.p.Done("%s runs %s", env, out.Image)
	s.p.Data("followed", "", map[string]any{"environment": env, "deployment": out.Deployment, "status": out.Status, "image": out.Image})
	return nil
}

func (pr *project) status(ctx context.Context, env string) error {
	ref, err := pr.ref(env)
	if err != nil {
		return err
	}
	cloud, err := pr.cloudOf(env)
	if err != nil {
		return err
	}
	if spec, _, err := pr.spec(env); err != nil {
		return err
	} else if spec.Kind == service.KindJob {
		return pr.jobStatus(ctx, cloud, env, ref)
	}
	st, err := cloud.Deploy().Status(ctx, ref)
	if errors.Is(err, deploy.ErrNotFound) {
		pr.p.Data("status", env+": not deployed", map[string]any{"environment": env, "deployed": false})
		return nil
	}
	if err != nil {
		return err
	}
	svc := st.Observed.Service
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s in cluster %s, %d of %d tasks running\n", env, ref.Service, ref.Cluster, svc.Running, svc.Desired)
	fmt.Fprintf(&b, "  image     %s\n", st.Observed.Image)
	if st.URL != "" {
		fmt.Fprintf(&b, "  url       %s\n", st.URL)
	}
	for _, t := range st.Tasks {
		fmt.Fprintf(&b, "  task      %s  %-12s %s %s\n", short(t.ID), t.LastStatus, t.Zone, t.Health)
	}
	for _, t := range st.Targets {
		fmt.Fprintf(&b, "  target    %s:%d  %s %s\n", t.ID, t.Port, t.State, t.Description)
	}
	for i, d := range st.Deployments {
		if i == 3 {
			break
		}
		fmt.Fprintf(&b, "  deployed  %s  %s %s\n", d.CreatedAt.Local().Format(time.DateTime), d.Status, d.StatusReason)
	}
	pr.p.Data("status", strings.TrimRight(b.String(), "\n"), map[string]any{"environment": env, "deployed": true, "service": ref.Service, "cluster": ref.Cluster, "image": st.Observed.Image,
		"url": st.URL, "running": svc.Running, "desired": svc.Desired, "tasks": st.Tasks, "targets": st.Targets, "deployments": st.Deployments})
	return nil
}

// jobStatus shows what is run, when, and how the last runs ended.
func (pr *project) jobStatus(ctx context.Context, cloud *awscloud.Cloud, env string, ref deploy.Ref) error {
	j, err := cloud.Deploy().Job(ctx, ref)
	if errors.Is(err, deploy.ErrNotFound) {
		pr.p.Data("status", env+": not deployed", map[string]any{"environment": env, "deployed": false})
		return nil
	}
	if err != nil {
		return err
	}
	when := "on demand: slipway run " + env
	if j.Schedule != nil {
		when = j.Schedule.Expression
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: job %s in cluster %s\n", env, ref.Service, ref.Cluster)
	fmt.Fprintf(&b, "  image     %s\n", j.Image)
	fmt.Fprintf(&b, "  runs      %s\n", when)
	for _, t := range j.Tasks {
		how := t.StoppedReason
		if len(t.Containers) > 0 && t.Containers[0].ExitCode != nil {
			how = fmt.Sprintf("exit code %d %s", *t.Containers[0].ExitCode, how)
		}
		fmt.Fprintf(&b, "  task      %s  %-12s %s %s\n", short(t.ID), t.LastStatus, t.CreatedAt.Local().Format(time.DateTime), how)
	}
	pr.p.Data("status", strings.TrimRight(b.String(), "\n"), map[string]any{"environment": env, "deployed": true, "service": ref.Service, "cluster": ref.Cluster, "image": j.Image,
		"task_definition": j.TaskDefinition.ARN, "schedule": j.Schedule, "tasks": j.Tasks})
	return nil
}

// logGroup is where the containers of an environment write; empty if not to CloudWatch Logs.
func (pr *project) logGroup(ctx context.Context, cloud *awscloud.Cloud, env string, ref deploy.Ref) (string, error) {
	spec, _, err := pr.spec(env)
	if err != nil {
		return "", err
	}
	var group *deploy.LogGroup
	if spec.Kind == service.KindJob {
		var j deploy.Job
		j, err = cloud.Deploy().Job(ctx, ref)
		group = j.LogGroup
	} else {
		var seen deploy.Observed
		seen, err = cloud.Deploy().Read(ctx, ref)
		group = seen.LogGroup
	}
	switch {
	case errors.Is(err, deploy.ErrNotFound):
		return "", fmt.Errorf("%s is not deployed; deploy it with: slipway deploy %s", env, env)
	case err != nil:
		return "", err
	case group == nil:
		return "", fmt.Errorf("%s does not log to CloudWatch Logs", ref.Service)
	}
	return group.Name, nil
}

func short(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}

func newLogsCommand() *cobra.Command {
	var f shipFlags
	var follow bool
	var since time.Duration
	var q awscloud.LogQuery
	cmd := &cobra.Command{
		Use:   "logs ENVIRONMENT",
		Short: "Show what the containers of all tasks write",
		Args:  cobra.ExactArgs(1),
		Example: `  slipway logs prod
  slipway logs prod -f --since 10m
  slipway logs qa --container web --grep ERROR`,
		RunE: func(cmd *cobra.Command, args []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			ref, err := pr.ref(args[0])
			if err != nil {
				return err
			}
			cloud, err := pr.cloudOf(args[0])
			if err != nil {
				return err
			}
			if q.Group, err = pr.logGroup(cmd.Context(), cloud, args[0], ref); err != nil {
				return err
			}
			q.Since, q.Follow = pr.now().Add(-since), follow
			return cloud.Logs(cmd.Context(), q, func(l awscloud.LogLine) {
				pr.p.Data("log", fmt.Sprintf("%s %s %s", pr.p.paint(dim, l.At.Local().Format("15:04:05.000")), pr.p.paint(colorOf(l.Task), short(l.Task)+"/"+l.Container), l.Message),
					map[string]any{"at": l.At, "task": l.Task, "container": l.Container, "message": l.Message})
			})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until Ctrl-C")
	cmd.Flags().DurationVar(&since, "since", time.Hour, "how far back")
	cmd.Flags().StringVar(&q.Container, "container", "", "of this container only")
	cmd.Flags().StringVar(&q.Task, "task", "", "of the task whose id begins so")
	cmd.Flags().StringVar(&q.Pattern, "grep", "", "CloudWatch Logs filter pattern")
	return cmd
}

// colorOf gives each task a colour of its own.
func colorOf(task string) string {
	n := 0
	for _, c := range task {
		n = n*31 + int(c)
	}
	return fmt.Sprintf("\x1b[3%dm", 2+(n%5+5)%5)
}

func newHistoryCommand() *cobra.Command {
	var f shipFlags
	cmd := &cobra.Command{
		Use:   "history [ENVIRONMENT]",
		Short: "Show what was built, tested, approved and deployed, from the ledger",
		Args:  cobra.MaximumNArgs(1),
		Example: `  slipway history
  slipway history prod`,
		RunE: func(cmd *cobra.Command, args []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			repos, err := pr.repositories(cmd.Context())
			if err != nil {
				return err
			}
			all, err := pr.history(cmd.Context(), repos...)
			if err != nil {
				return err
			}
			for _, s := range all {
				if len(args) == 1 && s.Environment != "" && s.Environment != args[0] {
					continue
				}
				pr.p.Data("statement", statementLine(pr, all, s), map[string]any{"statement": s})
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func statementLine(pr *project, all []release.Statement, s release.Statement) string {
	what := string(s.Kind)
	if s.Environment != "" {
		what += " " + s.Environment
	}
	line := fmt.Sprintf("%s  %-18s %-12s %-9s by %s", s.At.Local().Format(time.DateTime), what, releaseName(pr.tagPolicy(), release.About(all, s.Subject)), s.Outcome, s.By)
	if said := s.Signature.String(); said != "" {
		line += "  " + said
	}
	if c := s.Details["cause"]; c != "" {
		line += "\n" + strings.Repeat(" ", 21) + c
	}
	return line
}

func newWhyCommand() *cobra.Command {
	var f shipFlags
	cmd := &cobra.Command{
		Use:     "why ENVIRONMENT",
		Short:   "Explain why an environment runs what it runs",
		Args:    cobra.ExactArgs(1),
		Example: "  slipway why prod",
		RunE: func(cmd *cobra.Command, args []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			repos, err := pr.repositories(cmd.Context())
			if err != nil {
				return err
			}
			all, err := pr.history(cmd.Context(), repos...)
			if err != nil {
				return err
			}
			now, ok := release.Current(release.Credible(all, false), args[0])
			if !ok {
				return fmt.Errorf("nothing has been deployed to %s", args[0])
			}
			own := release.About(all, now.Digest)
			pr.p.Data("why", pr.why(args[0], now, own), map[string]any{"environment": args[0], "digest": now.Digest, "since": now.Since, "statements": own})
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// why tells the story of a digest in one sentence.
func (pr *project) why(env string, now release.Running, own []release.Statement) string {
	parts := []string{fmt.Sprintf("%s runs %s", env, now.Digest)}
	if b, ok := release.Last(own, release.Built, ""); ok {
		name := releaseName(pr.tagPolicy(), own)
		parts[0] += " = " + name
		parts = append(parts, fmt.Sprintf("commit %s", short(b.Commit)), fmt.Sprintf("built %s by %s%s", stampOf(b.At), b.By, signedBy(b)))
	}
	if t, ok := release.Last(own, release.Tested, ""); ok {
		parts = append(parts, fmt.Sprintf("tests %s %s%s", t.Outcome, stampOf(t.At), signedBy(t)))
	}
	var envs []string
	for _, s := range own {
		if s.Kind == release.DeployedTo && s.Outcome == release.Succeeded && s.Environment != env && !slices.Contains(envs, s.Environment) {
			envs = append(envs, s.Environment)
			parts = append(parts, fmt.Sprintf("in %s since %s", s.Environment, stampOf(s.At)))
		}
	}
	if a, ok := release.Last(own, release.ApprovedFor, env); ok {
		parts = append(parts, fmt.Sprintf("approved by %s %s%s", a.By, stampOf(a.At), signedBy(a)))
	}
	parts = append(parts, fmt.Sprintf("here since %s", stampOf(now.Since)))
	return strings.Join(parts, ", ") + "."
}

func signedBy(s release.Statement) string {
	if said := s.Signature.String(); said != "" {
		return " (" + said + ")"
	}
	return ""
}

func stampOf(t time.Time) string { return t.Local().Format(time.DateTime) }
