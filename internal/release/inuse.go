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

// Accounts may be asked for by a Stock: whose account and region it is, "account/region".
type Accounts interface {
	AccountAndRegion(ctx context.Context) (string, error)
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
	return append(uses, Needed(history, g.kept())...), nil
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

// DeletionError is a repository that has images somebody needs.
type DeletionError struct {
	Repository string
	Images     []lifecycle.Image // needed ones
	By         map[string][]string
}

func (e *DeletionError) Error() string {
	lines := []string{fmt.Sprintf("images of %s are in use:", e.Repository)}
	for _, im := range e.Images {
		name := strings.Join(im.Tags, ", ")
		if name == "" {
			name = "no tag"
		}
		lines = append(lines, fmt.Sprintf("  %s (%s), used by %s", im.Digest, name, strings.Join(e.By[im.Digest], ", ")))
	}
	lines = append(lines, "delete what runs them first")
	return strings.Join(lines, "\n")
}

// CheckDeletion refuses, with *DeletionError, to delete a repository with all its images while anything
// runs one of them. Nothing here running any, its releases are of the past and go with it; but those of
// other accounts and regions, where nobody can be asked, count.
func (g Guard) CheckDeletion(ctx context.Context, repository, uri string) error {
	images, err := g.Stock.Images(ctx, repository)
	if err != nil {
		return err
	}
	if len(images) == 0 {
		return nil
	}
	uses, err := g.Stock.ImageUses(ctx, uri)
	if err != nil {
		return fmt.Errorf("asking who runs images of %s: %w", uri, err)
	}
	history, err := g.Ledger.History(ctx, uri)
	if err != nil {
		return fmt.Errorf("who uses images of %s is not known: %w", uri, err)
	}
	home := ""
	if a, ok := g.Stock.(Accounts); ok {
		if home, err = a.AccountAndRegion(ctx); err != nil {
			return err
		}
	}
	running := len(uses) > 0
	for _, r := range released(history, g.kept()) {
		if at := place(r.By.Revision); running || at != "" && home != "" && at != home {
			uses = append(uses, r.use())
		}
	}
	by := lifecycle.Needed(images, uses)
	out := &DeletionError{Repository: repository, By: by}
	for _, im := range images {
		if len(by[im.Digest]) > 0 {
			out.Images = append(out.Images, im)
		}
	}
	if len(out.Images) == 0 {
		return nil
	}
	return out
}

func (g Guard) kept() int {
	if g.Kept == 0 {
		return DefaultKept
	}
	return g.Kept
}

// place is the account and region of an ARN, "account/region"; empty for what is none.
func place(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 || parts[0] != "arn" {
		return ""
	}
	return parts[4] + "/" + parts[3]
}

// releasedImage is one of the latest successful releases of an environment.
type releasedImage struct {
	Running
	environment string
	present     bool
}

func (r releasedImage) use() lifecycle.Use {
	by := fmt.Sprintf("environment %s, released %s", r.environment, r.Since.UTC().Format(time.DateOnly))
	if r.present {
		by = fmt.Sprintf("environment %s, its present release", r.environment)
	}
	return lifecycle.Use{Image: string(r.Digest), By: by}
}

// Needed are the images of the latest successful releases of every environment, at most n different
// ones of each. What was rolled back from is not among them.
func Needed(history []Statement, n int) []lifecycle.Use {
	var out []lifecycle.Use
	for _, r := range released(history, n) {
		out = append(out, r.use())
	}
	return out
}

func released(history []Statement, n int) []releasedImage {
	var envs []string
	for _, s := range history {
		if s.Environment != "" && !slices.Contains(envs, s.Environment) {
			envs = append(envs, s.Environment)
		}
	}
	slices.Sort(envs)
	var out []releasedImage
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
			out = append(out, releasedImage{r, env, r.Digest == now.Digest})
		}
	}
	return out
}
