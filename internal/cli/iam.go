package cli

import (
	"cmp"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/iampolicy"
)

var accountForm = regexp.MustCompile(`^[0-9]{12}$`)

func newIAMCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "iam",
		Short: "Print least-privilege IAM policies for those who work with a service",
	}
	for _, k := range []struct {
		name, short string
		policy      func(iampolicy.Scope) iampolicy.Document
	}{
		{"ci", "The policy of the CI that builds, tags and pushes images", iampolicy.CI},
		{"deployer", "The policy of who releases new revisions of the service", iampolicy.Deployer},
		{"controller", "The policy of the controller that scales and drains the cluster", iampolicy.Controller},
		{"execution", "The policy of the role with which ECS starts the service's tasks", iampolicy.Execution},
	} {
		cmd.AddCommand(newIAMPolicyCommand(k.name, k.short, k.policy))
	}
	return cmd
}

func newIAMPolicyCommand(name, short string, policy func(iampolicy.Scope) iampolicy.Document) *cobra.Command {
	var s iampolicy.Scope
	cmd := &cobra.Command{
		Use:     name + " SERVICE --account ID",
		Short:   short,
		Args:    cobra.ExactArgs(1),
		Example: "  slipway iam " + name + " iplookup --account 111122223333 --region eu-central-1 --cluster prod",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !accountForm.MatchString(s.Account) {
				return badInput("--account %q is no account id (12 digits)", s.Account)
			}
			s.Service = args[0]
			s.Family, s.Repository, s.Group = cmp.Or(s.Family, s.Service), cmp.Or(s.Repository, s.Service), cmp.Or(s.Group, "slipway-"+s.Cluster)
			s.LogGroup = cmp.Or(s.LogGroup, "/ecs/"+s.Cluster+"/"+s.Service)
			_, err := fmt.Fprintln(cmd.OutOrStdout(), policy(s).Text())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Account, "account", "", "account id")
	f.StringVar(&s.Region, "region", "us-east-1", "region")
	f.StringVar(&s.Partition, "partition", "aws", "aws, aws-cn or aws-us-gov")
	f.StringVar(&s.Cluster, "cluster", "default", "the ECS cluster")
	f.StringVar(&s.Repository, "repository", "", "the ECR repository (default: the service's name)")
	f.StringVar(&s.Family, "family", "", "the task definition's family (default: the service's name)")
	f.StringVar(&s.LogGroup, "log-group", "", "the log group (default: /ecs/CLUSTER/SERVICE)")
	f.StringVar(&s.TaskRole, "task-role", "", "name of the task's role, if Slipway does not make it")
	f.StringVar(&s.ExecutionRole, "execution-role", "", "name of the role ECS starts tasks with, if Slipway does not make it")
	f.StringVar(&s.Group, "group", "", "the Auto Scaling group (default: slipway- and the cluster's name)")
	f.BoolVar(&s.Secrets, "secrets", false, "let it read secrets and parameters named SERVICE/…")
	return cmd
}
