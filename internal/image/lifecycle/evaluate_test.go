package lifecycle

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The vectors are worked examples of AWS's pages; each file names its page in "source".
type vector struct {
	ID     string    `json:"id"`
	Now    time.Time `json:"now"`
	Images []struct {
		Name                 string
		Tags                 []string
		PushedAt             time.Time
		LastRecordedPullTime time.Time
		LastActivatedAt      time.Time
		LastArchivedAt       time.Time
		StorageClass         string
		Subject              string
		Manifests            []string
	}
	Policy   json.RawMessage
	Expected struct {
		Expired, Transitioned []string
		AppliedRulePriority   map[string]int
		Failed                map[string]string
	}
	Cascaded []string
}

func TestVectors(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("vectors: %v, %v", files, err)
	}
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), "_") {
			continue
		}
		t.Run(filepath.Base(f), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var v vector
			if err := json.Unmarshal(data, &v); err != nil {
				t.Fatal(err)
			}
			pol, bad := Parse(string(v.Policy))
			if len(bad) > 0 {
				t.Fatalf("violations: %v", bad)
			}
			var images []Image
			for _, im := range v.Images {
				images = append(images, Image{
					Digest: im.Name, Tags: im.Tags, PushedAt: im.PushedAt, LastPulledAt: im.LastRecordedPullTime,
					LastActivatedAt: im.LastActivatedAt, LastArchivedAt: im.LastArchivedAt,
					StorageClass: StorageClass(im.StorageClass), Subject: im.Subject, Manifests: im.Manifests,
				})
			}
			res := Evaluate(pol, images, v.Now)
			applied, failed := map[string]int{}, map[string]string{}
			names := func(ms []Marked) []string {
				out := []string{}
				for _, m := range ms {
					out = append(out, m.Image.Digest)
					applied[m.Image.Digest] = m.RulePriority
				}
				slices.Sort(out)
				return out
			}
			if got := names(res.Expired); !slices.Equal(got, v.Expected.Expired) {
				t.Errorf("expired %v, want %v", got, v.Expected.Expired)
			}
			if got := names(res.Transitioned); !slices.Equal(got, v.Expected.Transitioned) {
				t.Errorf("transitioned %v, want %v", got, v.Expected.Transitioned)
			}
			if !maps.Equal(applied, v.Expected.AppliedRulePriority) {
				t.Errorf("applied %v, want %v", applied, v.Expected.AppliedRulePriority)
			}
			for _, r := range res.Refused {
				failed[r.Image.Digest] = r.Code
			}
			if !maps.Equal(failed, v.Expected.Failed) {
				t.Errorf("refused %v, want %v", failed, v.Expected.Failed)
			}
			var cascaded []string
			for _, c := range res.Cascaded {
				cascaded = append(cascaded, c.Image.Digest)
			}
			if !slices.Equal(cascaded, v.Cascaded) {
				t.Errorf("cascaded %v, want %v", cascaded, v.Cascaded)
			}
		})
	}
}

func TestTagPatternVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/_tag-patterns.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Cases []struct {
			Pattern, Tag string
			Match        bool
		}
	}
	if err := json.Unmarshal(data, &v); err != nil || len(v.Cases) == 0 {
		t.Fatal(err, len(v.Cases))
	}
	for _, c := range v.Cases {
		if got := MatchPattern(c.Pattern, c.Tag); got != c.Match {
			t.Errorf("%q on %q: %v, want %v", c.Pattern, c.Tag, got, c.Match)
		}
	}
}

func TestPatternsOverlappingEnds(t *testing.T) {
	for _, c := range []struct {
		pattern, tag string
		want         bool
	}{
		{"ab*ba", "aba", false}, {"ab*ba", "abba", true}, {"a*b*a", "aa", false}, {"a*b*a", "aba", true},
		{"*a*", "", false}, {"**", "", true}, {"v*.*.*", "v1.2.", true}, {"*-rc*-x", "v-rc-x", true}, {"*-rc*-x", "v-rcx", false},
	} {
		if got := MatchPattern(c.pattern, c.tag); got != c.want {
			t.Errorf("%q on %q: %v, want %v", c.pattern, c.tag, got, c.want)
		}
	}
}

var t0 = time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)

func daysAgo(n float64) time.Time { return t0.Add(-time.Duration(n * 24 * float64(time.Hour))) }

