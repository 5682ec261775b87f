package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/secrets"
	"github.com/slipway-ecs/slipway/internal/service"
)

func newCheckCommand() *cobra.Command {
	var f shipFlags
	var online bool
	var ref string
	cmd := &cobra.Command{
		Use:   "check [ENVIRONMENT]",
		Short: "Check slipway.yaml; with --online also that it could be deployed",
		Long: `Reads slipway.yaml and shows every fault with its line and column. With --online it also looks, changing
nothing, whether AWS has what a deployment needs: the image and its platform, roles and who may assume
them, secrets and whether they may be read, subnets and security groups, a place for the listener rule,
the target group's port, the log group, quotas, and room for the tasks. Every finding comes at once, each fault
with what to change. Where the service's scaling and the cluster's capacity would fight it warns: that is
no fault.

Exit codes: 0 no fault; 2 faults.`,
		Args: cobra.MaximumNArgs(1),
		Example: `  slipway check
  slipway check -f services/shop/slipway.yaml --json
  slipway check --online
  slipway check prod --online --image v1.4.2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p := newPrinter(cmd.OutOrStdout(), f.json)
			file, err := f.checked(p, args)
			if err != nil {
				return err
			}
			if !online {
				warnOffline(p, file)
				return nil
			}
			envs := file.Environments()
			if len(args) == 1 {
				envs = args
			}
			faults := 0
			for _, env := range envs {
				s, err := f.reach(cmd, env)
				if err != nil {
					return err
				}
				n, err := s.checkOnline(cmd.Context(), ref)
				if err != nil {
					return err
				}
				faults += n
			}
			if faults > 0 {
				return badInput("%d faults would fail a deployment", faults)
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&online, "online", false, "look at AWS too")
	cmd.Flags().StringVar(&ref, "image", "", "tag or digest (default: the image of the commit that is checked out)")
	return cmd
}

// checked reads the definition and every environment, and shows all their faults.
func (f *shipFlags) checked(p *printer, only []string) (*service.File, error) {
	data, err := os.ReadFile(f.file)
	if err != nil {
		_, err = readDefinition(f.file) // which says it
		return nil, err
	}
	file, faults := service.Parse(f.file, data)
	if len(faults) == 0 {
		for _, env := range file.Environments() {
			_, more := file.Spec(env)
			_, other := file.Target(env)
			for _, d := range slices.Concat(more, other) {
				if !slices.Contains(faults, d) {
					faults = append(faults, d)
				}
			}
		}
	}
	if len(faults) > 0 {
		if !p.json {
			return nil, exitWith(ExitBadInput, faults.Err())
		}
		for _, d := range faults {
			p.Data("fault", "", map[string]any{"file": d.File, "line": d.Line, "column": d.Column, "message": d.Message})
		}
		return nil, exitWith(ExitBadInput, &silentError{faults.Err()})
	}
	if len(only) == 1 && !slices.Contains(file.Environments(), only[0]) {
		return nil, badInput("%s has no environment %q; it has %s", f.file, only[0], strings.Join(file.Environments(), ", "))
	}
	p.Data("checked", fmt.Sprintf("%s is good: service %s in %s", f.file, file.Service, strings.Join(file.Environments(), ", ")),
		map[string]any{"service": file.Service, "environments": file.Environments()})
	return file, nil
}

// checkOnline shows what was found about one environment, and counts the faults.
func (s inAWS) checkOnline(ctx context.Context, ref string) (faults int, err error) {
	show := func(found deploy.Finding) {
		mark := s.p.paint(green, "✓")
		switch found.State {
		case deploy.Fault:
			faults++
			mark = s.p.paint(red, "✗")
		case deploy.Unknown:
			mark = s.p.paint(dim, "?")
		}
		text := fmt.Sprintf("%s %s %s %s: %s", mark, s.env, found.Check, found.Subject, found.Says)
		if found.Fix != "" {
			text += "\n    " + found.Fix
		}
		s.p.Data("finding", text, map[string]any{"environment": s.env, "check": found.Check, "subject": found.Subject, "state": found.State, "says": found.Says, "fix": found.Fix})
	}
	image := s.file.Repository + ":unpushed"
	repo, err := s.repositoryOf(ctx, s.env)
	if err != nil {
		show(deploy.Finding{Check: "repository", Subject: s.file.Repository, State: deploy.Fault, Says: err.Error(), Fix: fix(err, "Make it with a slipway_repository.")})
	} else {
		digest, err := s.resolve(ctx, repo, ref)
		if err != nil {
			show(deploy.Finding{Check: "image", Subject: repo, State: deploy.Fault, Says: err.Error(), Fix: "Push it: slipway build --push"})
		} else {
			image = repo + "@" + string(digest)
		}
	}
	t, err := s.target(ctx, image)
	if err != nil {
		show(deploy.Finding{Check: "cluster", Subject: s.spec.Cluster, State: deploy.Fault, Says: err.Error(), Fix: fix(err, "Make the cluster with a slipway_cluster, or correct cluster and route.listener.")})
		return faults, nil
	}
	all, err := s.engine.Preflight(ctx, t, s.cloud.Surroundings(s.platforms))
	if err != nil {
		return faults, fmt.Errorf("looking whether %s can be deployed: %w", s.env, err)
	}
	for _, found := range all {
		if strings.HasSuffix(found.Subject, ":unpushed") {
			continue // said above
		}
		if found.Check == "secret" && found.State == deploy.Fault && strings.Contains(found.Says, ":secret:"+secrets.CopyPrefix(s.ref.Cluster, s.ref.Service)) {
			found.State, found.Says, found.Fix = deploy.Good, "is copied to Secrets Manager by slipway deploy", ""
		}
		show(found)
	}
	var planned []autoscale.Scaled
	if v := awscloud.Planned(s.ref.Service, &s.spec); v != nil {
		planned = append(planned, *v)
	}
	ws, err := s.cloud.Autoscale(s.spec.Cluster, autoscale.Defaults()).Warnings(ctx, planned...)
	if err != nil { // it keeps nothing from being deployed
		show(deploy.Finding{Check: "scaling", Subject: s.spec.Cluster, State: deploy.Unknown, Says: err.Error()})
	}
	tellWarnings(s.p, ws)
	return faults, nil
}

// fix is what to do about an error: usual, unless it is one that any command meets.
func fix(err error, usual string) string {
	return cmp.Or(strings.TrimSpace(hint(err, os.Getenv("AWS_ENDPOINT_URL"))), usual)
}

// platforms asks the registry what an image is built for.
func (s inAWS) platforms(ctx context.Context, image string) ([]string, error) {
	info, err := s.registry.Describe(ctx, image)
	var none *registry.NotFoundError
	if errors.As(err, &none) {
		return nil, deploy.ErrNotFound
	}
	return info.Platforms, err
}
