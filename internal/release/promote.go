package release

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/image"
)

// Policy is what a digest must have before it is deployed to an environment. The zero value asks for
// nothing but that the image was not built from files in no commit.
type Policy struct {
	From         string        // it runs there, successfully; empty = not asked
	Soak         time.Duration // and has done so for this long
	Tests        bool
	Approvals    int      // by so many different people
	Approvers    []string // one of these; none = anybody
	NotAuthor    bool     // an approval by the commit's author does not count
	MaxSeverity  Severity // scanned, with nothing worse; empty = not asked
	Freezes      []Freeze
	AllowDirty   bool
	Signed       bool // only statements that a trusted key signed count, and its build must be one
	AllowReplace bool // From may run something newer by now
}

// Candidate is the digest somebody wants in an environment.
type Candidate struct {
	Digest image.Digest
	To     string
}

// Refusal is a rule that is not met.
type Refusal struct {
	Rule   string // a stable name: "tests"
	Reason string // what is so
	Remedy string // what would satisfy it
}

func (r Refusal) String() string { return r.Rule + ": " + r.Reason + "; " + r.Remedy }

// CanPromote says everything that stands against deploying the candidate. Statements are the
// repository's history; those about other digests count only in saying what runs where.
func CanPromote(c Candidate, history []Statement, p Policy, now time.Time) []Refusal {
	all := About(history, c.Digest)
	history = Credible(history, p.Signed)
	own := About(history, c.Digest)
	var out []Refusal
	for _, rule := range []func() *Refusal{
		func() *Refusal { return ruleSigned(all, own, p) },
		func() *Refusal { return ruleDirty(own, p) },
		func() *Refusal { return ruleTests(own, p) },
		func() *Refusal { return ruleScan(own, p) },
		func() *Refusal { return ruleRunning(c, history, own, p) },
		func() *Refusal { return ruleSoak(c, history, own, p, now) },
		func() *Refusal { return ruleApproval(c, history, own, p) },
		func() *Refusal { return ruleFreeze(c, p, now) },
	} {
		if r := rule(); r != nil {
			out = append(out, *r)
		}
	}
	return out
}

func ruleSigned(all, own []Statement, p Policy) *Refusal {
	if !p.Signed {
		return nil
	}
	if _, ok := Last(own, Built, ""); ok {
		return nil
	}
	const remedy = "build and push it where the signing key is (signing in slipway.yaml)"
	b, ok := Last(all, Built, "")
	switch {
	case !ok:
		return &Refusal{"signed", "no build is recorded for this digest", remedy}
	case b.Signature == Signature{}:
		return &Refusal{"signed", "nobody has checked who signed it: no key is trusted", "name the trusted keys in slipway.yaml (signing)"}
	}
	return &Refusal{"signed", "the record of its build has no trusted signature (" + b.Signature.String() + ")", remedy}
}

func ruleDirty(own []Statement, p Policy) *Refusal {
	if b, ok := Last(own, Built, ""); ok && b.Dirty && !p.AllowDirty {
		return &Refusal{"clean", "the image was built from files that are in no commit", "commit them and build again"}
	}
	return nil
}

func ruleTests(own []Statement, p Policy) *Refusal {
	if !p.Tests {
		return nil
	}
	switch t, ok := Last(own, Tested, ""); {
	case !ok:
		return &Refusal{"tests", "no tests are recorded for this digest", "run `slipway test`, which records them"}
	case t.Outcome != Succeeded:
		return &Refusal{"tests", "the last tests failed, at " + stamp(t.At), "make them pass"}
	}
	return nil
}

func ruleScan(own []Statement, p Policy) *Refusal {
	if p.MaxSeverity == "" {
		return nil
	}
	switch s, ok := Last(own, Scanned, ""); {
	case !ok:
		return &Refusal{"scan", "no scan is recorded for this digest", "scan it"}
	case s.Outcome != Succeeded:
		return &Refusal{"scan", "the last scan failed, at " + stamp(s.At), "scan it again"}
	case s.Severity.rank() > p.MaxSeverity.rank():
		return &Refusal{"scan", fmt.Sprintf("the scan found something %s, worse than %s", s.Severity, p.MaxSeverity), "build an image without it"}
	}
	return nil
}

// runningSince is when the digest began to run in the environment, if it does.
func runningSince(c Candidate, history, own []Statement, p Policy) (time.Time, bool) {
	if now, ok := Current(history, p.From); ok && now.Digest == c.Digest {
		return now.Since, true
	}
	if p.AllowReplace {
		if now, ok := Current(own, p.From); ok && now.Digest == c.Digest {
			return now.Since, true
		}
	}
	return time.Time{}, false
}

