package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Outlook is what awaits an image that is in use and stays now: policies are applied every day, and ask
// nobody.
type Outlook struct {
	Image        *Image
	RulePriority int
	Action       ActionType
	Newer        int       // goes when so many more images that the rule matches come; 0: by age
	At           time.Time // goes then, unless something changes its age; zero: by count
	By           []string
}

func (o Outlook) String() string {
	verb := "expired"
	if o.Action == Transition {
		verb = "archived"
	}
	if o.Newer > 0 {
		return fmt.Sprintf("would be %s by rule %d after %d newer images that it matches", verb, o.RulePriority, o.Newer)
	}
	return fmt.Sprintf("would be %s by rule %d on %s", verb, o.RulePriority, o.At.UTC().Format(time.DateOnly))
}

// Ahead tells of every image that is needed and stays when its rule would take it, were nothing to change
// but the time and the images that come. Those without a rule stay for good.
func Ahead(res Result, p Policy, images []Image, uses []Use) []Outlook {
	needed := Needed(images, uses)
	rules := map[int]Rule{}
	for _, r := range p.Rules {
		rules[r.Priority] = r
	}
	var out []Outlook
	for _, k := range res.Kept {
		by := needed[k.Image.Digest]
		if len(by) == 0 || k.Claim == 0 {
			continue
		}
		o := Outlook{Image: k.Image, RulePriority: k.Claim, Action: rules[k.Claim].Action.Type, By: by}
		switch g := k.grounds; {
		case g.countType == ImageCountMoreThan:
			o.Newer = g.limit - g.rank + 1
		case g.at.IsZero() || g.limit > maxDays:
			continue
		default:
			o.At = g.at.Add(time.Duration(g.limit) * day)
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b Outlook) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Newer, b.Newer)) })
	return out
}
