package pipeline

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"
)

// Image is one that was pushed, as the ledger tells of it.
type Image struct {
	Digest, Commit, Branch string
	Committed              time.Time // of the commit; zero = not recorded
	Pushed                 time.Time
}

// Newer is the newest build of the same branch that is newer than ours, if there is one: it supersedes
// ours. Commits count by their own time, so that an old commit that is built late supersedes nothing.
// A build of which no branch is recorded is of no branch that others are on.
func Newer(ours Image, all []Image) (Image, bool) {
	var newest Image
	for _, b := range all {
		if b.Commit == ours.Commit || b.Digest == ours.Digest || b.Branch != ours.Branch || b.Branch == "" {
			continue
		}
		if after(b, ours) && (newest.Digest == "" || after(b, newest)) {
			newest = b
		}
	}
	return newest, newest.Digest != ""
}

func after(a, b Image) bool {
	if !a.Committed.IsZero() && !b.Committed.IsZero() && !a.Committed.Equal(b.Committed) {
		return a.Committed.After(b.Committed)
	}
	return a.Pushed.After(b.Pushed)
}

// Vote is what somebody said of a digest and an environment.
type Vote struct {
	By, Note string
	At       time.Time
	For      bool // else against
}

// Rejected is the last vote against that its voter has not taken back by voting for it later.
func Rejected(votes []Vote) (Vote, bool) {
	sorted := slices.Clone(votes)
	slices.SortStableFunc(sorted, func(a, b Vote) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.By, b.By)) })
	last := map[string]Vote{}
	for _, v := range sorted {
		last[strings.ToLower(v.By)] = v
	}
	var out Vote
	for _, v := range last {
		if !v.For && (out.By == "" || v.At.After(out.At)) {
			out = v
		}
	}
	return out, out.By != ""
}

// Service is one of many in a repository.
type Service struct {
	Name   string
	Folder string   // slash-separated, from the repository's root; "." is the root
	Paths  []string // what concerns it beside its folder, from its folder: files, folders, patterns
}

// Changed are the services that a change of these files concerns. Files are slash-separated, from the
// repository's root. A file belongs to the innermost service's folder it is in.
func Changed(services []Service, files []string) []Service {
	hit := make([]bool, len(services))
	for _, file := range files {
		owner := -1
		for i, s := range services {
			if within(file, s.Folder) && (owner < 0 || len(s.Folder) > len(services[owner].Folder)) {
				owner = i
			}
			for _, p := range s.Paths {
				hit[i] = hit[i] || matches(file, path.Join(s.Folder, p))
			}
		}
		if owner >= 0 {
			hit[owner] = true
		}
	}
	var out []Service
	for i, s := range services {
		if hit[i] {
			out = append(out, s)
		}
	}
	return out
}

func within(file, folder string) bool {
	return folder == "." || file == folder || strings.HasPrefix(file, folder+"/")
}

// matches says whether the file, or a folder it is in, matches the pattern.
func matches(file, pattern string) bool {
	for f := file; f != "." && f != "/"; f = path.Dir(f) {
		if ok, err := path.Match(pattern, f); ok && err == nil {
			return true
		}
	}
	return pattern == "."
}
