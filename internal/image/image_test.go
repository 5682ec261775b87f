package image

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	commit = "c656597a0a8c45c40f4ab9c01c1b4e6ee1cba8a1"
	digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

func TestParseReference(t *testing.T) {
	good := map[string]Reference{
		"shop":                           {Repository: "shop"},
		"team/shop:v1.0.1":               {Repository: "team/shop", Tag: "v1.0.1"},
		"localhost/shop":                 {Registry: "localhost", Repository: "shop"},
		"127.0.0.1:4566/shop@" + digest:  {Registry: "127.0.0.1:4566", Repository: "shop", Digest: digest},
		"r.example:5000/a/b:t@" + digest: {Registry: "r.example:5000", Repository: "a/b", Tag: "t", Digest: digest},
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop:latest": {Registry: "123456789012.dkr.ecr.eu-west-1.amazonaws.com", Repository: "shop", Tag: "latest"},
	}
	for in, want := range good {
		got, err := ParseReference(in)
		if err != nil || got != want {
			t.Errorf("ParseReference(%q) = %+v, %v; want %+v", in, got, err, want)
		}
		if got.String() != in {
			t.Errorf("%q comes back as %q", in, got)
		}
	}
	for _, in := range []string{"", "Shop", "shop:", "shop:-x", "shop@sha256:12", "shop@md5:" + strings.Repeat("0", 32), "a//b", "https://r/x", "r.example:5000/", strings.Repeat("a", 256)} {
		if got, err := ParseReference(in); err == nil {
			t.Errorf("ParseReference(%q) = %+v, want an error", in, got)
		}
	}
}

func TestECR(t *testing.T) {
	for host, want := range map[string][2]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com":       {"123456789012", "eu-west-1"},
		"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn":   {"123456789012", "cn-north-1"},
		"123456789012.dkr.ecr-fips.us-east-1.amazonaws.com":  {"123456789012", "us-east-1"},
		"123456789012.dkr-ecr.us-east-1.on.aws":              {"123456789012", "us-east-1"},
		"127.0.0.1:4566":                                     {},
		"evil.123456789012.dkr.ecr.us-east-1.amazonaws.com":  {},
		"123456789012.dkr.ecr.us-east-1.amazonaws.com.ev.il": {},
	} {
		account, region, ok := ECR(host)
		if [2]string{account, region} != want || ok != (want[0] != "") {
			t.Errorf("ECR(%q) = %q, %q, %v", host, account, region, ok)
		}
	}
}

func TestTags(t *testing.T) {
	with := func(f func(*Policy)) Policy { p := DefaultPolicy(); f(&p); return p }
	tests := map[string]struct {
		policy  Policy
		r       Revision
		want    []string
		skipped []string
		err     string
	}{
		"main": {DefaultPolicy(), Revision{Commit: commit, Branch: "main"}, []string{"c656597", "latest"}, nil, ""},
		"main with git tags": {DefaultPolicy(), Revision{Commit: commit, Branch: "main", GitTags: []string{"v1.0.1", "stable"}},
			[]string{"c656597", "stable", "v1.0.1", "latest"}, nil, ""},
		"another branch":  {DefaultPolicy(), Revision{Commit: commit, Branch: "fix"}, []string{"c656597"}, nil, ""},
		"no branch":       {DefaultPolicy(), Revision{Commit: commit}, []string{"c656597"}, nil, ""},
		"own main branch": {with(func(p *Policy) { p.MainBranches = []string{"trunk"} }), Revision{Commit: commit, Branch: "main"}, []string{"c656597"}, nil, ""},
		"12 digits":       {with(func(p *Policy) { p.HashLength = 12 }), Revision{Commit: commit}, []string{"c656597a0a8c"}, nil, ""},
		"dirty": {DefaultPolicy(), Revision{Commit: commit, Branch: "main", GitTags: []string{"v1"}, Dirty: true},
			[]string{"c656597-dirty"}, []string{"v1"}, ""},
		"not for Docker": {DefaultPolicy(), Revision{Commit: commit, GitTags: []string{"release/1", "v1+b", "v1", ".x"}},
			[]string{"c656597", "v1"}, []string{".x", "release/1", "v1+b"}, ""},
		"refused": {with(func(p *Policy) { p.RefuseInvalid = true }), Revision{Commit: commit, GitTags: []string{"release/1"}}, nil, nil, `'/' at 8`},
		"kept names": {DefaultPolicy(), Revision{Commit: commit, GitTags: []string{"latest", "prod_1", "c656597", "deadbee"}},
			[]string{"c656597"}, []string{"deadbee", "latest", "prod_1"}, ""},
		"no policy":    {Policy{}, Revision{Commit: commit, Branch: "main", GitTags: []string{"v1"}}, []string{"c656597"}, nil, ""},
		"abbreviated":  {DefaultPolicy(), Revision{Commit: "c656597"}, nil, nil, "full git hash"},
		"not a hash":   {DefaultPolicy(), Revision{Commit: "HEAD"}, nil, nil, "full git hash"},
		"too short":    {with(func(p *Policy) { p.HashLength = 4 }), Revision{Commit: commit}, nil, nil, "7 to 64"},
		"longer too":   {with(func(p *Policy) { p.HashLength = 64 }), Revision{Commit: commit}, nil, nil, "full git hash"},
		"128 and more": {DefaultPolicy(), Revision{Commit: commit, GitTags: []string{strings.Repeat("a", 128), strings.Repeat("b", 129)}}, []string{"c656597", strings.Repeat("a", 128)}, []string{strings.Repeat("b", 129)}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := tt.policy.Tags(tt.r)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.Tags, tt.want) {
				t.Errorf("tags %q, want %q", got.Tags, tt.want)
			}
			var skipped []string
			for _, s := range got.Skipped {
				if s.Reason == "" {
					t.Errorf("%q is skipped without a reason", s.Tag)
				}
				skipped = append(skipped, s.Tag)
			}
			if !reflect.DeepEqual(skipped, tt.skipped) {
				t.Errorf("skipped %q, want %q", skipped, tt.skipped)
			}
		})
	}
}

