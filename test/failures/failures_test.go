// Package failures makes deployments fail in every way the catalogue in docs/failures.md has, on a local
// AWS with real processes, and holds what Slipway says of each against it.
package failures

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

const page = "../../docs/failures.md"

const intro = `# What goes wrong, and what Slipway says

Each row was made to happen on a local AWS with real processes, and the sentence is what came out
(` + "`go test ./test/failures -update`" + ` writes the table anew; without ` + "`-update`" + ` it fails when a sentence changes).

| What was wrong | What Slipway says | What to change |
|---|---|---|
`

// row is a line of the catalogue.
type row struct{ name, sentence, fix string }

func (r row) String() string {
	return "| " + r.name + " | " + cell(r.sentence) + " | " + cell(r.fix) + " |\n"
}

var (
	address = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	digest  = regexp.MustCompile(`sha256:[0-9a-f]{64}`)
	ids     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{20,}|[0-9a-f]{32}`)
	number  = regexp.MustCompile(`\d+`)
)

func cell(s string) string {
	s = ids.ReplaceAllString(digest.ReplaceAllString(address.ReplaceAllString(s, "127.0.0.1:4566"), "sha256:…"), "…")
	return strings.ReplaceAll(strings.ReplaceAll(s, "|", `\|`), "\n", " ")
}

// alike compares rows without what differs from run to run: numbers (seconds, tasks, ports), and whether
// a task that crashed at once had been seen to run.
func alike(s string) string {
	return strings.ReplaceAll(number.ReplaceAllString(s, "#"), "within # s of starting", "while starting")
}

func TestFailures(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("needs the sandbox runtime and time")
	}
	s := newStage(t)
	rows := make([]row, len(failures)+len(others))
	var mu sync.Mutex
	t.Run("all", func(t *testing.T) {
		for i, f := range failures {
			t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				target := s.target(fmt.Sprintf("f%02d", i))
				f.change(s, &target)
				_, err := s.cloud.Deploy().Apply(t.Context(), target, func(e deploy.Event) { t.Logf("%s %s %s %s", e.At.Format("05.0"), e.Kind, e.Status, e.Message) })
				if err == nil {
					t.Fatal("it was deployed")
				}
				r := row{name: f.name, sentence: err.Error()}
				var failed *deploy.Failure
				if errors.As(err, &failed) {
					r.sentence, r.fix = failed.Diagnosis.Sentence, failed.Diagnosis.Fix
					if failed.Diagnosis.Cause != f.cause {
						t.Errorf("cause %s, wanted %s", failed.Diagnosis.Cause, f.cause)
					}
				} else if f.cause != "" {
					t.Errorf("no diagnosis: %v", err)
				}
				if !strings.Contains(r.sentence, f.says) || strings.Contains(r.sentence, "\n") {
					t.Errorf("%q does not say %q in one sentence", r.sentence, f.says)
				}
				mu.Lock()
				rows[i] = r
				mu.Unlock()
			})
		}
		for i, o := range others {
			t.Run(strings.ReplaceAll(o.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				r := o.run(t, s)
				r.name = o.name
				mu.Lock()
				rows[len(failures)+i] = r
				mu.Unlock()
			})
		}
	})
	if t.Failed() && !*update {
		return
	}
	text := intro
	for _, r := range rows {
		text += r.String()
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if alike(string(want)) != alike(text) {
		t.Errorf("%s differs (go test ./test/failures -update writes it anew); now it is:\n%s", page, text)
	}
}
