package cli

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/iampolicy"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/service"
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
		{"deployer", "The policy of who deploys, promotes, operates and removes the service", iampolicy.Deployer},
		{"controller", "The policy of the controller that scales and drains the cluster", iampolicy.Controller},
		{"images", "The policy of who lists, protects and prunes images", iampolicy.Images},
		{"execution", "The policy of the role with which ECS starts the service's tasks", iampolicy.Execution},
	} {
		cmd.AddCommand(newIAMPolicyCommand(k.name, k.short, k.policy))
	}
	return cmd
}

func newIAMPolicyCommand(name, short string, policy func(iampolicy.Scope) iampolicy.Document) *cobra.Command {
	var s iampolicy.Scope
	var file string
	var part int
	cmd := &cobra.Command{
		Use:   name + " [SERVICE] --account ID",
		Short: short,
		Long: short + `.

Without SERVICE, slipway.yaml says what the policy is about: repositories, log groups, the bucket of
Terraform's state, what notifications read. Environments in other clusters need policies of their
own: name those of one cluster with --env. With SERVICE the flags say it, and no file is read.

A managed policy holds 6,144 characters. What is longer is said so, and printed in parts with --part:
together they allow what the whole does.`,
		Args: cobra.MaximumNArgs(1),
		Example: "  slipway iam " + name + " --account 111122223333\n" +
			"  slipway iam " + name + " iplookup --env qa --env prod --account 111122223333 --region eu-central-1 --cluster prod",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !accountForm.MatchString(s.Account) {
				return badInput("--account %q is no account id (12 digits)", s.Account)
			}
			if len(args) == 1 {
				s.Service = args[0]
			} else {
				f, err := readDefinition(file)
				if err != nil {
					return err
				}
				if err := fillScope(&s, f, cmd.Flags().Changed("region"), cmd.Flags().Changed("cluster")); err != nil {
					return err
				}
			}
			s.Group = cmp.Or(s.Group, "slipway-"+s.Cluster)
			d := policy(s)
			parts := d.Split(iampolicy.MostCharacters)
			switch {
			case cmd.Flags().Changed("part") && (part < 1 || part > len(parts)):
				return badInput("--part is %d; the policy has %d", part, len(parts))
			case part > 0:
				d = parts[part-1]
			case len(parts) > 1:
				fmt.Fprintf(cmd.ErrOrStderr(), "This is %d characters, and a managed policy holds %d: print it in %d parts, with --part 1 to --part %d.\n", d.Characters(), iampolicy.MostCharacters, len(parts), len(parts))
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), d.Text())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVarP(&file, "file", "f", "slipway.yaml", "the service's definition, where SERVICE is not given")
	f.IntVar(&part, "part", 0, "print this part of it, from 1 on (default: the whole)")
	f.StringVar(&s.Account, "account", "", "account id")
	f.StringVar(&s.Region, "region", "us-east-1", "region")
	f.StringVar(&s.Partition, "partition", "aws", "aws, aws-cn or aws-us-gov")
	f.StringVar(&s.Cluster, "cluster", "default", "the ECS cluster")
	f.StringSliceVar(&s.Environments, "env", nil, "environments: the ECS services are SERVICE-ENV (default: SERVICE is the ECS service's name)")
	f.StringSliceVar(&s.Repositories, "repository", nil, "the ECR repositories (default: the service's name)")
	f.StringSliceVar(&s.Families, "family", nil, "the task definitions' families (default: the ECS services' names)")
	f.StringSliceVar(&s.LogGroups, "log-group", nil, "the log groups (default: /slipway/ENV/SERVICE, or /ecs/CLUSTER/SERVICE without --env)")
	f.StringSliceVar(&s.Roles, "role", nil, "names of the roles of tasks, and of ECS for them, that Slipway does not make")
	f.StringVar(&s.Group, "group", "", "the Auto Scaling group (default: slipway- and the cluster's name)")
	f.BoolVar(&s.Secrets, "secrets", false, "let it read secrets and parameters named SERVICE/…")
	f.StringVar(&s.State, "state", "", "the S3 bucket with Terraform's state")
	f.StringSliceVar(&s.Notices, "notice", nil, "what notifications read: ssm:NAME or secretsmanager:NAME")
	f.StringVar(&s.Signing, "signing-key", "", "the KMS key that signs what is recorded: id, ARN or alias")
	f.BoolVar(&s.Exec, "exec", false, "let the deployer run commands in the cluster's running containers")
	return cmd
}

// fillScope takes from a definition what no flag has said.
func fillScope(s *iampolicy.Scope, f *service.File, regionGiven, clusterGiven bool) error {
	s.Service, s.Signing = f.Service, cmp.Or(s.Signing, f.Signing.KMS)
	if len(s.Environments) == 0 {
		s.Environments = f.Environments()
	}
	repositories, groups := []string{withoutRegistry(f.Repository)}, []string(nil)
	first := ""
	for _, env := range s.Environments {
		spec, faults := f.Spec(env)
		if err := faults.Err(); err != nil {
			return exitWith(ExitBadInput, err)
		}
		target, faults := f.Target(env)
		if err := faults.Err(); err != nil {
			return exitWith(ExitBadInput, err)
		}
		place := spec.Cluster + " " + target.Region
		if first == "" {
			first = place
			if !clusterGiven {
				s.Cluster = spec.Cluster
			}
			if !regionGiven && target.Region != "" {
				s.Region = target.Region
			}
		}
		if place != first && !(clusterGiven && regionGiven) {
			return badInput("%s is in another cluster or region than %s: print a policy for each, with --env", env, s.Environments[0])
		}
		repositories = append(repositories, withoutRegistry(target.Repository))
		if spec.Logs.Group != "" {
			groups = append(groups, spec.Logs.Group)
		}
		if target.State != nil {
			s.State = cmp.Or(s.State, target.State.Bucket)
		}
		for _, c := range spec.Containers {
			s.Secrets = s.Secrets || len(c.Secrets) > 0
		}
	}
	if len(s.Repositories) == 0 {
		s.Repositories = distinct(repositories)
	}
	if len(s.LogGroups) == 0 {
		s.LogGroups = distinct(groups)
	}
	for _, n := range f.Notify {
		for _, ref := range []string{n.Slack, n.Webhook, n.User, n.Password, n.Token} {
			if strings.HasPrefix(ref, "ssm:") || strings.HasPrefix(ref, "secretsmanager:") {
				s.Notices = append(s.Notices, ref)
			}
		}
	}
	s.Notices = distinct(s.Notices)
	return nil
}

// withoutRegistry is a repository without its registry.
func withoutRegistry(repository string) string {
	if ref, err := image.ParseReference(repository); err == nil && ref.Registry != "" {
		return ref.Repository
	}
	return repository
}

func distinct(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
