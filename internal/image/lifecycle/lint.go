package lifecycle

import (
	"fmt"
	"slices"
	"strings"
)

// Codes of findings.
const (
	FindingShadowed     = "shadowed"      // no image is left for the rule
	FindingNeverMatches = "never-matches" // no image can have such tags
	FindingAllOf        = "all-of"        // several entries, which mean "all of", not "one of"
	FindingClaimsAll    = "claims-all"    // every tagged image belongs to the rule
	FindingProdNotKept  = "prod-not-kept" // no rule keeps the newest images deployed to production
	FindingNothingThere = "nothing-there" // expires archived images, but nothing archives any
)

// Finding is a policy that is valid and does not do what it says.
type Finding struct {
	Rule    int // rulePriority; 0: the policy
	Code    string
	Message string
}

// String is the finding with its rule.
func (f Finding) String() string {
	if f.Rule == 0 {
		return "policy: " + f.Message + " [" + f.Code + "]"
	}
	return fmt.Sprintf("rule %d: %s [%s]", f.Rule, f.Message, f.Code)
}

// ProdTagPrefix is the prefix of the tag that marks what was deployed to production.
const ProdTagPrefix = "prod_"

// Lint finds rules that cannot act, lists that mean another thing than they seem to, and policies
// under which the image production runs would go.
func Lint(p Policy) []Finding {
	var out []Finding
	add := func(rule int, code, format string, args ...any) {
		out = append(out, Finding{rule, code, fmt.Sprintf(format, args...)})
	}
	archives := slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Action.Type == Transition })
	for i, r := range p.Rules {
		sel := r.Selection
		if entry, ok := impossible(sel); ok {
			add(r.Priority, FindingNeverMatches, "%q can match no tag: tags have letters, digits, '_', '.' and '-', start with none of '.-', and at most 128 characters", entry)
		}
		if entries := allEntries(sel); needsSeveralTags(sel) {
			add(r.Priority, FindingAllOf, "selects only images that match all of %s; for images that match one of them, write a rule for each",
				strings.Join(quoted(entries), ", "))
		}
		for _, before := range p.Rules[:i] {
			if covers(before.Selection, sel) {
				add(r.Priority, FindingShadowed, "never acts: every image it matches is matched first by rule %d", before.Priority)
				break
			}
		}
		if sel.TagStatus == Tagged && covers(sel, Selection{TagStatus: Tagged, TagPatterns: []string{"*"}, StorageClass: sel.StorageClass}) {
			add(r.Priority, FindingClaimsAll, "matches every tagged image: no later rule can act on one")
		}
		if sel.CountType == SinceImageTransitioned && !archives {
			add(r.Priority, FindingNothingThere, "expires archived images, but no rule archives any")
		}
	}
	return append(out, lintProd(p)...)
}

// lintProd follows images as they are tagged after a deployment to production: with the commit,
// and perhaps a git tag.
func lintProd(p Policy) []Finding {
	for _, tags := range [][]string{
		{ProdTagPrefix + "c656597", "c656597"},
		{ProdTagPrefix + "c656597", "c656597", "v1.0.1"},
	} {
		for _, r := range p.Rules {
			if newMatcher([]Rule{r}).match(Standard, tags) == 0 {
				continue
			}
			if f, bad := prodFinding(r, tags); bad {
				return []Finding{f}
			}
			break
		}
	}
	return nil
}

// prodFinding judges the rule that claims an image with these tags.
func prodFinding(r Rule, tags []string) (Finding, bool) {
	shown := strings.Join(tags, ", ")
	f := Finding{Rule: r.Priority, Code: FindingProdNotKept}
	verb := "deleted"
	if r.Action.Type == Transition {
		verb = "archived"
	}
	switch {
	case r.Selection.CountType == SinceImagePulled:
		return f, false // what production starts, it pulls
	case r.Selection.CountType != ImageCountMoreThan:
		f.Message = fmt.Sprintf("an image tagged %s is %s after %d days, also when production still runs it; keep the newest %s* by count in a rule before it",
			shown, verb, r.Selection.CountNumber, ProdTagPrefix)
		return f, true
	case !onlyProd(r.Selection):
		f.Message = fmt.Sprintf("an image tagged %s is counted with all others: after %d newer ones it is %s, also when production still runs it; keep the newest %s* in a rule before it",
			shown, r.Selection.CountNumber, verb, ProdTagPrefix)
		return f, true
	}
	return f, false
}

// onlyProd tells whether the selection takes nothing but images tagged for production.
func onlyProd(s Selection) bool {
	if s.TagStatus != Tagged {
		return false
	}
	return slices.ContainsFunc(allEntries(s), func(e string) bool { return strings.HasPrefix(e, "prod") })
}

// allEntries are the selection's tag entries as patterns.
func allEntries(s Selection) []string {
	out := slices.Clone(s.TagPatterns)
	for _, p := range s.TagPrefixes {
		out = append(out, p+"*")
	}
	return out
}

// needsSeveralTags tells whether an image matches only with more than one tag, or with one that
// fits several entries: no entry implies all others.
func needsSeveralTags(s Selection) bool {
	entries := allEntries(s)
	if len(entries) < 2 {
		return false
	}
	for _, e := range entries {
		all := true
		for _, other := range entries {
			all = all && includes(other, e)
		}
		if all {
			return false
		}
	}
	return true
}

// covers tells whether every image the second selection matches is matched by the first. It may
// say no where the answer is yes, never the other way.
func covers(first, second Selection) bool {
	if first.StorageClass != second.StorageClass {
		return false
	}
	switch first.TagStatus {
	case Any:
		return true
	case Untagged:
		return second.TagStatus == Untagged
	}
	if second.TagStatus != Tagged {
		return false
	}
	seconds := allEntries(second)
	for _, want := range allEntries(first) {
		if !slices.ContainsFunc(seconds, func(have string) bool { return includes(want, have) }) {
			return false
		}
	}
	return true
}

// includes tells whether every tag that matches inner matches outer. A "*" of inner can only be
// taken by a "*" of outer, so inner is matched as if its stars were a character no tag has.
func includes(outer, inner string) bool {
	return MatchPattern(outer, strings.ReplaceAll(inner, "*", "\x00"))
}

// impossible finds an entry no tag can match.
func impossible(s Selection) (string, bool) {
	for _, e := range s.TagPatterns {
		if !possible(strings.ReplaceAll(e, "*", ""), !strings.HasPrefix(e, "*")) {
			return e, true
		}
	}
	for _, e := range s.TagPrefixes {
		if !possible(e, true) {
			return e, true
		}
	}
	return "", false
}

// possible tells whether the literal text can be part of a tag; start: it begins it.
func possible(text string, start bool) bool {
	if len(text) > 128 || start && text != "" && strings.ContainsRune(".-", rune(text[0])) {
		return false
	}
	for _, c := range text {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.ContainsRune("_.-", c):
		default:
			return false
		}
	}
	return true
}

func quoted(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = fmt.Sprintf("%q", s)
	}
	return out
}
