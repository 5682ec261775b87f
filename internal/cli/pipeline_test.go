package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestAsker(t *testing.T) {
	for in, want := range map[string]bool{"y\n": true, "Yes\n": true, " y \nn\n": true, "n\n": false, "\n": false, "": false, "yesterday\n": false} {
		var out bytes.Buffer
		got, err := asker(strings.NewReader(in), &out)("Ship it?")
		if err != nil || got != want || !strings.Contains(out.String(), "Ship it? [y/N]") {
			t.Errorf("%q: %v, %v, asked %q", in, got, err, out.String())
		}
	}
	// What follows the answer is left for the next question.
	in := strings.NewReader("y\nn\n")
	ask := asker(in, &bytes.Buffer{})
	first, _ := ask("1")
	if second, _ := ask("2"); !first || second {
		t.Errorf("answered %v and %v", first, second)
	}
}

// What many deliveries print is a line an event, with the service before it, and each program's event
// with --json.
func TestBoard(t *testing.T) {
	tell := func(asJSON bool) string {
		var out bytes.Buffer
		b := newBoard(newPrinter(&out, asJSON), []string{"shop", "basket"})
		p := newPrinter(b.writer("shop"), true)
		p.Line("shop, commit c0ffee")
		p.Step("test", "test", "")
		p.Data("stage", "", map[string]any{"stage": "test", "state": "begun"})
		p.Detail("ok shop")
		p.Done("7 tests passed")
		p.Data("stage", "", map[string]any{"stage": "test", "state": "done"})
		b.close()
		return out.String()
	}
	if got, want := tell(false), "shop   | test …\nshop   | test ✓ 7 tests passed\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for line := range strings.Lines(tell(true)) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Data["service"] != "shop" {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// The worst end is the exit code: what waits is not worse than what failed.
func TestWorstEnd(t *testing.T) {
	b := newBoard(newPrinter(&bytes.Buffer{}, false), nil)
	defer b.close()
	waits, failed := exitWith(ExitWaiting, errors.New("waits")), errors.New("failed")
	for want, ends := range map[int][]error{ExitOK: {nil, nil}, ExitWaiting: {nil, waits}, ExitFailed: {failed, waits, nil}, ExitNotRolledBack: {waits, exitWith(ExitNotRolledBack, failed), failed}} {
		if got := exitCode(b.sum([]string{"a", "b", "c"}[:len(ends)], ends)); got != want {
			t.Errorf("%v: %d, want %d", ends, got, want)
		}
	}
}
