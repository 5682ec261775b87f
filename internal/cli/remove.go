package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

func newDeleteCommand() *cobra.Command {
	var f shipFlags
	var yes, dry, keepLogs, keepSecrets bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "delete ENVIRONMENT",
		Short: "Take a service out of an environment, with everything made for it",
		Long: `Deletes in the order AWS allows (scaling, alarms, service, tasks, listener rules, target groups,
task definitions, roles, copies of secrets, log group) and says what it waits for. Killed or out of time, it is
continued by the next. Images and what is recorded about them stay. Of secrets only the copies
that deploying made of other stores' go, and can be restored for seven days: the next deployment does.

Exit codes: 0 deleted, or nothing was there; 1 out of time; 6 not confirmed, or somebody deploys.`,
		Args: cobra.ExactArgs(1),
		Example: `  slipway delete qa
  slipway delete qa --dry-run
  slipway delete qa --yes --keep-logs --timeout 5m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.reach(cmd, args[0])
			if err != nil {
				return err
			}
			opt := deploy.DeleteOptions{KeepLogs: keepLogs, KeepSecrets: keepSecrets, Timeout: timeout}
			if dry {
				changes, err := s.engine.PlanDelete(cmd.Context(), s.ref, opt)
				if err != nil {
					return s.told(err)
				}
				names := []map[string]string{}
				for _, c := range changes {
					s.p.Line("would delete %s %s", c.Resource, c.Name)
					names = append(names, map[string]string{"resource": c.Resource, "name": c.Name})
				}
				if len(changes) == 0 {
					s.p.Line("nothing of %s is in %s", s.file.Service, args[0])
				}
				s.p.Data("would-delete", "", map[string]any{"environment": args[0], "service": s.ref.Service, "resources": names})
				return nil
			}
			if !yes && !confirmed(cmd, s) {
				return exitWith(ExitRefused, fmt.Errorf("not deleted: type the service's name (%s) to confirm, or give --yes", s.ref.Service))
			}
			report, done := s.p.progress()
			err = s.engine.Delete(cmd.Context(), s.ref, opt, report)
			done()
			if err != nil && !errors.Is(err, deploy.ErrNotFound) {
				return s.told(err)
			}
			s.p.Done("%s is deleted from %s", s.file.Service, args[0])
			s.p.Data("deleted", "", map[string]any{"environment": args[0], "service": s.ref.Service})
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only name what would be deleted")
	cmd.Flags().BoolVar(&keepSecrets, "keep-secrets", false, "leave the copies of other stores' secrets")
	cmd.Flags().BoolVar(&keepLogs, "keep-logs", false, "leave the log group")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long to wait for tasks to stop")
	return cmd
}

// confirmed asks for the service's name.
func confirmed(cmd *cobra.Command, s inAWS) bool {
	if s.p.json {
		return false
	}
	fmt.Fprintf(cmd.OutOrStdout(), "Delete service %s with its load balancer rules, roles and logs from cluster %s?\nType its name to confirm: ", s.ref.Service, s.ref.Cluster)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(cmd.OutOrStdout())
	}
	return strings.TrimSpace(line) == s.ref.Service
}
