package release

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
)

// DefaultKept is how many successful releases of each environment are kept from deletion: what runs,
// what a rollback goes to, and one to spare.
const DefaultKept = 3

// Stock is what a repository holds and who runs it. A repository is named without its registry; its
// uri has it: host/name.
type Stock interface {
	Images(ctx context.Context, repository string) ([]lifecycle.Image, error)
	ImageUses(ctx context.Context, uri string) ([]lifecycle.Use, error)
}

// Guard keeps images that are needed from being deleted. ECR itself asks nobody.
type Guard struct {
	Stock  Stock
	Ledger Ledger
	Kept   int // releases of each environment; 0 = DefaultKept
	Now    func() time.Time
}

// InUseError is a lifecycle policy under which needed images would go.
type InUseError struct {
	Repository string
	Images     []lifecycle.Endangered
}

func (e *InUseError) Error() string {
	lines := []string{fmt.Sprintf("the lifecycle policy would take images of %s that are in use:", e.Repository)}
	for _, x := range e.Images {
		what := "expired"
		if x.Action == lifecycle.Transition {
			what = "archived"
		}
		name := strings.Join(x.Image.Tags, ", ")
		if name == "" {
			name = "no tag"
		}
		lines = append(lines, fmt.Sprintf("  %s (%s) would be %s by rule %d; used by %s", x.Image.Digest, name, what, x.RulePriority, strings.Join(x.By, ", ")))
	}
	lines = append(lines, "give it a tag that a rule keeps, with: slipway images protect, or change the policy")
	return strings.Join(lines, "\n")
}

// Uses are all who need images of the repository: what runs, and the latest successful releases of
// every environment.
func (g Guard) Uses(ctx context.Context, uri string) ([]lifecycle.Use, error) {
	uses, err := g.Stock.ImageUses(ctx, uri)
	if err != nil {
		return nil, fmt.Errorf("asking who runs images of %s: %w", uri, err)
	}
	history, err := g.Ledger.History(ctx, uri)
	if err != nil { // a statement that cannot be read may be of what production runs
		return nil, err
	}
	kept := g.Kept
	if kept == 0 {
		kept = DefaultKept
	}
	return append(uses, Needed(history, kept)...), nil
}

// CheckLifecycle refuses, with *InUseError, a policy that would now take an image somebody needs. An
// invalid policy is for ECR to refuse.
func (g Guard) CheckLifecycle(ctx context.Context, repository, uri, text string) error {
	policy, violations := lifecycle.Parse(text)
	if len(violations) > 0 {
		return nil
	}
	images, err := g.Stock.Images(ctx, repository)
	if err != nil {
		return err
	}
	result := lifecycle.Evaluate(policy, images, g.Now())
	if len(result.Expired)+len(result.Transitioned) == 0 {
		return nil
	}
	uses, err := g.Uses(ctx, uri)
	if err != nil {
		return fmt.Errorf("the lifecycle policy would take images, and who uses them is not known: %w", err)
	}
	if endangered := lifecycle.InUse(result, policy, images, uses); len(endangered) > 0 {
		return &InUseError{repository, endangered}
	}
	return nil
}

// Needed are the images of the latest successful releases of every environment, at most n different
// ones of each. What was rolled back from is not among them.
func Needed(history []Statement, n int) []lifecycle.Use {
	var envs []string
	for _, s := range history {
		if s.Environment != "" && !slices.Contains(envs, s.Environment) {
			envs = append(envs, s.Environment)
		}
	}
	slices.Sort(envs)
	var out []lifecycle.Use
	for _, env := range envs {
		now, before := timeline(history, env)
		slices.Reverse(before)
		seen := map[image.Digest]bool{"": true}
		for _, r := range append([]Running{now}, before...) {
			if seen[r.Digest] {
				continue
			}
			if seen[r.Digest] = true; len(seen) > n+1 {
				break
			}
			by := fmt.Sprintf("environment %s, released %s", env, r.Since.UTC().Format(time.DateOnly))
			if r.Digest == now.Digest {
				by = fmt.Sprintf("environment %s, its present release", env)
			}
			out = append(out, lifecycle.Use{Image: string(r.Digest), By: by})
		}
	}
	return out
}