func TestDeployedTag(t *testing.T) {
	p := DefaultPolicy()
	for env, want := range map[string]string{"prod": "prod_c656597", "qa": ""} {
		if got, err := p.DeployedTag(env, Revision{Commit: commit}); err != nil || got != want {
			t.Errorf("%s: %q, %v", env, got, err)
		}
	}
	p.Prefixes["prod"] = "prod/"
	if got, err := p.DeployedTag("prod", Revision{Commit: commit}); err == nil {
		t.Errorf("prefix prod/ gave %q", got)
	}
}

func TestLatestNeverGoesBack(t *testing.T) {
	day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	old, young := Point{"a", day}, Point{"b", day.Add(time.Hour)}
	tests := map[string]struct {
		from, to Point
		r        Relation
		want     bool
	}{
		"descendant":                  {old, young, Older, true},
		"again":                       {old, old, Unknown, true},
		"ancestor":                    {young, old, Newer, false},
		"ancestor with a later clock": {old, young, Newer, false},
		"descendant, earlier clock":   {young, old, Older, true},
		"diverged, later":             {old, young, Diverged, true},
		"diverged, earlier":           {young, old, Diverged, false},
		"shallow, earlier":            {young, old, Unknown, false},
		"nobody knows":                {Point{}, old, Unknown, true},
	}
	for name, tt := range tests {
		got, why := MovesForward(tt.from, tt.to, tt.r)
		if got != tt.want || got == (why != "") {
			t.Errorf("%s: %v, %q", name, got, why)
		}
	}
}

func TestPointOf(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for want, labels := range map[Point]map[string]string{
		{}:           {LabelCreated: "yesterday"},
		{commit, at}: {LabelRevision: commit + DirtySuffix, LabelCreated: "2026-03-01T00:00:00Z"},
	} {
		if got := PointOf(labels); got != want {
			t.Errorf("%v: %+v, want %+v", labels, got, want)
		}
	}
}

func TestMoves(t *testing.T) {
	for tag, want := range map[string]bool{"latest": true, "c656597-dirty": true, "c656597": false, "v1.0.1": false, "prod_c656597": false} {
		if Moves(tag) != want {
			t.Errorf("%s moves: %v", tag, !want)
		}
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"shop", "r.example:5000/a/b:t@" + digest, "localhost/x", "a:b/c", "@", "::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			return
		}
		if again, err := ParseReference(r.String()); err != nil || again != r || r.String() != s {
			t.Errorf("%q is read as %+v, which is written as %q and read as %+v, %v", s, r, r, again, err)
		}
	})
}
