package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/release"
	"github.com/slipway-ecs/slipway/internal/service"
)

func newSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of slipway.yaml, for editors",
		Args:    cobra.NoArgs,
		Example: "  slipway schema > slipway.schema.json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			data, err := service.Schema()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(string(data)))
			return err
		},
	}
}

func newTestCommand() *cobra.Command {
	var f shipFlags
	cmd := &cobra.Command{
		Use:     "test",
		Short:   "Run the service's tests; if its image is pushed, record that they passed",
		Args:    cobra.NoArgs,
		Example: "  slipway test",
		RunE: func(cmd *cobra.Command, _ []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			if err := pr.test(cmd.Context()); err != nil {
				return err
			}
			repo, err := pr.repository(cmd.Context())
			if err != nil {
				pr.p.Line("not recorded: %v", err)
				return nil
			}
			digest, err := pr.resolve(cmd.Context(), repo, "")
			if err != nil {
				pr.p.Line("not recorded: the image of this commit is not pushed yet")
				return nil
			}
			return pr.record(cmd.Context(), repo, release.Statement{Kind: release.Tested, Subject: digest, Outcome: release.Succeeded})
		},
	}
	f.add(cmd)
	return cmd
}

// buildFlags are those of build and push.
type buildFlags struct {
	shipFlags
	image              string
	tested, allowDirty bool
}

func (f *buildFlags) add(cmd *cobra.Command) {
	f.shipFlags.add(cmd)
	cmd.Flags().StringVar(&f.image, "image", "", "push this image, built elsewhere, instead of building: any reference")
	cmd.Flags().BoolVar(&f.tested, "tested", false, "record that the tests of this commit have passed")
	cmd.Flags().BoolVar(&f.allowDirty, "allow-dirty", false, "push an image of files that are in no commit, marked -dirty")
}

func (f *buildFlags) run(cmd *cobra.Command, push bool) error {
	pr, err := f.open(cmd)
	if err != nil {
		return err
	}
	if f.image != "" {
		pr.file.Build = service.Build{Image: f.image, Platform: pr.file.Build.Platform}
	}
	_, err = pr.produce(cmd.Context(), push, f.tested, f.allowDirty)
	return err
}

func newBuildCommand() *cobra.Command {
	var f buildFlags
	var push bool
	cmd := &cobra.Command{
		Use:   "build",
		Short: "Build the image of the commit that is checked out",
		Long: `Builds with ko for Go programs (no daemon; the same commit gives the same digest), or with the
engine that is there for a Dockerfile. With --push the image is pushed with its tags: the short
commit hash, every git tag of the commit, and latest on the main branch. Its bill of materials is
stored beside it.`,
		Args: cobra.NoArgs,
		Example: `  slipway build
  slipway build --push
  slipway build --push --image registry.example.com/shop:1234`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, push) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&push, "push", false, "push the image with its tags")
	return cmd
}

// produce builds and, if asked, pushes.
func (pr *project) produce(ctx context.Context, push, tested, allowDirty bool) (image.Digest, error) {
	src, err := pr.source(ctx)
	if err != nil {
		return "", exitWith(ExitBadInput, err)
	}
	if src.Dirty && push && !allowDirty {
		return "", exitWith(ExitRefused, fmt.Errorf("the working tree of %s has changes that are in no commit; commit them, or push with --allow-dirty", src.Root))
	}
	img, err := pr.build(ctx, src)
	if err != nil {
		return "", err
	}
	defer img.Close()
	pr.p.Done("built %s from commit %s (%s)", img.Digest.Short(), src.Commit[:7], size(img))
	if !push {
		pr.p.Data("built", "", map[string]any{"digest": img.Digest, "commit": src.Commit})
		return img.Digest, nil
	}
	repo, tags, err := pr.push(ctx, img, src, tested)
	if err != nil {
		return "", err
	}
	pr.p.Done("pushed %s as %s", repo+"@"+string(img.Digest), strings.Join(tags, ", "))
	pr.p.Data("pushed", "", map[string]any{"repository": repo, "digest": img.Digest, "tags": tags})
	return img.Digest, nil
}

