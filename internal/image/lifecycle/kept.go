package lifecycle

import (
	"fmt"
	"time"
)

// Kept is an image that stays, with what is needed to say why.
type Kept struct {
	Image *Image
	// Claim is the priority of the first rule that matched the image, 0 if none did: no rule after
	// it can act.
	Claim int
	// Would is the priority of a later rule that would act on the image, 0 if none.
	Would     int
	countType CountType
	limit     int
	rank, of  int
	orphan    bool   // a referrer whose subject is not among the images
	heldBy    string // digest of a manifest list that holds a referrer whose subject goes
	now       time.Time
}

func (e *evaluation) kept(i int32, p Policy, now time.Time) Kept {
	k := Kept{Image: &e.images[i], now: now}
	if s := k.Image.Subject; s != "" {
		_, there := e.index[s]
		k.orphan = !there
		if by := e.by[i]; by >= 0 {
			k.heldBy = e.images[by].Digest
		}
	}
	if c := e.claim[i]; c != 0 {
		r := p.Rules[c-1]
		k.Claim, k.countType, k.limit = r.Priority, r.Selection.CountType, r.Selection.CountNumber
		k.rank, k.of = int(e.rank[i]), int(e.matched[c])
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
	s := fmt.Sprintf("rule %d matches it and keeps it: %s", k.Claim, k.reason())
	if k.Would != 0 {
		s += fmt.Sprintf("; rule %d cannot act on what rule %d matched", k.Would, k.Claim)
	}
	return s
}

func (k Kept) reason() string {
	if k.countType == ImageCountMoreThan {
		return fmt.Sprintf("newest %d of %d matched, %d stay", k.rank, k.of, k.limit)
	}
	what := "pushed"
	t := reference(k.Image, k.countType)
	switch {
	case k.countType == SinceImageTransitioned:
		what = "archived"
	case k.countType == SinceImagePulled && t.Equal(k.Image.LastPulledAt):
		what = "pulled"
	case t.Equal(k.Image.LastActivatedAt):
		what = "restored"
	}
	if t.IsZero() {
		return "when it was " + what + " is not known"
	}
	return fmt.Sprintf("%s %.1f days ago, not more than %d", what, k.now.Sub(t).Hours()/24, k.limit)
}
