package lifecycle

import (
	"slices"
	"strings"
)

// Use says that somebody needs an image.
type Use struct {
	Image string // digest, tag, or a reference with one of them: host/repository@digest, host/repository:tag
	By    string // for people: "service prod/iplookup, revision 41"
}

// name is the digest or the tag of the image.
func (u Use) name() string {
	if _, digest, ok := strings.Cut(u.Image, "@"); ok {
		return digest
	}
	if strings.HasPrefix(u.Image, "sha256:") {
		return u.Image
	}
	last := u.Image[strings.LastIndexByte(u.Image, '/')+1:]
	if _, tag, ok := strings.Cut(last, ":"); ok {
		return tag
	}
	if last != u.Image {
		return "latest" // a reference without a tag
	}
	return u.Image
}

// Endangered is an image that is in use and would go.
type Endangered struct {
	Image        *Image
	RulePriority int
	Action       ActionType
	By           []string
}

// Needed says of each digest who needs it. An image is also needed when a manifest list that holds it
// is: the list may name platforms that run somewhere.
func Needed(images []Image, uses []Use) map[string][]string {
	byDigest := make(map[string]*Image, len(images))
	byTag := map[string]*Image{}
	for i := range images {
		im := &images[i]
		byDigest[im.Digest] = im
		for _, t := range im.Tags {
			byTag[t] = im
		}
	}
	needed := map[string][]string{}
	var need func(im *Image, by string)
	need = func(im *Image, by string) {
		if im == nil || slices.Contains(needed[im.Digest], by) {
			return
		}
		needed[im.Digest] = append(needed[im.Digest], by)
		for _, child := range im.Manifests {
			need(byDigest[child], by)
		}
	}
	for _, u := range uses {
		name := u.name()
		im := byDigest[name]
		if im == nil {
			im = byTag[name]
		}
		need(im, u.By)
	}
	return needed
}

// InUse finds the images of a result that would go and are needed. An archived image cannot be
// pulled, so archiving counts.
func InUse(res Result, p Policy, images []Image, uses []Use) []Endangered {
	needed := Needed(images, uses)
	action := map[int]ActionType{}
	for _, r := range p.Rules {
		action[r.Priority] = r.Action.Type
	}
	var out []Endangered
	for _, list := range [][]Marked{res.Expired, res.Transitioned} {
		for _, m := range list {
			if by := needed[m.Image.Digest]; len(by) > 0 {
				out = append(out, Endangered{m.Image, m.RulePriority, action[m.RulePriority], by})
			}
		}
	}
	return out
}