func newPushCommand() *cobra.Command {
	var f buildFlags
	cmd := &cobra.Command{
		Use:     "push",
		Short:   "Build and push (the same as build --push)",
		Args:    cobra.NoArgs,
		Example: "  slipway push --tested",
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd, true) },
	}
	f.add(cmd)
	return cmd
}

// target finds the digest a deploy or plan is about.
func (pr *project) target(ctx context.Context, ref string) (repo string, digest image.Digest, err error) {
	if repo, err = pr.repository(ctx); err != nil {
		return "", "", err
	}
	digest, err = pr.resolve(ctx, repo, ref)
	return repo, digest, err
}

func newPlanCommand() *cobra.Command {
	var f shipFlags
	var ref string
	cmd := &cobra.Command{
		Use:   "plan ENVIRONMENT",
		Short: "Show what a deployment would change",
		Args:  cobra.ExactArgs(1),
		Example: `  slipway plan qa
  slipway plan prod --image v1.4.2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			repo, digest, err := pr.target(cmd.Context(), ref)
			if err != nil {
				return err
			}
			p, err := pr.plan(cmd.Context(), args[0], repo+"@"+string(digest), pr.releaseName(cmd.Context(), repo, digest))
			if err != nil {
				return err
			}
			text, err := p.runner.ShowText(cmd.Context(), planFile)
			if err != nil {
				return err
			}
			pr.p.Data("plan", text, map[string]any{"environment": args[0], "digest": digest, "changes": p.plan.Changes})
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&ref, "image", "", "tag or digest (default: the image of the commit that is checked out)")
	return cmd
}

func newDeployCommand() *cobra.Command {
	var f shipFlags
	var ref string
	var build bool
	cmd := &cobra.Command{
		Use:   "deploy ENVIRONMENT",
		Short: "Deploy an image to an environment by Terraform",
		Long: `Renders the environment's Terraform root module from slipway.yaml, plans it to a file and applies
that file. The apply waits for the truth: it ends well only when the deployment is SUCCESSFUL and
the new revision serves. What promotion asks for in slipway.yaml holds here as well.

Exit codes: 0 deployed; 2 bad input; 3 failed and rolled back; 4 failed and not rolled back;
5 still going; 6 refused.`,
		Args: cobra.ExactArgs(1),
		Example: `  slipway deploy qa --build
  slipway deploy qa
  slipway deploy prod --image v1.4.2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			ctx, env := cmd.Context(), args[0]
			if _, _, err := pr.spec(env); err != nil {
				return err
			}
			if build {
				if err := pr.test(ctx); err != nil {
					return err
				}
				if _, err := pr.produce(ctx, true, true, false); err != nil {
					return err
				}
			}
			return pr.bringTo(ctx, env, ref)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&ref, "image", "", "tag or digest (default: the image of the commit that is checked out)")
	cmd.Flags().BoolVar(&build, "build", false, "test, build and push first")
	return cmd
}

// ship is the only run that changes the environment while it deploys.
func (pr *project) ship(ctx context.Context, env, repo string, digest image.Digest) error {
	return pr.claiming(ctx, env, "deployment of "+digest.Short(), func(ctx context.Context) error {
		return pr.shipClaimed(ctx, env, repo, digest, "")
	})
}

// shipClaimed deploys, smoke-tests and says so. Instead is what a rollback replaces, else empty.
func (pr *project) shipClaimed(ctx context.Context, env, repo string, digest, instead image.Digest) error {
	pr.p.Line("deploying %s to %s", digest.Short(), env)
	done, err := pr.deployInstead(ctx, env, repo, digest, instead)
	if err != nil {
		return err
	}
	if err := pr.smoke(ctx, env); err != nil {
		return exitWith(ExitNotRolledBack, err)
	}
	said := fmt.Sprintf("%s runs %s", env, digest.Short())
	if done.Tag != "" {
		said += " (" + done.Tag + ")"
	}
	pr.p.Done("%s %s", said, done.URL)
	pr.p.Data("deployed", "", map[string]any{"environment": env, "digest": digest, "url": done.URL, "tag": done.Tag})
	return nil
}

