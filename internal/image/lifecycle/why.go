package lifecycle

import (
	"fmt"
	"time"
)

// grounds are what a rule decided on about an image it owns.
type grounds struct {
	countType CountType
	limit     int       // images or days
	rank, of  int       // the image is the rank-th newest of those the rule matched
	at        time.Time // what its age is counted from
	restored  bool      // at is when it was restored
	pulled    bool      // at is when it was last pulled
	now       time.Time
}

func (e *evaluation) grounds(i int32, p Policy, now time.Time) grounds {
	c := e.claim[i]
	s := p.Rules[c-1].Selection
	im := &e.images[i]
	g := grounds{countType: s.CountType, limit: s.CountNumber, rank: int(e.rank[i]), of: int(e.matched[c]), at: reference(im, s.CountType), now: now}
	g.pulled = s.CountType == SinceImagePulled && g.at.Equal(im.LastPulledAt)
	g.restored = !g.pulled && s.CountType != SinceImageTransitioned && g.at.Equal(im.LastActivatedAt)
	return g
}

func (g grounds) String() string {
	if g.countType == ImageCountMoreThan {
		return fmt.Sprintf("newest %d of %d matched, %d stay", g.rank, g.of, g.limit)
	}
	what := "pushed"
	switch {
	case g.countType == SinceImageTransitioned:
		what = "archived"
	case g.pulled:
		what = "pulled"
	case g.restored:
		what = "restored"
	}
	if g.at.IsZero() {
		return "when it was " + what + " is not known"
	}
	days, than := g.now.Sub(g.at).Hours()/24, "not more"
	if days > float64(g.limit) {
		than = "more"
	}
	return fmt.Sprintf("%s %.1f days ago, %s than %d", what, days, than, g.limit)
}

// Marked is an image a rule acts on.
type Marked struct {
	Image        *Image
	RulePriority int
	grounds      grounds
}

// Why says in a few words why the rule acts on the image.
func (m Marked) Why() string { return fmt.Sprintf("rule %d: %s", m.RulePriority, m.grounds) }

// Kept is an image that stays, with what is needed to say why.
type Kept struct {
	Image *Image
	// Claim is the priority of the first rule that matched the image, 0 if none did: no rule after
	// it can act.
	Claim int
	// Would is the priority of a later rule that would act on the image, 0 if none.
	Would   int
	grounds grounds
	orphan  bool   // a referrer whose subject is not among the images
	heldBy  string // digest of a manifest list that holds a referrer whose subject goes
}

func (e *evaluation) kept(i int32, p Policy, now time.Time) Kept {
	k := Kept{Image: &e.images[i]}
	if s := k.Image.Subject; s != "" {
		_, there := e.index[s]
		k.orphan = !there
		if by := e.by[i]; by >= 0 {
			k.heldBy = e.images[by].Digest
		}
	}
	if c := e.claim[i]; c != 0 {
		k.Claim, k.grounds = p.Rules[c-1].Priority, e.grounds(i, p, now)
	}
	if w := e.would[i]; w != 0 {
		k.Would = p.Rules[w-1].Priority
	}
	return k
}

// Why says in one sentence why the image stays.
func (k Kept) Why() string {
	if k.Claim == 0 {
		switch {
		case k.heldBy != "":
			return "is held by the manifest list " + k.heldBy + ", which stays"
		case k.orphan:
			return "refers to " + k.Image.Subject + ", which is not among the images; no rule selects a referrer"
		case k.Image.Subject != "":
			return "refers to " + k.Image.Subject + " and stays as long as it does"
		case class(k.Image) == Activating:
			return "is being restored from the archive; no rule selects it"
		}
		return "no rule matches it"
	}
	s := fmt.Sprintf("rule %d matches it and keeps it: %s", k.Claim, k.grounds)
	if k.Would != 0 {
		s += fmt.Sprintf("; rule %d cannot act on what rule %d matched", k.Would, k.Claim)
	}
	return s
}
