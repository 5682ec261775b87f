//go:build linux

package pipeline

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestEndings: the four ways a delivery ends, each told by mail and to a web server.
func TestEndings(t *testing.T) {
	w := newWorld(t)
	a := w.newApp("shop")

	t.Run("tests failed", func(t *testing.T) {
		a := a.on(t)
		a.write("main.go", strings.Replace(program, `"hello" }`, `"hallo" }`, 1))
		a.commit()
		out := a.runs(1, "pipeline", "run")
		if !strings.Contains(out, `hello() is "hallo"`) || !strings.Contains(out, "the tests failed") {
			t.Errorf("it does not say why:\n%s", out)
		}
		a.expectTold("started", "failed test")
		a.expectMail("test failed", "the tests failed")
		report, err := os.ReadFile(filepath.Join(a.dir, ".slipway/reports/test.xml"))
		if err != nil || !strings.Contains(string(report), `<testcase classname="shop" name="TestHello"`) || !strings.Contains(string(report), "hallo") {
			t.Errorf("report: %v\n%s", err, report)
		}
		if got := a.images(); len(got) != 0 {
			t.Errorf("an image was pushed whose tests fail: %v", got)
		}
		a.write("main.go", program)
	})

	t.Run("rejected", func(t *testing.T) {
		a := a.on(t)
		a.commit()
		out := a.runs(7, "pipeline", "run")
		if !strings.Contains(out, "slipway approve prod --image") {
			t.Errorf("it does not say how to approve:\n%s", out)
		}
		a.expectTold("started", "waiting approve-prod")
		a.expectMail("waits for approval for prod", "0 of 1 approvals")
		a.runs(0, "approve", "prod", "--reject", "--by", "qa@example.com", "--note", "the basket is empty")
		out = a.runs(9, "pipeline", "run", "--from", "approve-prod")
		if !strings.Contains(out, "was rejected for prod by qa@example.com: the basket is empty") {
			t.Errorf("it does not say by whom and why:\n%s", out)
		}
		a.expectTold("rejected approve-prod")
		a.expectMail("rejected", "the basket is empty")
	})

	t.Run("superseded", func(t *testing.T) {
		a := a.on(t)
		older := a.commit()
		a.runs(7, "pipeline", "run")
		a.expectTold("started", "waiting approve-prod")
		a.commit()
		a.runs(0, "pipeline", "run", "--until", "push")
		a.expectTold("started")
		a.git("checkout", "-q", "-B", "main", older)
		out := a.runs(8, "pipeline", "run", "--stage", "approve-prod")
		if !strings.Contains(out, "came after this one and was pushed") {
			t.Errorf("it does not say why:\n%s", out)
		}
		a.expectTold("superseded approve-prod")
		a.expectMail("superseded", "came after this one")
	})

	t.Run("delivered", func(t *testing.T) {
		a := a.on(t)
		a.commits += 5
		a.commit()
		a.runs(0, "pipeline", "run", "--until", "smoke-qa")
		out := a.runs(7, "pipeline", "run", "--stage", "approve-prod", "--approve-as", "dev@example.com")
		if !strings.Contains(out, "dev@example.com wrote the commit") {
			t.Errorf("the author may approve:\n%s", out)
		}
		a.runs(0, "pipeline", "run", "--stage", "approve-prod", "--approve-as", "qa@example.com", "--note", "tested by hand")
		out = a.runs(0, "pipeline", "run", "--from", "approve-prod")
		if !strings.Contains(out, "delivered shop") {
			t.Errorf("said\n%s", out)
		}
		a.expectTold("started", "waiting approve-prod", "delivered verify-prod")
		a.expectMail("delivered", "http://")
		out = a.runs(0, "pipeline", "describe")
		if !strings.Contains(out, "qa runs it · prod runs it") {
			t.Errorf("described as %s", out)
		}
		// Again: nothing is done, and the ledger has nothing new.
		before := a.statements()
		if out := a.runs(0, "pipeline", "run"); strings.Contains(out, "deploying") || strings.Contains(out, "plan:") || strings.Contains(out, "running go test") {
			t.Errorf("the second run does something:\n%s", out)
		}
		if after := a.statements(); !slices.Equal(before, after) {
			t.Errorf("the second run changed the ledger:\n%q\n%q", before, after)
		}
		for _, name := range []string{"smoke-qa.xml", "verify-prod.xml"} {
			if data, err := os.ReadFile(filepath.Join(a.dir, ".slipway/reports", name)); err != nil || !strings.Contains(string(data), `failures="0"`) {
				t.Errorf("%s: %v\n%s", name, err, data)
			}
		}
	})
}

