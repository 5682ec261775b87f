package docs

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the pages anew")

const folder = "../../docs"

// The pages are made from the code, so they say what the program does.
func TestPages(t *testing.T) {
	t.Setenv("SLIPWAY_CLUSTER", "") // it changes the default of a flag
	transcript, err := os.ReadFile("testdata/demo.ansi")
	if err != nil {
		t.Fatal(err)
	}
	localAWS, err := LocalAWS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{
		"reference/cli.md":       Commands(),
		"reference/local-aws.md": localAWS,
		"demo.svg":               Terminal("slipway demo --once --runtime sandbox   (a real run; the lines of Terraform and ko are left out)", string(transcript)),
	} {
		path := filepath.Join(folder, name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(want) != got {
			t.Errorf("docs/%s is not what the code says; go generate ./internal/docs writes it anew", name)
		}
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		line, want string
		width      int
	}{
		{"short", "short", 10},
		{"  one two three", "  one two \n    three", 10},
		{"abcdefghijkl", "abcdefghij\n  kl", 10},
		{"\x1b[1mone two\x1b[0m three four", "one two \n  three \n  four", 8},
		{"", "", 8},
	} {
		var got []string
		for _, l := range fold(spans(c.line), c.width) {
			text := ""
			for _, s := range l {
				text += s.text
			}
			got = append(got, text)
		}
		if g := strings.Join(got, "\n"); g != c.want {
			t.Errorf("fold(%q, %d) = %q, not %q", c.line, c.width, g, c.want)
		}
	}
}

var (
	fence = regexp.MustCompile("(?ms)^```.*?^```|^    .*?$|`[^`\n]*`")
	link  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// What a page links to in this repository is there.
func TestLinks(t *testing.T) {
	pages := []string{"../../README.md", "../../CONTRIBUTING.md", "../../CHANGELOG.md"}
	err := filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(string(text), ""), -1) {
			to, _, _ := strings.Cut(m[1], "#")
			if to == "" || strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), to)); err != nil {
				t.Errorf("%s links to %s, which is not there", strings.TrimPrefix(page, "../../"), to)
			}
		}
	}
}
