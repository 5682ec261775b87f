package lifecycle

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestDecodeImages(t *testing.T) {
	const details = `[
	 {"registryId":"1","repositoryName":"r","imageDigest":"sha256:a","imageTags":["prod_1"],"imageSizeInBytes":5,
	  "imagePushedAt":"2026-01-02T03:04:05+01:00","lastRecordedPullTime":1767323045.25,"imageManifestMediaType":"x"},
	 {"imageDigest":"sha256:b","imagePushedAt":1767323045,"storageClass":"ARCHIVE","lastArchivedAt":"2026-01-03T00:00:00.5Z",
	  "lastActivatedAt":null,"manifests":["sha256:a"]},
	 {"imageDigest":"sha256:c","imagePushedAt":"2026-01-02T03:04:05Z","imageStatus":"ARCHIVED","subjectManifestDigest":"sha256:a"}]`
	for _, text := range []string{details, `{"imageDetails":` + details + `,"nextToken":"x"}`} {
		images, err := DecodeImages([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		want := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		a, b, c := images[0], images[1], images[2]
		if !a.PushedAt.Equal(want.Add(-time.Hour)) || !a.LastPulledAt.Equal(want.Add(250*time.Millisecond)) || a.Tags[0] != "prod_1" || a.StorageClass != Standard {
			t.Errorf("a = %+v", a)
		}
		if !b.PushedAt.Equal(want) || b.StorageClass != Archive || b.LastArchivedAt.Nanosecond() != 5e8 || !b.LastActivatedAt.IsZero() || b.Manifests[0] != "sha256:a" {
			t.Errorf("b = %+v", b)
		}
		if c.StorageClass != Archive || c.Subject != "sha256:a" {
			t.Errorf("c = %+v", c)
		}
	}
	for text, want := range map[string]string{
		`{}`:                           "no imageDetails",
		`[{"imagePushedAt":1}]`:        "no imageDigest",
		`[{"imageDigest":"sha256:a"}]`: "no imagePushedAt",
		`[{"imageDigest":"a","imagePushedAt":"yesterday"}]`:                             "RFC 3339",
		`[{"imageDigest":"a","imagePushedAt":1e300}]`:                                   "not a time",
		`[{"imageDigest":"a","imagePushedAt":1},{"imageDigest":"a","imagePushedAt":2}]`: "twice",
		`[{"imageDigest":"a","imagePushedAt":1,"storageClass":"glacier"}]`:              "glacier",
		`[`: "unexpected end",
	} {
		if _, err := DecodeImages([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestPreviewJSON(t *testing.T) {
	p := Policy{[]Rule{
		tagged(1, []string{"prod*"}, ImageCountMoreThan, 1, Expire),
		status(2, Untagged, SinceImagePushed, 1, Transition),
		status(3, Any, ImageCountMoreThan, 1, Expire),
	}}
	images := []Image{
		{Digest: "p1", Tags: []string{"prod1"}, PushedAt: daysAgo(9)},
		{Digest: "p2", Tags: []string{"prod2"}, PushedAt: daysAgo(8)},
		{Digest: "list", Tags: []string{"prod3"}, PushedAt: daysAgo(7), Manifests: []string{"child"}},
		{Digest: "child", PushedAt: daysAgo(7)},
		{Digest: "loose", PushedAt: daysAgo(2)},
		{Digest: "sig", PushedAt: daysAgo(2), Subject: "p1"},
		{Digest: "new", PushedAt: daysAgo(0.5)},
	}
	got, err := json.Marshal(Evaluate(p, images, t0).Preview())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"expired":[{"imageDigest":"p1","imageTags":["prod1"],"rulePriority":1},{"imageDigest":"p2","imageTags":["prod2"],"rulePriority":1}],` +
		`"transitioned":[{"imageDigest":"loose","imageTags":[],"rulePriority":2}],` +
		`"kept":[{"imageDigest":"list","why":"rule 1 matches it and keeps it: newest 1 of 3 matched, 1 stay; rule 3 cannot act on what rule 1 matched"},` +
		`{"imageDigest":"new","why":"rule 2 matches it and keeps it: pushed 0.5 days ago, not more than 1"},` +
		`{"imageDigest":"sig","why":"no rule selects a referrer; it is deleted within 24 hours of its subject p1"}],` +
		`"refused":[{"imageDigest":"child","code":"ImageReferencedByManifestList"}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	empty, _ := json.Marshal(Evaluate(p, nil, t0).Preview())
	if string(empty) != `{"expired":[],"transitioned":[],"kept":[],"refused":[]}` {
		t.Errorf("empty: %s", empty)
	}
}

func TestPolicyText(t *testing.T) {
	for in, want := range map[string]string{
		" {\"rules\":[]}\n": `{"rules":[]}`,
		`{"repositoryName":"x","lifecyclePolicyText":"{\"rules\":[]}"}`: `{"rules":[]}`,
	} {
		if got := PolicyText([]byte(in)); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestLint(t *testing.T) {
	keep := tagged(1, []string{"prod_*"}, ImageCountMoreThan, 20, Expire)
	for name, c := range map[string]struct {
		rules []Rule
		want  string
	}{
		"good":                   {[]Rule{keep, status(2, Any, SinceImagePushed, 30, Expire)}, ""},
		"the talk's list is AND": {[]Rule{tagged(1, []string{"prod*", "v*", "latest*"}, ImageCountMoreThan, 100, Expire)}, "1 all-of"},
		"shadowed":               {[]Rule{keep, tagged(2, []string{"p*", "prod_v*"}, SinceImagePushed, 3, Expire)}, "2 shadowed"},
		"not shadowed":           {[]Rule{keep, tagged(2, []string{"prod*"}, SinceImagePushed, 3, Expire)}, ""},
		"AND does not shadow":    {[]Rule{keep, tagged(2, []string{"a*", "b*"}, SinceImagePushed, 3, Expire), tagged(3, []string{"a*"}, SinceImagePushed, 3, Expire)}, "2 all-of"},
		"claims everything":      {[]Rule{keep, tagged(2, []string{"*"}, ImageCountMoreThan, 3, Expire), tagged(3, []string{"v*"}, ImageCountMoreThan, 9, Expire)}, "2 claims-all 3 shadowed"},
		"never matches":          {[]Rule{tagged(1, []string{"feature/*"}, ImageCountMoreThan, 3, Expire), keep}, "1 never-matches"},
		"prod by age":            {[]Rule{tagged(1, []string{"prod*"}, SinceImagePushed, 90, Expire)}, "1 prod-not-kept"},
		"prod among all":         {[]Rule{status(1, Untagged, SinceImagePushed, 1, Expire), status(2, Any, ImageCountMoreThan, 50, Expire)}, "2 prod-not-kept"},
		"a git tag claims prod":  {[]Rule{tagged(1, []string{"v*"}, SinceImagePushed, 90, Transition), keep}, "1 prod-not-kept"},
		"nothing archives":       {[]Rule{keep, status(2, Any, SinceImageTransitioned, 90, Expire)}, "2 nothing-there"},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range c.rules {
				c.rules[i].Priority = i + 1
			}
			var got []string
			for _, f := range Lint(Policy{c.rules}) {
				got = append(got, strings.Fields(strings.TrimPrefix(f.String(), "rule "))[0][:1]+" "+f.Code)
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got %q, want %q: %v", s, c.want, Lint(Policy{c.rules}))
			}
		})
	}
}

func FuzzDecodeImages(f *testing.F) {
	f.Add([]byte(`{"imageDetails":[{"imageDigest":"sha256:a","imageTags":["v1"],"imagePushedAt":1767323045.25,"manifests":["sha256:a"]}]}`))
	f.Add([]byte(`[{"imageDigest":"a","imagePushedAt":"2026-01-02T03:04:05+01:00","storageClass":"archive","subjectManifestDigest":"a"}]`))
	p := KeepReleases(1, 1)
	f.Fuzz(func(t *testing.T, data []byte) {
		images, err := DecodeImages(data)
		if err != nil {
			return
		}
		r := Evaluate(p, images, t0)
		if n := len(r.Expired) + len(r.Transitioned) + len(r.Kept) + len(r.Refused) + len(r.Cascaded); n != len(images) {
			t.Fatalf("%d of %d images accounted for", n, len(images))
		}
		if _, err := json.Marshal(r.Preview()); err != nil {
			t.Fatal(err)
		}
	})
}
