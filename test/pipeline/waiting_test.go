//go:build linux

package pipeline

import (
	"bufio"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestWait: a run that waits goes on as soon as somebody has approved elsewhere.
func TestWait(t *testing.T) {
	w := newWorld(t)
	a := w.newApp("wait")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := a.command(ctx, "pipeline", "run", "--json", "--wait", "10m")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	approved, said := false, []string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said = append(said, lines.Text())
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil && !approved && e.Event == "stage" && e.Data.Stage == "approve-prod" && e.Data.State == "begun" {
			a.runs(0, "approve", "prod", "--by", "qa@example.com", "--note", "tested by hand")
			approved = true
		}
	}
	if err := cmd.Wait(); err != nil || !approved || !strings.Contains(strings.Join(said, "\n"), `"outcome":"delivered"`) {
		t.Errorf("the run that waited: %v\n%s\n%s", err, strings.Join(said, "\n"), errs.String())
	}
}

// TestFreeze: while an environment is frozen nothing gets there, whoever has approved, and it is said until
// when; afterwards the same run goes on.
func TestFreeze(t *testing.T) {
	w := newWorld(t)
	a := w.newApp("freeze")
	frozen := func(end time.Time) {
		a.write("slipway.yaml", strings.Replace(a.definition(), "not_author: true", "not_author: true, freezes: { holidays: { start: 2026-01-01T00:00:00Z, end: "+end.UTC().Format(time.RFC3339)+" } }", 1))
	}
	end := time.Now().Add(time.Hour)
	frozen(end)
	a.commit()
	args := []string{"pipeline", "run", "--approve-as", "qa@example.com", "--note", "tested by hand"}
	out := a.runs(6, args...)
	if !strings.Contains(out, "freeze holidays") && !strings.Contains(out, "holidays") || strings.Contains(out, "prod runs") {
		t.Errorf("it does not say what keeps it:\n%s", out)
	}
	if a.service("prod") != nil {
		t.Error("it is in prod")
	}
	frozen(time.Now().Add(-time.Hour))
	a.git("commit", "-q", "-a", "--amend", "--no-edit")
	if out := a.runs(0, args...); !strings.Contains(out, "delivered freeze") {
		t.Errorf("after the freeze:\n%s", out)
	}
}
