package lifecycle

import (
	"cmp"
	"math/bits"
	"slices"
	"time"
)

// Image is what a policy sees of an image. Times that are not known are zero.
type Image struct {
	Digest          string
	Tags            []string
	PushedAt        time.Time
	LastPulledAt    time.Time
	LastActivatedAt time.Time // restored from the archive
	LastArchivedAt  time.Time
	StorageClass    StorageClass
	Subject         string   // digest this image refers to: a signature, an SBOM, a statement
	Manifests       []string // digests a manifest list holds
}

// CodeReferenced is the code of a refusal: a manifest list that stays holds the image.
const CodeReferenced = "ImageReferencedByManifestList"

// Result says what becomes of every image. Each image is in exactly one list. Lists are in order of
// age, oldest first.
type Result struct {
	Expired      []Marked
	Transitioned []Marked
	Kept         []Kept
	Refused      []Refused
	// Cascaded are referrers whose subject goes: ECR removes or archives them within 24 hours of it.
	// No rule selects them.
	Cascaded []Cascaded
}

// Refused is an image a rule marked and ECR would not touch.
type Refused struct {
	Image        *Image
	RulePriority int
	Code         string
	By           string // digest of the manifest list that stays
}

// Cascaded is a referrer that goes with its subject.
type Cascaded struct {
	Image  *Image
	Action ActionType
}

const day = 24 * time.Hour

// Evaluate applies the policy to the images of one repository. All rules count all images they
// match, also those matched by rules before them; an image goes by the first rule that matches it,
// or not at all. The result points into images.
//
// Time and memory are linear in the images, but for one sort.
func Evaluate(p Policy, images []Image, now time.Time) Result {
	e := newEvaluation(images)
	for first := 0; first < len(p.Rules); first += maskBits {
		e.apply(p.Rules[first:min(first+maskBits, len(p.Rules))], first, now)
	}
	e.hold()
	return e.result(p, now)
}

// evaluation holds one entry an image in each list; rule numbers are positions in order of
// priority, from 1, and 0 is none.
type evaluation struct {
	images  []Image
	order   []int32 // oldest first
	claim   []int16 // first rule that matched
	marked  []int16 // rule that acts: its claim
	would   []int16 // first rule that would act, were the image not claimed
	rank    []int32 // by the rule that claims it: 1 is the newest it matched
	matched []int32 // by rule number: how many images it matched
	masks   []uint64

	index map[string]int32 // by digest; nil when no image refers to another
	going []bool
	by    []int32 // position of the manifest list that holds the image; -1 none
}

func newEvaluation(images []Image) *evaluation {
	n := len(images)
	e := &evaluation{
		images: images, order: make([]int32, n), claim: make([]int16, n), marked: make([]int16, n),
		would: make([]int16, n), rank: make([]int32, n), matched: []int32{0}, masks: make([]uint64, n),
	}
	type aged struct {
		at int64
		i  int32
	}
	byAge := make([]aged, n)
	for i := range images {
		byAge[i] = aged{ordering(&images[i]).UnixNano(), int32(i)}
	}
	slices.SortFunc(byAge, func(a, b aged) int {
		if a.at != b.at {
			return cmp.Compare(a.at, b.at)
		}
		return cmp.Or(cmp.Compare(images[a.i].Digest, images[b.i].Digest), cmp.Compare(a.i, b.i))
	})
	for k, a := range byAge {
		e.order[k] = a.i
	}
	return e
}

// apply lets some rules, the first of which is number first+1, match, count, claim and mark.
func (e *evaluation) apply(rules []Rule, first int, now time.Time) {
	m := newMatcher(rules)
	counts := make([]int32, len(rules))
	for i := range e.images {
		e.masks[i] = 0
		if im := &e.images[i]; im.Subject == "" { // referrers follow their subjects
			e.masks[i] = m.match(class(im), im.Tags)
		}
		for rest := e.masks[i]; rest != 0; rest &= rest - 1 {
			counts[bits.TrailingZeros64(rest)]++
		}
	}
	e.matched = append(e.matched, counts...)
	limits := make([]time.Time, len(rules))
	for k, r := range rules {
		if n := r.Selection.CountNumber; n <= maxDays {
			limits[k] = now.Add(-time.Duration(n) * day)
		}
	}
	seen := make([]int32, len(rules))
	for _, i := range e.order {
		for rest := e.masks[i]; rest != 0; rest &= rest - 1 {
			k := bits.TrailingZeros64(rest)
			seen[k]++
			sel := &rules[k].Selection
			var acts bool
			if sel.CountType == ImageCountMoreThan {
				acts = int(counts[k]-seen[k]) >= sel.CountNumber
			} else {
				t := reference(&e.images[i], sel.CountType)
				acts = !t.IsZero() && t.Before(limits[k])
			}
			e.mark(i, int16(first+k+1), counts[k]-seen[k]+1, acts)
		}
	}
}

