package lifecycle

import (
	"regexp"
	"sort"
	"strings"
	"time"
)

// naive is a second evaluator, written from AWS's page sentence by sentence and with no regard for
// speed. It returns digest → what becomes of it.
func naive(p Policy, images []Image, now time.Time) map[string]string {
	matches := func(r Rule, im Image) bool {
		if im.Subject != "" {
			return false
		}
		c := im.StorageClass
		if c == "" {
			c = Standard
		}
		if c != r.Selection.StorageClass {
			return false
		}
		switch r.Selection.TagStatus {
		case Any:
			return true
		case Untagged:
			return len(im.Tags) == 0
		}
		var res []*regexp.Regexp
		for _, t := range r.Selection.TagPrefixes {
			res = append(res, regexp.MustCompile(`(?s)^`+regexp.QuoteMeta(t)))
		}
		for _, t := range r.Selection.TagPatterns {
			res = append(res, regexp.MustCompile(`(?s)^`+strings.ReplaceAll(regexp.QuoteMeta(t), `\*`, `.*`)+`$`))
		}
		for _, re := range res {
			found := false
			for _, t := range im.Tags {
				found = found || re.MatchString(t)
			}
			if !found {
				return false
			}
		}
		return true
	}
	pushed := func(im Image) time.Time {
		if im.LastActivatedAt.IsZero() {
			return im.PushedAt
		}
		return im.LastActivatedAt
	}
	violates := func(r Rule, im Image) bool {
		n := r.Selection.CountNumber
		old := func(t time.Time) bool { return now.Sub(t) > time.Duration(n)*24*time.Hour }
		switch r.Selection.CountType {
		case SinceImagePushed:
			return old(pushed(im))
		case SinceImageTransitioned:
			return !im.LastArchivedAt.IsZero() && old(im.LastArchivedAt)
		case SinceImagePulled:
			t := im.LastPulledAt
			if t.IsZero() {
				t = im.PushedAt
			}
			if !im.LastActivatedAt.IsZero() && (im.LastPulledAt.IsZero() || im.LastPulledAt.Before(im.LastActivatedAt)) {
				t = im.LastActivatedAt
			}
			return old(t)
		}
		younger := 0
		for _, other := range images {
			if other.Digest == im.Digest || !matches(r, other) {
				continue
			}
			a, b := pushed(other), pushed(im)
			if a.After(b) || a.Equal(b) && other.Digest > im.Digest {
				younger++
			}
		}
		return younger >= n
	}
	rules := append([]Rule(nil), p.Rules...)
	sort.Slice(rules, func(i, j int) bool { return rules[i].Priority < rules[j].Priority })
	out := map[string]string{}
	for _, im := range images {
		out[im.Digest] = "keep"
		for _, r := range rules {
			if matches(r, im) {
				if violates(r, im) {
					out[im.Digest] = string(r.Action.Type)
				}
				break
			}
		}
	}
	subject := map[string]Image{}
	for _, im := range images {
		subject[im.Digest] = im
	}
	held := map[string]bool{}
	// A referrer goes when the end of its chain of subjects goes; a child stays when a list that
	// holds it stays: repeated until nothing changes.
	var goes func(im Image, depth int) bool
	goes = func(im Image, depth int) bool {
		if im.Subject == "" {
			return out[im.Digest] == "expire" || out[im.Digest] == "transition"
		}
		next, ok := subject[im.Subject]
		return ok && depth < len(images) && !held[im.Digest] && goes(next, depth+1)
	}
	for changed := true; changed; {
		changed = false
		for _, list := range images {
			if list.StorageClass == Archive || goes(list, 0) {
				continue
			}
			for _, child := range list.Manifests {
				if c, ok := subject[child]; !ok || child == list.Digest || !goes(c, 0) {
					continue
				}
				if held[child] = true; subject[child].Subject == "" {
					out[child] = "refused"
				}
				changed = true
			}
		}
	}
	for _, im := range images {
		if im.Subject != "" && goes(im, 0) {
			out[im.Digest] = "cascade"
		}
	}
	return out
}