func newApproveCommand() *cobra.Command {
	var f shipFlags
	var ref, from, by, note string
	var reject bool
	cmd := &cobra.Command{
		Use:   "approve ENVIRONMENT",
		Short: "Record that an image may go to an environment",
		Long: `An approval is bound to a digest: it says nothing about any other image. Without --image it is
about what the environment before (promotion.from in slipway.yaml, or --from) runs now.

With --reject it is recorded that the image may not go there. That ends a pipeline that waits, and
holds until the same person approves it.`,
		Args: cobra.ExactArgs(1),
		Example: `  slipway approve prod
  slipway approve prod --from qa --note "tested on three browsers"
  slipway approve prod --image v1.4.2 --by alice@example.com
  slipway approve prod --reject --note "the basket is empty"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			ctx, env := cmd.Context(), args[0]
			if _, _, err := pr.spec(env); err != nil {
				return err
			}
			var repo string
			var digest image.Digest
			if before := cmp.Or(from, pr.file.Promotion[env].From); ref == "" && before != "" {
				if repo, err = pr.repositoryOf(ctx, before); err != nil {
					return err
				}
				digest, err = pr.runningIn(ctx, before, repo)
			} else {
				repo, digest, err = pr.target(ctx, ref)
			}
			if err != nil {
				return err
			}
			if reject {
				return pr.reject(ctx, env, repo, digest, by, note)
			}
			return pr.approve(ctx, env, repo, digest, by, note)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&ref, "image", "", "tag or digest")
	cmd.Flags().StringVar(&from, "from", "", "approve what this environment runs")
	cmd.Flags().StringVar(&by, "by", "", "who approves (default: git's user.email, or the CI system's user)")
	cmd.Flags().StringVar(&note, "note", "", "why, or what was tested")
	cmd.Flags().BoolVar(&reject, "reject", false, "record that it may not go there")
	return cmd
}

func (pr *project) approve(ctx context.Context, env, repo string, digest image.Digest, by, note string) error {
	if by == "" {
		by = pr.who(ctx)
	}
	st := release.Statement{Kind: release.ApprovedFor, Subject: digest, Environment: env, Outcome: release.Succeeded, By: by}
	if note != "" {
		st.Details = map[string]string{"note": note}
	}
	if err := pr.record(ctx, repo, st); err != nil {
		return err
	}
	pr.p.Done("%s is approved for %s by %s", digest.Short(), env, by)
	pr.p.Data("approved", "", map[string]any{"environment": env, "digest": digest, "by": by})
	return nil
}

func newPromoteCommand() *cobra.Command {
	var f shipFlags
	var from, to string
	cmd := &cobra.Command{
		Use:   "promote --from ENVIRONMENT --to ENVIRONMENT",
		Short: "Deploy to one environment the very digest another one runs",
		Long: `Takes the digest that runs successfully in --from, checks what slipway.yaml asks of a promotion
(tests, approval, time, scan, freezes), and deploys that digest to --to. Every refusal names the
rule and what would satisfy it (exit code 6).`,
		Args:    cobra.NoArgs,
		Example: "  slipway promote --from qa --to prod",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || to == "" {
				return badInput("--from and --to are both needed: slipway promote --from qa --to prod")
			}
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			return pr.promote(cmd.Context(), from, to)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "environment that runs the image")
	cmd.Flags().StringVar(&to, "to", "", "environment to deploy it to")
	return cmd
}

func newRollbackCommand() *cobra.Command {
	var f shipFlags
	var to string
	cmd := &cobra.Command{
		Use:   "rollback ENVIRONMENT",
		Short: "Deploy what an environment ran successfully before",
		Long: `Takes over a deployment that is going on: it is stopped and rolled back, whoever started it. Without
one, what ran successfully before is deployed; with --to, that image.

Exit codes: 0 rolled back; 3, 4, 5 as with deploy; 6 there is nothing to go back to.`,
		Args: cobra.ExactArgs(1),
		Example: `  slipway rollback prod
  slipway rollback prod --to v1.4.1`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := f.reach(cmd, args[0])
			if err != nil {
				return err
			}
			return s.rollBack(cmd.Context(), to)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "tag or digest (default: what ran before)")
	return cmd
}
