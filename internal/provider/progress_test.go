package provider

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// Two services deploy at once; whoever reads the file gets whole lines.
func TestProgressIsWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	t.Setenv(EventsVariable, path)
	var services sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		services.Go(func() {
			report := progress(t.Context(), func(e deploy.Event) string { return e.Message })
			for i := range 50 {
				report(deploy.Event{Kind: deploy.EventTask, Message: "task", Resource: name, Running: i})
			}
		})
	}
	services.Wait()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e deploy.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Running != next[e.Resource] {
			t.Fatalf("%s: event %d instead of %d", e.Resource, e.Running, next[e.Resource])
		}
		next[e.Resource]++
	}
	if next["a"] != 50 || next["b"] != 50 {
		t.Errorf("%v", next)
	}
}
