package state

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// crash leaves the store as a killed process does: nothing is folded, the files just are there.
func crash(t *testing.T, db *DB) {
	t.Helper()
	db.folding.Wait()
	if err := db.disk.Close(); err != nil {
		t.Fatal(err)
	}
}

func rows(t *testing.T, db *DB, tab *Table[row]) map[string]string {
	t.Helper()
	out := map[string]string{}
	_ = db.View(func(tx *Tx) error {
		for k, r := range tab.All(tx) {
			out[k] = r.Group
		}
		return nil
	})
	return out
}

// However much of the last write a killed process got onto the disk, what was acknowledged before is
// there, and of the last transaction all or nothing.
func TestJournalTornAnywhere(t *testing.T) {
	made := t.TempDir()
	db, tab, _ := open(t, made)
	put := func(writes ...string) {
		t.Helper()
		if err := db.Update(func(tx *Tx) error {
			for _, k := range writes {
				tab.Put(tx, k, &row{k, "new"})
			}
			tab.Delete(tx, "old")
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	put("a", "old")
	whole, err := os.ReadFile(db.journal.path(0))
	if err != nil {
		t.Fatal(err)
	}
	put("b", "c")
	crash(t, db)
	data, err := os.ReadFile(filepath.Join(made, "journal.0"))
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole); cut <= len(data); cut++ {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "journal.0"), data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		db, tab, _ := open(t, dir)
		want := []string{"a"}
		if cut == len(data) {
			want = []string{"a", "b", "c"}
		}
		if got := slices.Sorted(maps.Keys(rows(t, db, tab))); !slices.Equal(got, want) {
			t.Fatalf("cut at %d of %d: %v, want %v", cut, len(data), got, want)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, journalPrefix+"*")); len(left) > 0 {
			t.Fatalf("closed with %v", left)
		}
	}
}

// What was folded, what is being folded and what is in the journal yet are one state after a crash, and
// after another.
func TestJournalFolds(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{}
	for life := range 3 {
		db, tab, _ := open(t, dir)
		if got := rows(t, db, tab); !maps.Equal(got, want) {
			t.Fatalf("life %d: %d rows, want %d", life, len(got), len(want))
		}
		for i := range 300 {
			k, g := fmt.Sprintf("k%03d", (i*7)%100), fmt.Sprintf("%d of life %d", i, life)
			err := db.Update(func(tx *Tx) error {
				if i%11 == 3 {
					tab.Delete(tx, k)
					delete(want, k)
					return nil
				}
				tab.Put(tx, k, &row{k, g})
				want[k] = g
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if i%90 == 50 {
				db.flushMu.Lock()
				if !db.folds {
					db.fold()
				}
				db.flushMu.Unlock()
			}
		}
		crash(t, db)
	}
}

// What nobody waits for is on disk after a moment, before what is acknowledged after it, and when the
// store is closed; watchers hear of it at once.
func TestUpdateSoon(t *testing.T) {
	put := func(tab *Table[row], k, g string) func(*Tx) error {
		return func(tx *Tx) error { tab.Put(tx, k, &row{k, g}); return nil }
	}
	soon := func(t *testing.T, db *DB, tab *Table[row], k, g string) {
		t.Helper()
		if err := db.UpdateSoon(put(tab, k, g)); err != nil {
			t.Fatal(err)
		}
	}
	again := func(t *testing.T, dir string, want map[string]string) {
		t.Helper()
		db, tab, _ := open(t, dir)
		if got := rows(t, db, tab); !maps.Equal(got, want) {
			t.Errorf("%v, not %v", got, want)
		}
		_ = db.Close()
	}
	t.Run("order", func(t *testing.T) {
		dir := t.TempDir()
		db, tab, _ := open(t, dir)
		w := db.Watch()
		soon(t, db, tab, "a", "1")
		if got := w.Drain(); len(got) != 1 || got[0].Key != "a" {
			t.Errorf("watchers heard of %v", got)
		}
		soon(t, db, tab, "a", "2")
		soon(t, db, tab, "b", "1")
		if err := db.Update(put(tab, "c", "1")); err != nil {
			t.Fatal(err)
		}
		crash(t, db)
		again(t, dir, map[string]string{"a": "2", "b": "1", "c": "1"})
	})
	t.Run("a moment", func(t *testing.T) {
		dir := t.TempDir()
		db, tab, _ := open(t, dir)
		soon(t, db, tab, "a", "1")
		written := func() bool {
			db.flushMu.Lock()
			defer db.flushMu.Unlock()
			return db.flushed > 0
		}
		for deadline := time.Now().Add(30 * time.Second); !written(); time.Sleep(moment / 4) {
			if time.Now().After(deadline) {
				t.Fatal("nothing was written")
			}
		}
		crash(t, db)
		again(t, dir, map[string]string{"a": "1"})
	})
	t.Run("close", func(t *testing.T) {
		dir := t.TempDir()
		db, tab, _ := open(t, dir)
		soon(t, db, tab, "a", "1")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		again(t, dir, map[string]string{"a": "1"})
	})
}

func FuzzJournal(f *testing.F) {
	j := newJournal(f.TempDir())
	if err := j.append([][]write{{{"t", "k", &row{"a", "b"}}, {"t", "l", nil}}}); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(j.path(0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(data[:len(data)-1])
	f.Fuzz(func(_ *testing.T, data []byte) { folded{}.read(data) })
}
