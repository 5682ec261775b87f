package build

import (
	"context"
	"errors"
	"strings"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/slipway-ecs/slipway/internal/image"
)

// readByLibrary reads what readByCommand reads where no git is installed, as in a slim CI image.
func readByLibrary(_ context.Context, dir string) (Source, error) {
	var s Source
	repo, err := gogit.PlainOpenWithOptions(dir, &gogit.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if errors.Is(err, gogit.ErrRepositoryNotExists) {
		return s, &NoCommitError{dir, "is in no git repository"}
	}
	if err != nil {
		return s, err
	}
	head, err := repo.Head()
	if errors.Is(err, plumbing.ErrReferenceNotFound) {
		return s, &NoCommitError{dir, "has no commit"}
	}
	if err != nil {
		return s, err
	}
	commit, err := repo.CommitObject(head.Hash())
	if err != nil {
		return s, err
	}
	s.Commit, s.Time, s.Author = commit.Hash.String(), commit.Committer.When.UTC(), commit.Author.Email
	s.Subject, _, _ = strings.Cut(commit.Message, "\n")
	if head.Name().IsBranch() {
		s.Branch = head.Name().Short()
	}
	tags, err := repo.Tags()
	if err != nil {
		return s, err
	}
	err = tags.ForEach(func(r *plumbing.Reference) error {
		at := r.Hash()
		if t, err := repo.TagObject(at); err == nil { // an annotated tag points to its own object
			c, err := t.Commit()
			if err != nil {
				return nil // of a tree or a file
			}
			at = c.Hash
		}
		if at == commit.Hash {
			s.GitTags = append(s.GitTags, r.Name().Short())
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	tree, err := repo.Worktree()
	if err != nil {
		return s, err
	}
	s.Root = tree.Filesystem.Root()
	status, err := tree.Status()
	if err != nil {
		return s, err
	}
	for path, f := range status {
		if !ours(path) && (f.Worktree != gogit.Unmodified || f.Staging != gogit.Unmodified) {
			s.Dirty = true
		}
	}
	if origin, err := repo.Remote("origin"); err == nil && len(origin.Config().URLs) > 0 {
		s.Remote = origin.Config().URLs[0]
	}
	return s, nil
}

func relationByLibrary(dir, from, to string) (image.Relation, error) {
	repo, err := gogit.PlainOpenWithOptions(dir, &gogit.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if err != nil {
		return image.Unknown, err
	}
	var commits [2]*object.Commit
	for i, hash := range []string{from, to} {
		if commits[i], err = repo.CommitObject(plumbing.NewHash(hash)); err != nil {
			return image.Unknown, nil
		}
	}
	older, err := commits[0].IsAncestor(commits[1])
	if err != nil {
		return image.Unknown, nil // the history is cut off
	}
	if older {
		return image.Older, nil
	}
	newer, err := commits[1].IsAncestor(commits[0])
	switch {
	case err != nil:
		return image.Unknown, nil
	case newer:
		return image.Newer, nil
	}
	return image.Diverged, nil
}
