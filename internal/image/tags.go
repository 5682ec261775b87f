package image

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Latest is the tag that people take for "the newest".
const Latest = "latest"

// Bounds of a hash in a tag. Git's own abbreviations grow with the repository, so the same commit
// would get another tag next year: the length is fixed.
const (
	DefaultHashLength   = 7
	SuggestedHashLength = 12 // no two commits share it in a repository of any size
	minHashLength       = 7
)

// DirtySuffix marks what was built from files that are in no commit.
const DirtySuffix = "-dirty"

// Revision is the state of a git working tree.
type Revision struct {
	Commit  string // full hash, 40 or 64 hexadecimal digits
	GitTags []string
	Branch  string // empty = detached and not told by CI
	Dirty   bool
}

// Policy says which tags an image gets.
type Policy struct {
	HashLength   int // 7–64; 0 = 7
	Latest       bool
	MainBranches []string // branches that set latest; none = main and master
	GitTags      bool
	// RefuseInvalid makes a git tag that cannot be an image tag an error. Otherwise it is skipped and reported.
	RefuseInvalid bool
	Prefixes      map[string]string // environment → prefix of the tag it gets when deployed there
}

// DefaultPolicy is what a service gets that asks for nothing.
func DefaultPolicy() Policy {
	return Policy{HashLength: DefaultHashLength, Latest: true, GitTags: true, Prefixes: map[string]string{"prod": "prod_"}}
}

// Skip is a git tag that did not become an image tag.
type Skip struct{ Tag, Reason string }

// Tagging is what the policy gives one image.
type Tagging struct {
	Tags    []string // the hash first, then git tags in order; then latest
	Skipped []Skip
}

// https://docs.docker.com/reference/cli/docker/image/tag/ and the imageTag of ECR's ImageIdentifier.
var tagForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// CheckTag refuses what neither Docker nor ECR takes for a tag.
func CheckTag(tag string) error {
	switch {
	case tag == "":
		return fmt.Errorf("the tag is empty")
	case len(tag) > 128:
		return fmt.Errorf("tag %q… has %d characters; at most 128 are allowed", tag[:32], len(tag))
	case tagForm.MatchString(tag):
		return nil
	}
	for i, c := range tag {
		if !tagForm.MatchString(string(c)) && (i == 0 || c != '.' && c != '-') {
			return fmt.Errorf("tag %q has %q at %d; letters, digits, _ . - are allowed, and . - not first", tag, c, i+1)
		}
	}
	return fmt.Errorf("tag %q is not allowed", tag)
}

var hexForm = regexp.MustCompile(`^[0-9a-f]+$`)

// Hash is the tag of a commit, with -dirty for a tree that has changes.
func (p Policy) Hash(r Revision) (string, error) {
	n := p.HashLength
	if n == 0 {
		n = DefaultHashLength
	}
	switch {
	case n < minHashLength || n > 64:
		return "", fmt.Errorf("hash length %d is out of bounds: 7 to 64, %d suggested", n, SuggestedHashLength)
	case !hexForm.MatchString(r.Commit):
		return "", fmt.Errorf("commit %q is not a full git hash", r.Commit)
	case len(r.Commit) < n || len(r.Commit) != 40 && len(r.Commit) != 64:
		return "", fmt.Errorf("commit %q has %d digits; a full git hash of 40 or 64 is needed, so that the tag has always the same length", r.Commit, len(r.Commit))
	}
	if r.Dirty {
		return r.Commit[:n] + DirtySuffix, nil
	}
	return r.Commit[:n], nil
}

