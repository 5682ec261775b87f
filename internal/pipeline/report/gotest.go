package report

import (
	"encoding/json"
	"strings"
	"time"
)

// GoTest collects the events of `go test -json`.
// https://pkg.go.dev/cmd/test2json
type GoTest struct {
	order   []string // packages, as they came
	by      map[string]*Suite
	output  map[[2]string]*strings.Builder // of what is not over, by package and test
	failing map[string]bool                // packages with a failed test
}

type goEvent struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds

	ImportPath string // of build-output
}

// Line takes a line of the output and returns what a person wants to see of it: what is said of
// packages, and all a failed test said.
func (g *GoTest) Line(line string) string {
	var e goEvent
	if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
		return line
	}
	if g.by == nil {
		g.by, g.output, g.failing = map[string]*Suite{}, map[[2]string]*strings.Builder{}, map[string]bool{}
	}
	if e.Action == "build-output" {
		g.buffer(e.ImportPath, "").WriteString(e.Output)
		return strings.TrimRight(e.Output, "\n")
	}
	if e.Package == "" {
		return ""
	}
	suite := g.suite(e.Package)
	took := time.Duration(e.Elapsed * float64(time.Second))
	said := g.buffer(e.Package, e.Test)
	switch e.Action {
	case "output":
		said.WriteString(e.Output)
		if e.Test == "" {
			return strings.TrimRight(e.Output, "\n")
		}
		return ""
	case "pass", "skip", "fail":
	default:
		return ""
	}
	text := said.String()
	said.Reset()
	failed := e.Action == "fail"
	switch {
	case e.Test != "":
		c := Case{Name: e.Test, Took: took, Failed: failed, Skipped: e.Action == "skip"}
		if failed {
			c.Failure, g.failing[e.Package] = text, true
		}
		suite.Cases = append(suite.Cases, c)
		if failed {
			return strings.TrimRight(text, "\n")
		}
	case failed && !g.failing[e.Package]:
		// It does not compile, or ended outside of a test.
		if built := g.buffer(e.Package, "").String(); text == "" {
			text = built
		}
		suite.Cases = append(suite.Cases, Case{Name: "package", Took: took, Failed: true, Failure: text})
	}
	return ""
}

func (g *GoTest) suite(pkg string) *Suite {
	if g.by[pkg] == nil {
		g.by[pkg] = &Suite{Name: pkg}
		g.order = append(g.order, pkg)
	}
	return g.by[pkg]
}

func (g *GoTest) buffer(pkg, test string) *strings.Builder {
	pkg, _, _ = strings.Cut(pkg, " [") // "shop [shop.test]"
	key := [2]string{pkg, test}
	if g.output[key] == nil {
		g.output[key] = &strings.Builder{}
	}
	return g.output[key]
}

// Suites are the packages that have tests, and those that failed without any. What began and did not
// end, because it was killed, has failed.
func (g *GoTest) Suites() []Suite {
	var out []Suite
	for _, pkg := range g.order {
		s := *g.by[pkg]
		if len(s.Cases) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// Tests counts those that ran.
func Tests(suites []Suite) (all, failed, skipped int) {
	for _, s := range suites {
		for _, c := range s.Cases {
			all++
			switch {
			case c.Failed || c.Failure != "":
				failed++
			case c.Skipped:
				skipped++
			}
		}
	}
	return all, failed, skipped
}
