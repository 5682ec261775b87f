// Package build makes images: of Go programs by ko, of Dockerfiles by the engine that is there. It
// reads from git what they are made of, and runs the tests before.
package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/image"
)

// Source is what git says of a working tree.
type Source struct {
	image.Revision
	Time    time.Time // of the commit
	Author  string    // e-mail address
	Subject string    // first line of the commit's message
	Remote  string    // web address of origin, without credentials; may be empty
	Root    string    // of the working tree
}

// NoCommitError is a folder of which no commit can be told.
type NoCommitError struct{ Dir, Reason string }

func (e *NoCommitError) Error() string {
	return fmt.Sprintf("%s %s: images are named by their commit; commit it, or give an image that is built already", e.Dir, e.Reason)
}

// ReadSource reads the state of the working tree a folder is in. Files under .slipway are ours and make
// no tree dirty.
func ReadSource(ctx context.Context, dir string, getenv func(string) string) (Source, error) {
	if getenv == nil {
		getenv = os.Getenv
	}
	read := readByCommand
	if _, err := exec.LookPath("git"); err != nil {
		read = readByLibrary
	}
	s, err := read(ctx, dir)
	if err != nil {
		return Source{}, fmt.Errorf("reading the state of git: %w", err)
	}
	if s.Branch == "" {
		s.Branch = ciBranch(getenv)
	}
	slices.Sort(s.GitTags)
	s.Remote = webAddress(s.Remote)
	return s, nil
}

// ciBranch is the branch a CI system says it builds: it checks out a commit, not a branch. A pull
// request is no branch.
func ciBranch(getenv func(string) string) string {
	if getenv("GITHUB_ACTIONS") != "" {
		if getenv("GITHUB_REF_TYPE") == "branch" && !strings.HasPrefix(getenv("GITHUB_REF"), "refs/pull/") {
			return getenv("GITHUB_REF_NAME")
		}
		return ""
	}
	if getenv("CHANGE_ID") != "" { // Jenkins: BRANCH_NAME is PR-7
		return ""
	}
	for _, name := range []string{"BRANCH_NAME", "CI_COMMIT_BRANCH", "BUILDKITE_BRANCH", "CIRCLE_BRANCH"} {
		if b := getenv(name); b != "" {
			return b
		}
	}
	return strings.TrimPrefix(strings.TrimPrefix(getenv("GIT_BRANCH"), "refs/remotes/"), "origin/")
}

// webAddress makes one address of the many forms of a remote: for the same commit the same label,
// however it was cloned, and without the token that CI systems put into it. A local path is none.
func webAddress(remote string) string {
	if !strings.Contains(remote, "://") {
		host, path, ok := strings.Cut(remote, ":") // git@github.com:org/repo.git
		if _, after, user := strings.Cut(host, "@"); user {
			host = after
		}
		if !ok || strings.Contains(host, "/") || len(host) < 2 {
			return ""
		}
		remote = "https://" + host + "/" + path
	}
	u, err := url.Parse(remote)
	if err != nil || u.Host == "" || u.Scheme == "file" {
		return ""
	}
	if u.Scheme != "http" {
		u.Scheme, u.Host = "https", u.Hostname()
	}
	return u.Scheme + "://" + u.Host + strings.TrimSuffix(strings.TrimSuffix(u.EscapedPath(), "/"), ".git")
}

type gitError struct {
	args   []string
	code   int
	stderr string
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s ended with %d: %s", e.args[0], e.code, strings.TrimSpace(e.stderr))
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return strings.TrimSuffix(stdout.String(), "\n"), nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.As(err, &exit):
		return "", &gitError{args, exit.ExitCode(), stderr.String()}
	}
	return "", err
}

func readByCommand(ctx context.Context, dir string) (Source, error) {
	var s Source
	root, err := git(ctx, dir, "rev-parse", "--show-toplevel")
	if g := (*gitError)(nil); errors.As(err, &g) && strings.Contains(g.stderr, "not a git repository") {
		return s, &NoCommitError{dir, "is in no git repository"}
	}
	if err != nil {
		return s, err
	}
	s.Root = filepath.FromSlash(root)
	head, err := git(ctx, dir, "rev-parse", "-q", "--verify", "HEAD^{commit}")
	if err != nil {
		return s, &NoCommitError{dir, "has no commit"}
	}
	s.Commit = head
	// Without the mail map and colours of whoever runs it.
	facts, err := git(ctx, dir, "log", "-1", "--no-color", "--no-show-signature", "--format=%ct%x00%ae%x00%s", head)
	if err != nil {
		return s, err
	}
	f := strings.SplitN(facts, "\x00", 3)
	if len(f) != 3 {
		return s, fmt.Errorf("git log answers %q", facts)
	}
	seconds, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		return s, fmt.Errorf("git log answers %q", facts)
	}
	s.Time, s.Author, s.Subject = time.Unix(seconds, 0).UTC(), f[1], f[2]
	tags, err := git(ctx, dir, "tag", "--points-at", head)
	if err != nil {
		return s, err
	}
	s.GitTags = strings.Fields(tags)
	if b, err := git(ctx, dir, "symbolic-ref", "-q", "--short", "HEAD"); err == nil {
		s.Branch = b
	}
	changes, err := git(ctx, s.Root, "status", "--porcelain", "-z", "--untracked-files=all")
	if err != nil {
		return s, err
	}
	s.Dirty = dirty(changes)
	if r, err := git(ctx, dir, "remote", "get-url", "origin"); err == nil {
		s.Remote = r
	}
	return s, nil
}

// dirty reads `git status --porcelain -z`: two letters, a blank, a path; a renamed file's old path
// comes after it.
func dirty(status string) bool {
	for _, entry := range strings.Split(status, "\x00") {
		if len(entry) > 3 && !ours(entry[3:]) {
			return true
		}
	}
	return false
}

func ours(path string) bool {
	return slices.Contains(strings.Split(filepath.ToSlash(path), "/"), ".slipway")
}

// Relation says how one commit stands to another in the history that is here.
func Relation(ctx context.Context, dir, from, to string) (image.Relation, error) {
	if from == to {
		return image.Same, nil
	}
	if _, err := exec.LookPath("git"); err != nil {
		return relationByLibrary(dir, from, to)
	}
	for _, c := range []string{from, to} {
		if _, err := git(ctx, dir, "cat-file", "-e", c+"^{commit}"); err != nil {
			return image.Unknown, ctx.Err()
		}
	}
	for _, q := range []struct {
		a, b string
		then image.Relation
	}{{from, to, image.Older}, {to, from, image.Newer}} {
		_, err := git(ctx, dir, "merge-base", "--is-ancestor", q.a, q.b)
		if err == nil {
			return q.then, nil
		}
		if g := (*gitError)(nil); !errors.As(err, &g) || g.code != 1 {
			return image.Unknown, fmt.Errorf("comparing commits: %w", err)
		}
	}
	if shallow, err := git(ctx, dir, "rev-parse", "--is-shallow-repository"); err != nil || shallow == "true" {
		return image.Unknown, ctx.Err() // what joins them may be cut off
	}
	return image.Diverged, nil
}
