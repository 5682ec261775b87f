package cli

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestOwnFolder(t *testing.T) {
	cache, now := t.TempDir(), time.Now()
	first, err := ownFolder(cache, now)
	if err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(cache, "old"), filepath.Join(cache, "young")
	for dir, age := range map[string]time.Duration{old: 2 * unusedFor, young: time.Hour} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	again, err := ownFolder(cache, now.Add(unusedFor/2))
	if err != nil || again != first {
		t.Errorf("%s, then %s, %v", first, again, err)
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("what is not used is kept")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("what is used is removed")
	}
}
