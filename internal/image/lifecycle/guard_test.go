package lifecycle

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestTextIsParsedBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPolicy(t)
		slices.SortFunc(p.Rules, func(a, b Rule) int { return a.Priority - b.Priority })
		got, bad := Parse(p.Text())
		if len(bad) > 0 {
			t.Skip("the policy drawn is not valid: rules are drawn one by one")
		}
		if !reflect.DeepEqual(got, p) {
			t.Fatalf("got  %+v\nwant %+v", got, p)
		}
	})
}

func TestKeepReleases(t *testing.T) {
	p := KeepReleases(2, 30)
	if got, bad := Parse(p.Text()); len(bad) > 0 || !reflect.DeepEqual(got, p) {
		t.Fatal(bad, got)
	}
	if f := Lint(p); len(f) > 0 {
		t.Error(f)
	}
	var images []Image
	for i := range 4 {
		images = append(images,
			Image{Digest: fmt.Sprint("prod", i), Tags: []string{fmt.Sprintf("prod_%07x", i), fmt.Sprintf("%07x", i)}, PushedAt: daysAgo(float64(100 + i))},
			Image{Digest: fmt.Sprint("rel", i), Tags: []string{fmt.Sprintf("v1.%d", i)}, PushedAt: daysAgo(float64(100 + i))},
			Image{Digest: fmt.Sprint("dev", i), Tags: []string{fmt.Sprintf("%07x", i+9)}, PushedAt: daysAgo(float64(20 + 10*i))})
	}
	images = append(images, Image{Digest: "latest", Tags: []string{"latest"}, PushedAt: daysAgo(300)})
	if got, want := summary(Evaluate(p, images, t0)), "dev2:4 dev3:4 prod2:1 prod3:1 rel2:2 rel3:2|||"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAhead(t *testing.T) {
	p := Policy{[]Rule{
		{1, "", Selection{TagStatus: Tagged, TagPatterns: []string{"prod_*"}, StorageClass: Standard, CountType: ImageCountMoreThan, CountNumber: 3}, Action{Type: Expire}},
		{2, "", Selection{TagStatus: Any, StorageClass: Standard, CountType: SinceImagePushed, CountNumber: 30}, Action{Type: Expire}},
	}}
	images := []Image{
		{Digest: "sha256:a", Tags: []string{"prod_1"}, PushedAt: daysAgo(9)},
		{Digest: "sha256:b", Tags: []string{"prod_2"}, PushedAt: daysAgo(8)},
		{Digest: "sha256:c", Tags: []string{"qa"}, PushedAt: daysAgo(10)},
		{Digest: "sha256:d", Tags: []string{"old"}, PushedAt: daysAgo(40)},
	}
	uses := []Use{{"prod_1", "prod"}, {"qa", "qa"}, {"old", "dev"}}
	got := Ahead(Evaluate(p, images, t0), p, images, uses)
	var said []string
	for _, o := range got {
		said = append(said, o.Image.Digest+" "+o.String())
	}
	want := []string{"sha256:a would be expired by rule 1 after 2 newer images that it matches",
		"sha256:c would be expired by rule 2 on " + daysAgo(-20).Format("2006-01-02")}
	if !slices.Equal(said, want) { // what goes now is not ahead
		t.Errorf("got  %q\nwant %q", said, want)
	}
	// And so it comes: one newer image is not enough, two are.
	for n := 1; n <= 2; n++ {
		images = append(images, Image{Digest: fmt.Sprintf("sha256:n%d", n), Tags: []string{fmt.Sprintf("prod_9%d", n)}, PushedAt: daysAgo(0)})
		if gone := len(InUse(Evaluate(p, images, t0), p, images, uses[:1])); gone != n-1 {
			t.Errorf("after %d newer images %d go", n, gone)
		}
	}
}

func TestInUse(t *testing.T) {
	p := Policy{[]Rule{
		tagged(1, []string{"old*"}, SinceImagePushed, 5, Transition),
		status(2, Any, ImageCountMoreThan, 1, Expire),
	}}
	images := []Image{
		{Digest: "prod", Tags: []string{"v1"}, PushedAt: daysAgo(9)},
		{Digest: "list", Tags: []string{"v2"}, PushedAt: daysAgo(8), Manifests: []string{"arm"}},
		{Digest: "arm", PushedAt: daysAgo(8)},
		{Digest: "cold", Tags: []string{"old1"}, PushedAt: daysAgo(7)},
		{Digest: "free", Tags: []string{"v3"}, PushedAt: daysAgo(6)},
		{Digest: "new", Tags: []string{"v4"}, PushedAt: daysAgo(1)},
	}
	var got []string
	for _, e := range InUse(Evaluate(p, images, t0), p, images, []Use{
		{"127.0.0.1:4566/app@prod", "prod"}, {"127.0.0.1:4566/team/app:v1", "qa"}, {"list", "prod"}, {"app:old1", "batch"}, {"new", "prod"}, {"gone", "x"},
	}) {
		got = append(got, fmt.Sprint(e.Image.Digest, " ", e.RulePriority, " ", e.Action, " ", e.By))
	}
	want := []string{"prod 2 expire [prod qa]", "arm 2 expire [prod]", "list 2 expire [prod]", "cold 1 transition [batch]"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
