package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// target is what slipway.yaml says of the environment, with the image that runs or one that is given.
func (s inAWS) target(ctx context.Context, image string) (deploy.Target, error) {
	listener := ""
	if s.spec.Route != nil {
		listener = s.spec.Route.Listener
	}
	spec, _, err := s.resolveSecrets(ctx, s.spec) // of other stores: as the copies that deploying makes
	if err != nil {
		return deploy.Target{}, err
	}
	t := deploy.Target{Spec: spec, Image: image}
	byARN := strings.HasPrefix(listener, "arn:")
	if byARN {
		listener = ""
	}
	if t.Infra, err = s.cloud.Infra(ctx, s.spec.Cluster, listener); err != nil {
		return t, err
	}
	if byARN {
		t.Infra.Listener = s.spec.Route.Listener
	}
	return t, nil
}

func newDriftCommand() *cobra.Command {
	var f shipFlags
	cmd := &cobra.Command{
		Use:   "drift ENVIRONMENT",
		Short: "Show, attribute by attribute, where AWS differs from slipway.yaml",
		Long: `Reads everything the service consists of (service, task definition, target group, listener rule,
roles, log group, alarms, scaling) and compares it with slipway.yaml as it is here and with the
image that runs. Nothing is changed; slipway deploy repairs what differs.

Exit codes: 0 nothing differs; 1 something does.`,
		Args: cobra.ExactArgs(1),
		Example: `  slipway drift prod
  slipway drift prod --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := f.reach(cmd, args[0])
			if err != nil {
				return err
			}
			seen, err := s.engine.Read(ctx, s.ref)
			if err != nil {
				return s.told(err)
			}
			t, err := s.target(ctx, seen.Image)
			if err != nil {
				return err
			}
			plan, err := s.engine.Plan(ctx, t)
			if err != nil {
				return s.told(err)
			}
			return s.showDrift(plan)
		},
	}
	f.add(cmd)
	return cmd
}

func (s inAWS) showDrift(plan deploy.Plan) error {
	var differ int
	for _, c := range plan.Changes {
		if c.Action == deploy.Keep {
			continue
		}
		differ++
		text := fmt.Sprintf("%s %s", c.Resource, c.Name)
		switch c.Action {
		case deploy.Create:
			text += ": " + map[bool]string{true: "differs, a new revision is needed", false: "is missing"}[len(c.Fields) > 0 && c.Resource == "task definition"]
		case deploy.Delete:
			text += ": slipway.yaml does not ask for it"
		}
		for _, field := range c.Fields {
			text += fmt.Sprintf("\n  %s: AWS has %s, slipway.yaml wants %s", field.Path, orNone(field.From), orNone(field.To))
		}
		s.p.Data("drift", text, map[string]any{"environment": s.env, "resource": c.Resource, "name": c.Name, "action": c.Action, "fields": c.Fields})
	}
	if differ == 0 {
		s.p.Data("drift", s.env+": AWS has what slipway.yaml says", map[string]any{"environment": s.env, "differences": 0})
		return nil
	}
	what := "a deployment repairs it without replacing tasks"
	if plan.Rollout {
		what = "a deployment repairs it and replaces the tasks"
	}
	return exitWith(ExitFailed, fmt.Errorf("%s differs from slipway.yaml in %d resources; %s: slipway deploy %s", s.env, differ, what, s.env))
}

func orNone(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

func newDiffCommand() *cobra.Command {
	var f shipFlags
	var offline bool
	cmd := &cobra.Command{
		Use:   "diff ENVIRONMENT ENVIRONMENT",
		Short: "Show what differs between two environments: the image and every setting",
		Long: `Compares what runs (image, tasks) as AWS has it, and what slipway.yaml says of both environments.
With --offline only slipway.yaml is read.`,
		Args: cobra.ExactArgs(2),
		Example: `  slipway diff qa prod
  slipway diff qa prod --offline --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var runs [2]deploy.Observed
			var specs [2]service.Spec
			var p *printer
			for i, env := range args {
				if offline { // without a look at AWS, not even at its configuration
					file, err := readDefinition(f.file)
					if err != nil {
						return err
					}
					if specs[i], _, err = (&project{file: file}).spec(env); err != nil {
						return err
					}
					p = newPrinter(cmd.OutOrStdout(), f.json)
					continue
				}
				s, err := f.reach(cmd, env)
				if err != nil {
					return err
				}
				specs[i], p = s.spec, s.p
				if runs[i], err = s.engine.Read(cmd.Context(), s.ref); err != nil && !errors.Is(err, deploy.ErrNotFound) {
					return s.told(err)
				}
			}
			show := func(path, old, new string) {
				if old == new {
					return
				}
				p.Data("difference", fmt.Sprintf("%-34s %s → %s", path, orNone(old), orNone(new)), map[string]any{"path": path, args[0]: old, args[1]: new})
			}
			if !offline {
				show("image", imageOf(runs[0]), imageOf(runs[1]))
				show("release", runs[0].Release, runs[1].Release)
				show("tasks", counted(runs[0]), counted(runs[1]))
			}
			for _, c := range service.Diff(specs[0], specs[1]) {
				if c.Path != "Environment" {
					show(c.Path, c.Old, c.New)
				}
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&offline, "offline", false, "compare slipway.yaml alone")
	return cmd
}

func imageOf(o deploy.Observed) string {
	if o.Image == "" {
		return "not deployed"
	}
	return o.Image
}

func counted(o deploy.Observed) string {
	if o.Image == "" {
		return ""
	}
	return fmt.Sprintf("%d of %d", o.Service.Running, o.Service.Desired)
}