// mark notes that a rule matched an image, and whether it would act on it.
func (e *evaluation) mark(i int32, number int16, rank int32, acts bool) {
	switch {
	case e.claim[i] == 0:
		e.claim[i], e.rank[i] = number, rank
		if acts {
			e.marked[i] = number
		}
	case acts && e.would[i] == 0 && e.marked[i] == 0:
		e.would[i] = number
	}
}

// maxDays is the largest age that fits a Duration; no image is older.
const maxDays = 106_751

// class is the storage class rules see.
func class(im *Image) StorageClass {
	if im.StorageClass == "" {
		return Standard
	}
	return im.StorageClass
}

// activeSince is when the image came into standard storage: pushed, or last restored.
func activeSince(im *Image) time.Time {
	if !im.LastActivatedAt.IsZero() {
		return im.LastActivatedAt
	}
	return im.PushedAt
}

// ordering is the time by which older images go first.
func ordering(im *Image) time.Time {
	if class(im) == Archive && !im.LastArchivedAt.IsZero() {
		return im.LastArchivedAt
	}
	return activeSince(im)
}

// reference is the time an age is counted from; zero if it is not known.
func reference(im *Image, ct CountType) time.Time {
	switch ct {
	case SinceImageTransitioned:
		return im.LastArchivedAt
	case SinceImagePulled:
		if im.LastPulledAt.IsZero() || im.LastPulledAt.Before(im.LastActivatedAt) {
			return activeSince(im)
		}
		return im.LastPulledAt
	default:
		return activeSince(im)
	}
}

// hold finds what really goes: a marked image goes unless a manifest list in standard storage that
// holds it stays, a referrer goes when its subject does. It starts with everything going and takes
// back what is held, until nothing changes; each link is followed once.
func (e *evaluation) hold() {
	n := len(e.images)
	e.going, e.by = make([]bool, n), make([]int32, n)
	linked := false
	for i := range e.images {
		im := &e.images[i]
		e.by[i] = -1
		e.going[i] = e.marked[i] != 0
		linked = linked || im.Subject != "" || len(im.Manifests) > 0
	}
	if !linked {
		return
	}
	e.index = make(map[string]int32, n)
	for i := range e.images {
		e.index[e.images[i].Digest] = int32(i)
	}
	referrers := map[int32][]int32{}
	for i := range e.images {
		if s := e.images[i].Subject; s != "" {
			if j, ok := e.index[s]; ok && j != int32(i) {
				referrers[j] = append(referrers[j], int32(i))
				e.going[i] = true
			}
		}
	}
	var stay []int32
	for i := range e.images {
		if !e.going[i] {
			stay = append(stay, int32(i))
		}
	}
	for len(stay) > 0 {
		i := stay[len(stay)-1]
		stay = stay[:len(stay)-1]
		im := &e.images[i]
		if class(im) != Archive {
			for _, d := range im.Manifests {
				if j, ok := e.index[d]; ok && j != i && e.going[j] {
					e.going[j], e.by[j] = false, i
					stay = append(stay, j)
				}
			}
		}
		for _, j := range referrers[i] {
			if e.going[j] {
				e.going[j] = false
				stay = append(stay, j)
			}
		}
	}
}

func (e *evaluation) result(p Policy, now time.Time) Result {
	var res Result
	for _, i := range e.order {
		im := &e.images[i]
		if m := e.marked[i]; m != 0 {
			switch r := p.Rules[m-1]; {
			case !e.going[i]:
				res.Refused = append(res.Refused, Refused{im, r.Priority, CodeReferenced, e.images[e.by[i]].Digest})
			case r.Action.Type == Transition:
				res.Transitioned = append(res.Transitioned, Marked{im, r.Priority, e.grounds(i, p, now)})
			default:
				res.Expired = append(res.Expired, Marked{im, r.Priority, e.grounds(i, p, now)})
			}
			continue
		}
		if action, ok := e.cascade(i, p); ok {
			res.Cascaded = append(res.Cascaded, Cascaded{im, action})
			continue
		}
		res.Kept = append(res.Kept, e.kept(i, p, now))
	}
	return res
}

// cascade is what happens to a referrer that goes: what happens to the subject at the end of the
// chain. Chains that end nowhere (no digest can refer to itself, but a list may be wrong) hold nothing.
func (e *evaluation) cascade(i int32, p Policy) (ActionType, bool) {
	if !e.going[i] {
		return "", false
	}
	for range e.images {
		if m := e.marked[i]; m != 0 {
			return p.Rules[m-1].Action.Type, true
		}
		j, ok := e.index[e.images[i].Subject]
		if !ok {
			break
		}
		i = j
	}
	return "", false
}
