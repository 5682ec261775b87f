package cli

import (
	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
	"github.com/slipway-ecs/slipway/internal/release"
)

// protection is what protecting came to.
type protection struct {
	Protected []protectedJSON  `json:"protected"`
	RuleAdded bool             `json:"ruleAdded"`
	Rules     lifecycle.Policy `json:"-"`
}

type protectedJSON struct {
	ImageDigest string `json:"imageDigest"`
	Tag         string `json:"tag"`
	Kept        bool   `json:"kept"`
	Why         string `json:"why"`
}

// judge says of each image whether the policy leaves it, now and when newer images have come or time has passed.
func (p *protection) judge(policy lifecycle.Policy, images []lifecycle.Image, g release.Guard) {
	result := lifecycle.Evaluate(policy, images, g.Now())
	why, gone := map[string]string{}, map[string]bool{}
	for _, k := range result.Kept {
		why[k.Image.Digest] = k.Why()
	}
	for _, list := range [][]lifecycle.Marked{result.Expired, result.Transitioned} {
		for _, m := range list {
			why[m.Image.Digest], gone[m.Image.Digest] = m.Why(), true
		}
	}
	var uses []lifecycle.Use
	for _, x := range p.Protected {
		uses = append(uses, lifecycle.Use{Image: x.ImageDigest, By: "protected"})
	}
	for _, o := range lifecycle.Ahead(result, policy, images, uses) {
		if o.Newer < protectedAtMost/2 { // else it is by a rule that keeps more than there can be
			why[o.Image.Digest], gone[o.Image.Digest] = "it "+o.String(), true
		}
	}
	for i := range p.Protected {
		d := p.Protected[i].ImageDigest
		p.Protected[i].Kept, p.Protected[i].Why = !gone[d], why[d]
	}
}

// Taken says whether the policy takes one of the images.
func (p *protection) Taken() bool {
	for _, x := range p.Protected {
		if x.Why != "" && !x.Kept {
			return true
		}
	}
	return false
}

// protectedAtMost is how many protected images a policy keeps: more than a repository can hold.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
const protectedAtMost = 100_000

// keepFirst is the policy with a rule before all others that keeps what is tagged keep_*: no rule
// after the first that matches an image can act on it.
func keepFirst(p lifecycle.Policy) lifecycle.Policy {
	rules := []lifecycle.Rule{{Priority: 1, Description: "Keep what is protected",
		Selection: lifecycle.Selection{TagStatus: lifecycle.Tagged, TagPrefixes: []string{protectPrefix}, StorageClass: lifecycle.Standard, CountType: lifecycle.ImageCountMoreThan, CountNumber: protectedAtMost},
		Action:    lifecycle.Action{Type: lifecycle.Expire}}}
	for _, r := range p.Rules {
		if p.Rules[0].Priority <= 1 {
			r.Priority++
		}
		rules = append(rules, r)
	}
	return lifecycle.Policy{Rules: rules}
}
