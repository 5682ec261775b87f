package report

import (
	"encoding/json"
	"encoding/xml"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestJUnit(t *testing.T) {
	data, err := JUnit([]Suite{{Name: "shop", Cases: []Case{{Name: "TestA", Took: 1500 * time.Millisecond}, {Name: "TestB", Failed: true, Failure: "app_test.go:7: \x1b[31mno\x1b[0m <&>\nmore"}, {Name: "TestC", Skipped: true}}}})
	if err != nil {
		t.Fatal(err)
	}
	want := `<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1">
  <testsuite name="shop" tests="3" failures="1" errors="0" skipped="1" time="1.500">
    <testcase classname="shop" name="TestA" time="1.500"></testcase>
    <testcase classname="shop" name="TestB" time="0.000">
      <failure message="app_test.go:7: [31mno[0m &lt;&amp;&gt;">app_test.go:7: [31mno[0m &lt;&amp;&gt;&#xA;more</failure>
    </testcase>
    <testcase classname="shop" name="TestC" time="0.000">
      <skipped></skipped>
    </testcase>
  </testsuite>
</testsuites>
`
	if string(data) != want {
		t.Errorf("got\n%s\nwant\n%s", data, want)
	}
	if err := xml.Unmarshal(data, &xmlSuites{}); err != nil {
		t.Error(err)
	}
}

// The events are those of the go command that is here, of a package with every kind of end.
func TestGoTest(t *testing.T) {
	cmd := exec.Command("go", "test", "-json", "-count=1", "./...")
	cmd.Dir = "testdata/module"
	out, _ := cmd.CombinedOutput() // it must fail
	var g GoTest
	var said []string
	for line := range strings.Lines(string(out)) {
		if s := g.Line(strings.TrimRight(line, "\n")); s != "" {
			said = append(said, s)
		}
	}
	got := map[string]string{}
	for _, s := range g.Suites() {
		for _, c := range s.Cases {
			end := "passed"
			if c.Failed {
				end = "failed: " + c.Failure
			} else if c.Skipped {
				end = "skipped"
			}
			got[s.Name+"."+c.Name] = end
		}
	}
	for name, want := range map[string]string{"module.TestPasses": "passed", "module.TestSkips": "skipped", "module.TestFails": "six times nine", "module.TestFails/inner": "six times nine", "module/broken.package": "undefined: nothing"} {
		if !strings.Contains(got[name], want) {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if all, failed, skipped := Tests(g.Suites()); all != len(got) || failed != 3 || skipped != 1 {
		t.Errorf("%d tests, %d failed, %d skipped: %v", all, failed, skipped, got)
	}
	text := strings.Join(said, "\n")
	if !strings.Contains(text, "six times nine") || !strings.Contains(text, "undefined: nothing") || strings.Contains(text, "a passing test says this") || strings.Contains(text, `{"`) {
		t.Errorf("said\n%s\nof\n%s", text, out)
	}
}

func TestSARIF(t *testing.T) {
	findings := []Finding{{Name: "CVE-1", Severity: "LOW", Package: "zlib 1.2"}, {Name: "CVE-2", Severity: "CRITICAL", Description: "bad", URI: "https://cve.example.com/2", Package: "openssl 3"},
		{Name: "CVE-2", Severity: "CRITICAL", Description: "bad", Package: "libssl 3"}}
	data, err := SARIF("ecr", "1", "host/shop", "sha256:abc", findings)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Rules []struct{ ID, HelpURI string }
				}
			}
			Results []struct {
				RuleID, Level string
				RuleIndex     int
				Message       struct{ Text string }
			}
		}
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	run := got.Runs[0]
	if got.Version != "2.1.0" || len(run.Tool.Driver.Rules) != 2 || len(run.Results) != 3 || run.Results[0].RuleID != "CVE-2" || run.Results[0].Level != "error" ||
		run.Results[2].Level != "note" || run.Results[2].RuleIndex != 1 || run.Results[0].Message.Text != "CVE-2, CRITICAL, in openssl 3: bad" {
		t.Errorf("%s", data)
	}
	if w := Worst(findings); w != "CRITICAL" || Worst(nil) != "" {
		t.Errorf("worst is %q", w)
	}
	if data, err := SARIF("ecr", "1", "r", "d", nil); err != nil || !strings.Contains(string(data), `"results": []`) {
		t.Errorf("without findings: %v\n%s", err, data)
	}
}