// TestScan: what a scan finds is reported and recorded, and what is worse than an environment lets through
// ends the delivery before anybody tests it.
func TestScan(t *testing.T) {
	w := newWorld(t)
	a := w.newApp("scan")
	a.write("slipway.yaml", strings.NewReplacer("NAME", "scan", "MAIL", w.mail.Address, "not_author: true", "max_severity: medium").Replace(definition))
	a.commit()
	if out := a.runs(1, "pipeline", "run", "--until", "scan"); !strings.Contains(out, "no vulnerability scanner") {
		t.Errorf("without a scanner:\n%s", out)
	}
	findings := func(severity string) {
		text := `{"scan": [{"name": "CVE-2026-7", "severity": "` + severity + `", "attributes": [{"key": "package_name", "value": "zlib"}, {"key": "package_version", "value": "1.2"}]}]}`
		if err := os.WriteFile(filepath.Join(w.tmp, "findings.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	findings("CRITICAL")
	a.commit()
	for range 2 { // the second time by the ledger
		if out := a.runs(6, "pipeline", "run"); !strings.Contains(out, "may not go to prod: scan: the scan found something CRITICAL, worse than MEDIUM") {
			t.Errorf("something critical:\n%s", out)
		}
	}
	if data, err := os.ReadFile(filepath.Join(a.dir, ".slipway/reports/scan.sarif")); err != nil || !strings.Contains(string(data), "CVE-2026-7, CRITICAL, in zlib 1.2") {
		t.Errorf("report: %v\n%s", err, data)
	}
	findings("LOW")
	a.commit()
	if out := a.runs(0, "pipeline", "run", "--until", "scan"); !strings.Contains(out, "1 findings; the worst is low") {
		t.Errorf("something low:\n%s", out)
	}
	got := a.statements()
	slices.Sort(got)
	if want := []string{"built succeeded", "built succeeded", "built succeeded", "scanned failed", "scanned succeeded", "scanned succeeded", "tested succeeded", "tested succeeded", "tested succeeded"}; !slices.Equal(got, want) {
		t.Errorf("the ledger says %q", got)
	}
}

func (a *app) on(t *testing.T) *app {
	c := *a
	c.world = a.world.on(t)
	// What was told before is of another test.
	toldBefore, mailsBefore = len(a.told()), len(a.mails())
	t.Cleanup(func() { a.commits = c.commits })
	return &c
}

var toldBefore, mailsBefore int

// expectTold takes what the web server was told since it was last asked.
func (a *app) expectTold(want ...string) {
	a.Helper()
	all := a.told()
	got := all[toldBefore:]
	toldBefore = len(all)
	if !slices.Equal(got, want) {
		a.Errorf("told %q, want %q", got, want)
	}
}

// expectMail takes the mails since it was last asked; the last must say this.
func (a *app) expectMail(subject, body string) {
	a.Helper()
	all := a.mails()
	got := all[mailsBefore:]
	mailsBefore = len(all)
	if len(got) == 0 {
		a.Errorf("no mail that says %q", subject)
		return
	}
	if m := got[len(got)-1]; !strings.Contains(m.Subject, subject) || !strings.Contains(m.Body, body) || m.From != "ci@example.com" || !slices.Equal(m.To, []string{"team@example.com"}) {
		a.Errorf("mail %+v, want one that says %q and %q", m, subject, body)
	}
}
