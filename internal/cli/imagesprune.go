package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
)

// What is kept by a repository without a policy when it is pruned without one.
const (
	pruneKeep = 10 // releases of each kind
	pruneDays = 30 // of everything else
)

func newImagesPruneCommand() *cobra.Command {
	var f stockFlags
	var policyFile string
	var yes, skip, asJSON bool
	cmd := &cobra.Command{
		Use:   "prune [REF...]",
		Short: "Delete images that are named, or that a lifecycle policy would expire; never one in use",
		Long: fmt.Sprintf(`Deletes the images that are named, or those that a lifecycle policy would expire now: that of
--policy, else the repository's own, else one that keeps the newest %d deployed to production, the
newest %d with a git tag, latest, and everything of the last %d days. What is stored beside an image
goes with it.

Without --yes it only says what would go. If an image that is in use is among them nothing is
deleted and the exit code is 6; --skip-in-use leaves those out.`, pruneKeep, pruneKeep, pruneDays),
		Example: `  slipway images prune --repository iplookup
  slipway images prune --repository iplookup --yes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			s, err := f.open(ctx)
			if err != nil {
				return err
			}
			all, err := s.holdings(ctx)
			if err != nil {
				return err
			}
			var doomed []string
			if len(args) > 0 {
				if policyFile != "" {
					return badInput("name images or a policy, not both")
				}
				for _, ref := range args {
					h, err := find(all, ref)
					if err != nil {
						return err
					}
					doomed = append(doomed, h.Digest)
				}
			} else {
				policy := lifecycle.KeepReleases(pruneKeep, pruneDays)
				if policyFile != "" || s.policy != "" {
					if policy, err = s.policyOr(cmd, policyFile, asJSON); err != nil {
						return err
					}
				}
				for _, m := range lifecycle.Evaluate(policy, bareImages(all), s.guard.Now()).Expired {
					doomed = append(doomed, m.Image.Digest)
				}
			}
			p := planPrune(all, doomed, skip)
			if len(p.Refused) == 0 && yes {
				if p.Deleted, err = s.cloud.DeleteImages(ctx, s.name, p.order); err != nil {
					return err
				}
			}
			if asJSON {
				if err := writeJSON(cmd.OutOrStdout(), p); err != nil {
					return err
				}
			} else {
				for _, h := range p.Delete {
					fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s\n", shortDigest(h.ImageDigest), strings.Join(h.ImageTags, ","), megabytes(h.SizeInBytes))
				}
				for _, h := range p.Skipped {
					fmt.Fprintf(cmd.OutOrStdout(), "left out: %s  %s  used by %s\n", shortDigest(h.ImageDigest), strings.Join(h.ImageTags, ","), strings.Join(h.UsedBy, "; "))
				}
			}
			if len(p.Refused) > 0 {
				lines := []string{"nothing is deleted; these images are in use:"}
				for _, h := range p.Refused {
					lines = append(lines, fmt.Sprintf("  %s (%s), used by %s", shortDigest(h.ImageDigest), strings.Join(h.ImageTags, ", "), strings.Join(h.UsedBy, "; ")))
				}
				lines = append(lines, "leave them out with --skip-in-use")
				return exitWith(ExitRefused, errors.New(strings.Join(lines, "\n")))
			}
			if asJSON {
				return nil
			}
			if !yes {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d images would be deleted, which frees %s; delete them with --yes\n", len(p.Delete), megabytes(p.Frees))
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted %d images, which frees %s\n", len(p.Delete), megabytes(p.Frees))
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&policyFile, "policy", "", "lifecycle policy (JSON) that says what goes")
	cmd.Flags().BoolVar(&yes, "yes", false, "delete")
	cmd.Flags().BoolVar(&skip, "skip-in-use", false, "leave out what is in use, instead of refusing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func bareImages(list []holding) []lifecycle.Image {
	out := make([]lifecycle.Image, len(list))
	for i, h := range list {
		out[i] = h.Image
	}
	return out
}

// prunePlan is what pruning does.
type prunePlan struct {
	Delete  []holdingJSON `json:"delete"`
	Refused []holdingJSON `json:"refused"` // in use: with any, nothing is deleted
	Skipped []holdingJSON `json:"skipped"` // in use, and left out
	Frees   int64         `json:"freesBytes"`
	Deleted []string      `json:"deleted"` // digests, with what was beside them

	order []string
}

// planPrune divides what shall go. A part of a list that stays is needed by it. What refers to an
// image that goes, goes after it.
func planPrune(all []holding, doomed []string, skip bool) prunePlan {
	p := prunePlan{Delete: []holdingJSON{}, Refused: []holdingJSON{}, Skipped: []holdingJSON{}, Deleted: []string{}}
	goes := map[string]bool{}
	for _, d := range doomed {
		goes[d] = true
	}
	for changed := true; changed; {
		changed = false
		for i := range all {
			h := &all[i]
			if goes[h.Digest] && len(h.By) == 0 {
				continue
			}
			for _, child := range h.Manifests { // a list that stays, with its children that would go
				for j := range all {
					by := "list " + shortDigest(h.Digest)
					if all[j].Digest == child && goes[child] && !slices.Contains(all[j].By, by) {
						all[j].By = append(all[j].By, by)
						changed = true
					}
				}
			}
		}
	}
	// What is recorded of an image that stays, stays: nobody could say any more how it came to be.
	stays := map[string]bool{}
	for i := range all {
		stays[all[i].Digest] = !goes[all[i].Digest] || len(all[i].By) > 0
	}
	for i := range all {
		if h := &all[i]; goes[h.Digest] && h.Subject != "" && stays[h.Subject] {
			h.By = append(h.By, "image "+shortDigest(h.Subject)+", which it is about")
		}
	}
	after := map[string]bool{}
	var lists, rest []string
	for _, h := range all {
		switch {
		case !goes[h.Digest]:
		case len(h.By) > 0 && skip:
			p.Skipped = append(p.Skipped, h.json())
			goes[h.Digest] = false
		case len(h.By) > 0:
			p.Refused = append(p.Refused, h.json())
		default:
			p.Delete = append(p.Delete, h.json())
			if len(h.Manifests) > 0 {
				lists = append(lists, h.Digest)
			} else {
				rest = append(rest, h.Digest)
			}
		}
	}
	for changed := true; changed; { // something may refer to a referrer
		changed = false
		for _, h := range all {
			if h.Subject != "" && goes[h.Subject] && !goes[h.Digest] && len(h.By) == 0 {
				goes[h.Digest], after[h.Digest], changed = true, true, true
			}
		}
	}
	p.order = append(lists, rest...)
	kept := map[string]bool{}
	for _, h := range all {
		if after[h.Digest] {
			p.order = append(p.order, h.Digest)
		}
		if !goes[h.Digest] {
			for _, l := range h.Layers {
				kept[l.Digest] = true
			}
		}
	}
	for _, h := range all {
		if goes[h.Digest] && len(p.Refused) == 0 {
			for _, l := range h.Layers {
				if !kept[l.Digest] {
					kept[l.Digest] = true
					p.Frees += l.Size
				}
			}
		}
	}
	return p
}

// protectPrefix begins the tags of images that are kept by hand.
const protectPrefix = "keep_"

func newImagesProtectCommand() *cobra.Command {
	var f stockFlags
	var policyFile, tag string
	var addRule, asJSON bool
	cmd := &cobra.Command{
		Use:   "protect REF...",
		Short: "Give images a tag that keeps them, and check that the lifecycle policy keeps it",
		Long: `Tags each image keep_<its digest> (or --tag) and evaluates the repository's lifecycle policy again.
If the policy would take the image still, now or when newer ones have come, it says so with exit
code 6 and shows the rule that is missing; --add-rule puts that rule first in the repository's policy.`,
		Example: "  slipway images protect v1.4.2 --repository iplookup",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if tag != "" && len(args) > 1 {
				return badInput("one tag can be on one image only")
			}
			if tag != "" {
				if err := image.CheckTag(tag); err != nil {
					return badInput("%w", err)
				}
			}
			s, err := f.open(ctx)
			if err != nil {
				return err
			}
			all, err := s.holdings(ctx)
			if err != nil {
				return err
			}
			out := protection{Protected: []protectedJSON{}}
			for _, ref := range args {
				h, err := find(all, ref)
				if err != nil {
					return err
				}
				t := tag
				if t == "" {
					t = protectPrefix + image.Digest(h.Digest).Hex()[:12]
				}
				if !slices.Contains(h.Tags, t) {
					if err := s.registry.Retag(ctx, s.uri, image.Digest(h.Digest), t); err != nil {
						return err
					}
				}
				out.Protected = append(out.Protected, protectedJSON{ImageDigest: h.Digest, Tag: t, Kept: true, Why: "the repository has no lifecycle policy that could take it"})
			}
			images, err := s.cloud.Images(ctx, s.name)
			if err != nil {
				return err
			}
			if policyFile != "" || s.policy != "" {
				policy, err := s.policyOr(cmd, policyFile, asJSON)
				if err != nil {
					return err
				}
				out.Rules = policy
				out.judge(policy, images, s.guard)
				if out.Taken() && addRule && policyFile == "" {
					out.Rules = keepFirst(policy)
					if err := s.cloud.PutLifecyclePolicy(ctx, s.name, out.Rules.Text()); err != nil {
						return err
					}
					out.judge(out.Rules, images, s.guard)
					out.RuleAdded = true
				}
			}
			if asJSON {
				if err := writeJSON(cmd.OutOrStdout(), out); err != nil {
					return err
				}
			} else {
				for _, p := range out.Protected {
					fmt.Fprintf(cmd.OutOrStdout(), "%s is tagged %s; %s\n", shortDigest(p.ImageDigest), p.Tag, p.Why)
				}
			}
			if out.Taken() {
				return exitWith(ExitRefused, fmt.Errorf("the lifecycle policy would take images that were to be protected, now or later, whatever their tags; run it again with --add-rule, or use this policy:\n%s", keepFirst(out.Rules).Text()))
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&policyFile, "policy", "", "lifecycle policy to check against (default: the repository's)")
	cmd.Flags().StringVar(&tag, "tag", "", "the tag (default: keep_ and the beginning of the digest)")
	cmd.Flags().BoolVar(&addRule, "add-rule", false, "add a rule that keeps keep_* to the repository's policy if it takes the image still")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