// Tags are the tags an image gets when it is pushed. A dirty tree gets its hash and nothing else: it
// is neither the release its git tag names nor the latest of anything.
func (p Policy) Tags(r Revision) (Tagging, error) {
	hash, err := p.Hash(r)
	if err != nil {
		return Tagging{}, err
	}
	t := Tagging{Tags: []string{hash}}
	if r.Dirty {
		for _, tag := range r.GitTags {
			t.Skipped = append(t.Skipped, Skip{tag, "the working tree has changes that are in no commit"})
		}
		return t, nil
	}
	if p.GitTags {
		for _, tag := range slices.Sorted(slices.Values(r.GitTags)) {
			if err := p.checkGitTag(tag, hash); err != nil {
				if p.RefuseInvalid {
					return Tagging{}, fmt.Errorf("git tag %q cannot be an image tag: %w", tag, err)
				}
				t.Skipped = append(t.Skipped, Skip{tag, err.Error()})
				continue
			}
			if !slices.Contains(t.Tags, tag) {
				t.Tags = append(t.Tags, tag)
			}
		}
	}
	if p.Latest && p.IsMain(r.Branch) {
		t.Tags = append(t.Tags, Latest)
	}
	return t, nil
}

// checkGitTag also keeps names that mean something else: who pushes a git tag "prod_c656597" must not
// be able to say that production ran it.
func (p Policy) checkGitTag(tag, hash string) error {
	if err := CheckTag(tag); err != nil {
		return err
	}
	if tag == Latest {
		return fmt.Errorf("%q is kept for the newest image of the main branch", tag)
	}
	for _, env := range slices.Sorted(maps.Keys(p.Prefixes)) {
		if prefix := p.Prefixes[env]; prefix != "" && strings.HasPrefix(tag, prefix) {
			return fmt.Errorf("the prefix %q is kept for what was deployed to %s", prefix, env)
		}
	}
	if bare := strings.TrimSuffix(tag, DirtySuffix); len(bare) == len(hash) && hexForm.MatchString(bare) && tag != hash {
		return fmt.Errorf("it looks like the hash of another commit")
	}
	return nil
}

// IsMain says whether a branch may set latest.
func (p Policy) IsMain(branch string) bool {
	if len(p.MainBranches) == 0 {
		return branch == "main" || branch == "master"
	}
	return slices.Contains(p.MainBranches, branch)
}

// DeployedTag is the tag an image gets when its deployment to the environment has succeeded, and not
// before: prod_c656597. Empty = the environment has none.
func (p Policy) DeployedTag(env string, r Revision) (string, error) {
	prefix := p.Prefixes[env]
	if prefix == "" {
		return "", nil
	}
	hash, err := p.Hash(r)
	if err != nil {
		return "", err
	}
	if err := CheckTag(prefix + hash); err != nil {
		return "", fmt.Errorf("prefix %q of %s: %w", prefix, env, err)
	}
	return prefix + hash, nil
}

// Relation is how the commit that has a tag stands to the commit that would get it.
type Relation int

const (
	Unknown  Relation = iota // not in this clone: CI clones are shallow
	Same                     // the same commit
	Older                    // the tag's commit is an ancestor of the new one
	Newer                    // the new commit is an ancestor of the tag's
	Diverged                 // neither
)

// Point is a commit in time.
type Point struct {
	Commit string
	At     time.Time // commit time
}

// MovesForward says whether latest may go from one image to another, and why not. A build of an old
// commit that ends late, or is run again, must not take latest back. Where the history does not tell,
// the commit times do.
func MovesForward(from, to Point, r Relation) (bool, string) {
	switch {
	case r == Same || r == Older || from.Commit != "" && from.Commit == to.Commit:
		return true, ""
	case r == Newer:
		return false, fmt.Sprintf("latest is on commit %s, which comes after %s", from.Commit, to.Commit)
	case from.At.IsZero() || to.At.IsZero():
		return true, "" // it has latest by hand or from another tool: nothing says that it is newer
	case to.At.Before(from.At):
		return false, fmt.Sprintf("latest is on a commit of %s, later than %s of this one", from.At.UTC().Format(time.RFC3339), to.At.UTC().Format(time.RFC3339))
	}
	return true, ""
}

// Moves says whether a tag may go from one image to another. Others are given once: a hash or a
// version that means another image than yesterday is a lie.
func Moves(tag string) bool { return tag == Latest || strings.HasSuffix(tag, DirtySuffix) }