func ruleRunning(c Candidate, history, own []Statement, p Policy) *Refusal {
	if p.From == "" {
		return nil
	}
	if _, ok := runningSince(c, history, own, p); ok {
		return nil
	}
	remedy := fmt.Sprintf("deploy this digest to %s", p.From)
	d, deployed := Last(own, DeployedTo, p.From)
	r, rolledBack := Last(own, RolledBack, p.From)
	switch now, ok := Current(history, p.From); {
	case rolledBack && (!deployed || !r.At.Before(d.At)):
		return &Refusal{"running", fmt.Sprintf("it was rolled back in %s at %s", p.From, stamp(r.At)), "build an image that does not need it"}
	case deployed && d.Outcome != Succeeded:
		return &Refusal{"running", fmt.Sprintf("its deployment to %s at %s failed", p.From, stamp(d.At)), "build an image that can be deployed there"}
	case !deployed:
		return &Refusal{"running", "it was never deployed to " + p.From, remedy}
	case ok:
		return &Refusal{"running", fmt.Sprintf("%s runs %s since %s", p.From, now.Digest.Short(), stamp(now.Since)), "promote that one, or " + remedy + " again"}
	}
	return &Refusal{"running", "it does not run in " + p.From, remedy}
}

func ruleSoak(c Candidate, history, own []Statement, p Policy, now time.Time) *Refusal {
	if p.From == "" || p.Soak <= 0 {
		return nil
	}
	since, ok := runningSince(c, history, own, p)
	if !ok {
		return nil // said by another rule
	}
	if ready := since.Add(p.Soak); now.Before(ready) {
		return &Refusal{"soak", fmt.Sprintf("it runs in %s for %s; %s are asked", p.From, now.Sub(since).Round(time.Second), p.Soak), "wait until " + stamp(ready)}
	}
	return nil
}

func ruleApproval(c Candidate, history, own []Statement, p Policy) *Refusal {
	if p.Approvals <= 0 {
		return nil
	}
	remedy := fmt.Sprintf("`slipway approve` of %s for %s by somebody", c.Digest.Short(), c.To)
	if len(p.Approvers) > 0 {
		remedy += " of " + strings.Join(p.Approvers, ", ")
	}
	built, known := Last(own, Built, "")
	if p.NotAuthor {
		if !known || built.Author == "" {
			return &Refusal{"approval", "who wrote the commit is not recorded, so nobody can be told apart from its author", "build the image with slipway"}
		}
		remedy += " who is not " + built.Author
	}
	// An approval does not outlive the rollback of what it approved.
	rolledBack, _ := Last(own, RolledBack, c.To)
	by, why := map[string]bool{}, []string(nil)
	for _, s := range own {
		if s.Kind != ApprovedFor || s.Environment != c.To || !s.At.After(rolledBack.At) && rolledBack.Kind != "" {
			continue
		}
		who := person(s.By)
		switch {
		case s.Outcome != Succeeded:
			delete(by, who)
			why = append(why, s.By+" withdrew it or refused")
		case p.NotAuthor && who == person(built.Author):
			why = append(why, s.By+" wrote the commit")
		case len(p.Approvers) > 0 && !slices.ContainsFunc(p.Approvers, func(a string) bool { return person(a) == who }):
			why = append(why, s.By+" is not one of the approvers")
		default:
			by[who] = true
		}
	}
	if len(by) >= p.Approvals {
		return nil
	}
	reason := fmt.Sprintf("%d of %d approvals for %s are recorded for this digest", len(by), p.Approvals, c.To)
	if other, ok := Last(others(history, c.Digest), ApprovedFor, c.To); ok && len(by) == 0 && len(why) == 0 {
		why = append(why, fmt.Sprintf("there is one for %s, which is another image", other.Subject.Short()))
	}
	if rolledBack.Kind != "" {
		why = append(why, "those before its rollback at "+stamp(rolledBack.At)+" do not count")
	}
	if len(why) > 0 {
		reason += " (" + strings.Join(why, "; ") + ")"
	}
	return &Refusal{"approval", reason, remedy}
}

func others(history []Statement, d image.Digest) []Statement {
	return slices.DeleteFunc(slices.Clone(history), func(s Statement) bool { return s.Subject == d })
}

// person makes the same name of what people write in different ways: "Ann <ann@example.com>" and
// "ann@example.com".
func person(s string) string {
	if _, after, ok := strings.Cut(s, "<"); ok {
		s, _, _ = strings.Cut(after, ">")
	}
	return strings.ToLower(strings.TrimSpace(s))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// SamePerson says whether two names are of one person: "Ann <ann@example.com>" is "ann@example.com".
func SamePerson(a, b string) bool { return person(a) == person(b) }