func tagged(prio int, patterns []string, ct CountType, n int, act ActionType) Rule {
	r := Rule{Priority: prio, Selection: Selection{TagStatus: Tagged, TagPatterns: patterns, StorageClass: Standard, CountType: ct, CountNumber: n}, Action: Action{Type: act}}
	if act == Transition {
		r.Action.TargetStorageClass = Archive
	}
	if ct == SinceImageTransitioned {
		r.Selection.StorageClass = Archive
	}
	return r
}

func status(prio int, st TagStatus, ct CountType, n int, act ActionType) Rule {
	r := tagged(prio, nil, ct, n, act)
	r.Selection.TagStatus = st
	return r
}

// The examples of lifecycle_policy_examples.html, "Filtering on multiple rules", "Filtering on
// multiple tags in a single rule" and "Filtering on all images", and what the rule text says of
// manifest lists and referrers.
func TestWorkedExamples(t *testing.T) {
	im := func(name string, days float64, tags ...string) Image {
		return Image{Digest: name, PushedAt: daysAgo(days), Tags: tags}
	}
	multi := []Image{im("A", 10, "beta-1", "prod-1"), im("B", 9, "beta-2", "prod-2"), im("C", 8, "beta-3")}
	list := func(name string, days float64, tags []string, children ...string) Image {
		i := im(name, days, tags...)
		i.Manifests = children
		return i
	}
	refers := func(i Image, subject string) Image { i.Subject = subject; return i }
	for _, c := range []struct {
		name   string
		images []Image
		rules  []Rule
		want   string // expired | transitioned | refused | cascaded
	}{
		{"multiple rules A", multi, []Rule{
			tagged(1, []string{"prod*"}, ImageCountMoreThan, 1, Expire), tagged(2, []string{"beta*"}, ImageCountMoreThan, 1, Expire)}, "A:1|||"},
		{"multiple rules B", multi, []Rule{
			tagged(1, []string{"beta*"}, ImageCountMoreThan, 1, Expire), tagged(2, []string{"prod*"}, ImageCountMoreThan, 1, Expire)}, "A:1 B:1|||"},
		{"multiple tags A", []Image{im("A", 12, "alpha-1"), im("B", 11, "beta-1"), im("C", 10, "alpha-2", "beta-2"),
			im("D", 4, "alpha-3"), im("E", 3, "beta-3"), im("F", 2, "alpha-4", "beta-4")},
			[]Rule{tagged(1, []string{"alpha*", "beta*"}, SinceImagePushed, 5, Expire)}, "C:1|||"},
		{"multiple tags B", []Image{im("A", 10, "alpha-1", "beta-1", "gamma-1"), im("B", 9, "alpha-2", "beta-2"), im("C", 8, "alpha-3", "beta-3", "gamma-2")},
			[]Rule{tagged(1, []string{"alpha*", "beta*"}, ImageCountMoreThan, 1, Expire)}, "A:1 B:1|||"},
		{"all images A", []Image{im("A", 4, "alpha-1"), im("B", 3, "beta-1"), im("C", 2), im("D", 1, "alpha-2")},
			[]Rule{status(1, Any, ImageCountMoreThan, 1, Expire)}, "A:1 B:1 C:1|||"},
		{"all images B: one day old is not older than one day", []Image{im("A", 4, "alpha-1", "beta-1"), im("B", 3), im("C", 2, "alpha-2"), im("D", 1, "git hash"), im("E", 1)},
			[]Rule{tagged(1, []string{"alpha*"}, ImageCountMoreThan, 1, Expire), status(2, Untagged, SinceImagePushed, 1, Expire), status(3, Any, ImageCountMoreThan, 1, Expire)},
			"A:1 B:2 D:3|||"},
		{"children of a list that stays are refused", []Image{list("L", 9, []string{"v1"}, "a", "b"), im("a", 9), im("b", 9), im("c", 9)},
			[]Rule{status(1, Untagged, SinceImagePushed, 1, Expire)}, "c:1||a:1 b:1|"},
		{"children go with their list", []Image{list("L", 9, []string{"v1"}, "a", "b"), im("a", 9), im("b", 9)},
			[]Rule{status(1, Any, SinceImagePushed, 1, Expire)}, "L:1 a:1 b:1|||"},
		{"one of two lists stays", []Image{list("L", 9, nil, "a"), list("M", 1, nil, "a"), im("a", 9)},
			[]Rule{status(1, Any, SinceImagePushed, 5, Expire)}, "L:1||a:1|"},
		{"a refused list holds its children", []Image{list("top", 9, []string{"v1"}, "L"), list("L", 9, nil, "a"), im("a", 9)},
			[]Rule{status(1, Untagged, SinceImagePushed, 1, Expire)}, "||L:1 a:1|"},
		{"the list is archived first", []Image{list("L", 9, []string{"v1"}, "a"), im("a", 9)},
			[]Rule{status(1, Untagged, SinceImagePushed, 1, Expire), status(2, Any, SinceImagePushed, 5, Transition)}, "a:1|L:2||"},
		{"children are counted", []Image{list("L", 3, []string{"v1"}, "a", "b"), im("a", 3.1), im("b", 3.2), im("old", 9, "v0")},
			[]Rule{status(1, Any, ImageCountMoreThan, 3, Expire)}, "old:1|||"},
		{"referrers are not counted and follow", []Image{im("A", 3, "v1"), im("B", 2, "v2"), refers(im("sA", 3), "A"), refers(im("ssA", 3), "sA"), refers(im("sB", 1), "B")},
			[]Rule{status(1, Untagged, SinceImagePushed, 1, Expire), status(2, Any, ImageCountMoreThan, 1, Transition)}, "|A:2||sA ssA"},
		{"a referrer of a refused child stays", []Image{list("L", 9, []string{"v1"}, "a"), im("a", 9), refers(im("sa", 9), "a")},
			[]Rule{status(1, Untagged, SinceImagePushed, 1, Expire)}, "||a:1|"},
		{"an archived image is out of the reach of standard rules and of the count",
			[]Image{{Digest: "x", StorageClass: Archive, PushedAt: daysAgo(1), LastArchivedAt: daysAgo(1)}, im("y", 2), im("z", 3)},
			[]Rule{status(1, Any, ImageCountMoreThan, 1, Expire)}, "z:1|||"},
		{"equal times: by digest", []Image{im("b", 1), im("a", 1), im("c", 1)},
			[]Rule{status(1, Any, ImageCountMoreThan, 1, Expire)}, "a:1 b:1|||"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := summary(Evaluate(Policy{c.rules}, c.images, t0)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func summary(r Result) string {
	var ex, tr, re, ca []string
	for _, m := range r.Expired {
		ex = append(ex, fmt.Sprint(m.Image.Digest, ":", m.RulePriority))
	}
	for _, m := range r.Transitioned {
		tr = append(tr, fmt.Sprint(m.Image.Digest, ":", m.RulePriority))
	}
	for _, m := range r.Refused {
		re = append(re, fmt.Sprint(m.Image.Digest, ":", m.RulePriority))
	}
	for _, m := range r.Cascaded {
		ca = append(ca, m.Image.Digest)
	}
	all := [][]string{ex, tr, re, ca}
	var out []string
	for _, l := range all {
		slices.Sort(l)
		out = append(out, strings.Join(l, " "))
	}
	return strings.Join(out, "|")
}

func drawPolicy(t *rapid.T) Policy {
	n := rapid.IntRange(1, 6).Draw(t, "rules")
	var p Policy
	entries := []string{"a*", "b", "*c", "a*c", "v*", "*", "ab"}
	for i := range n {
		ct := rapid.SampledFrom([]CountType{ImageCountMoreThan, SinceImagePushed, SinceImagePulled, SinceImageTransitioned}).Draw(t, "type")
		act := Expire
		if ct == SinceImagePulled || ct != SinceImageTransitioned && rapid.Bool().Draw(t, "archive") {
			act = Transition
		}
		num := rapid.IntRange(1, 5).Draw(t, "n")
		if ct == SinceImageTransitioned {
			num += 89
		}
		r := tagged(10*i+rapid.IntRange(1, 9).Draw(t, "prio"), nil, ct, num, act)
		switch list := rapid.SliceOfN(rapid.SampledFrom(entries), 1, 2).Draw(t, "tags"); rapid.IntRange(0, 3).Draw(t, "status") {
		case 0:
			r.Selection.TagStatus = Untagged
		case 1:
			r.Selection.TagPrefixes = list
		case 2:
			r.Selection.TagPatterns = list
		default:
			r.Selection.TagStatus = Any
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

func drawImages(t *rapid.T) []Image {
	n := rapid.IntRange(0, 14).Draw(t, "images")
	at := func(label string, max int) time.Time {
		return daysAgo(float64(rapid.IntRange(0, max*2).Draw(t, label)) / 2)
	}
	images := make([]Image, n)
	for i := range images {
		im := Image{Digest: fmt.Sprintf("sha256:%02d", i), PushedAt: at("pushed", 6),
			Tags: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "ab", "abc", "b", "c", "v1", "xc"}), 0, 3, rapid.ID).Draw(t, "tags")}
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			im.StorageClass, im.LastArchivedAt = Archive, at("archived", 95)
		case 1:
			im.LastActivatedAt = at("activated", 6)
		case 2:
			im.LastPulledAt = at("pulled", 6)
		case 3: // digests can only refer to what was there before them
			if i > 0 {
				im.Subject = images[rapid.IntRange(0, i-1).Draw(t, "subject")].Digest
			}
		case 4:
			for range rapid.IntRange(0, 3).Draw(t, "children") {
				if i > 0 {
					im.Manifests = append(im.Manifests, images[rapid.IntRange(0, i-1).Draw(t, "child")].Digest)
				}
			}
		}
		images[i] = im
	}
	return images
}

func TestAgreesWithTheNaiveEvaluator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, images := drawPolicy(t), drawImages(t)
		res := Evaluate(p, images, t0)
		got := map[string]string{}
		put := func(d, what string) {
			if old, dup := got[d]; dup {
				t.Fatalf("%s is %s and %s", d, old, what)
			}
			got[d] = what
		}
		for _, m := range res.Expired {
			put(m.Image.Digest, "expire")
		}
		for _, m := range res.Transitioned {
			put(m.Image.Digest, "transition")
		}
		for _, m := range res.Refused {
			put(m.Image.Digest, "refused")
		}
		for _, m := range res.Cascaded {
			put(m.Image.Digest, "cascade")
		}
		for _, k := range res.Kept {
			put(k.Image.Digest, "keep")
			if k.Why() == "" {
				t.Fatalf("%s is kept without a reason", k.Image.Digest)
			}
		}
		if want := naive(p, images, t0); !maps.Equal(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	})
}

// large is a repository at ECR's limit of images and a policy at its limit of rules.
func large(n int) (Policy, []Image) {
	var p Policy
	for i := range 49 {
		r := tagged(i+1, []string{fmt.Sprintf("team%02d-*", i), "*-r*"}, ImageCountMoreThan, 100, Expire)
		if i%2 == 1 {
			r = tagged(i+1, []string{fmt.Sprintf("*-b%02d*", i)}, SinceImagePushed, 30, Expire)
		}
		p.Rules = append(p.Rules, r)
	}
	p.Rules = append(p.Rules, status(50, Any, ImageCountMoreThan, n/2, Expire))
	images := make([]Image, n)
	for i := range images {
		images[i] = Image{
			Digest: fmt.Sprintf("sha256:%064x", uint32(i)*2654435761), PushedAt: daysAgo(float64(i*7919%n) / 100),
			Tags: []string{fmt.Sprintf("team%02d-b%02d-r%d", i%60, i%70, i), fmt.Sprintf("%07x", i)},
		}
		if i%5 == 0 && i > 4 {
			images[i].Manifests = []string{images[i-1].Digest, images[i-2].Digest}
			images[i-1].Tags, images[i-2].Tags = nil, nil
		}
		if i%11 == 1 {
			images[i].Subject = images[i-1].Digest
		}
	}
	return p, images
}

func BenchmarkEvaluate(b *testing.B) {
	p, images := large(100_000)
	b.ReportAllocs()
	for b.Loop() {
		res := Evaluate(p, images, t0)
		if len(res.Expired) == 0 {
			b.Fatal("nothing expired")
		}
	}
}

// Issue 6: linear memory. Twice the images may take little more than twice the bytes.
func TestMemoryIsLinear(t *testing.T) {
	bytes := func(n int) uint64 {
		p, images := large(n)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		res := Evaluate(p, images, t0)
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(res)
		return after.TotalAlloc - before.TotalAlloc
	}
	small, big := bytes(10_000), bytes(40_000)
	if big > 6*small {
		t.Errorf("10,000 images allocate %d bytes, 40,000 allocate %d", small, big)
	}
}
