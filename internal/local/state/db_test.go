package state

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

type row struct{ Name, Group string }

func open(t *testing.T, dir string) (*DB, *Table[row], *Index[row]) {
	t.Helper()
	db, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	ix := NewIndex(func(r *row) []string { return []string{r.Group} })
	tab, err := NewTable(db, "rows", ix)
	if err != nil {
		t.Fatal(err)
	}
	return db, tab, ix
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	db, tab, ix := open(t, "")
	put := func(k, g string) error {
		return db.Update(func(tx *Tx) error { tab.Put(tx, k, &row{k, g}); return nil })
	}
	if err := errors.Join(put("a", "g1"), put("b", "g1")); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	err := db.Update(func(tx *Tx) error {
		tab.Delete(tx, "a")
		tab.Modify(tx, "b", func(r *row) { r.Group = "g2" })
		tab.Put(tx, "c", &row{"c", "g2"})
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatalf("err = %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = db.Update(func(tx *Tx) error { tab.Delete(tx, "b"); panic("in a handler") })
	}()
	_ = db.View(func(tx *Tx) error {
		if n := tab.Len(tx); n != 2 {
			t.Errorf("rows = %d, want 2", n)
		}
		if n := ix.Count(tx, "g1"); n != 2 {
			t.Errorf("in g1: %d, want 2", n)
		}
		if n := ix.Count(tx, "g2"); n != 0 {
			t.Errorf("in g2: %d, want 0", n)
		}
		return nil
	})
}

func TestAcknowledgedWritesAreOnDisk(t *testing.T) {
	dir := t.TempDir()
	db, tab, _ := open(t, dir)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			k := fmt.Sprintf("k%03d", i)
			if err := db.Update(func(tx *Tx) error { tab.Put(tx, k, &row{k, "g"}); return nil }); err != nil {
				t.Error(err)
			}
			if i%2 == 0 {
				if err := db.Update(func(tx *Tx) error { tab.Delete(tx, k); return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := Open(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v, want ErrLocked", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db2, tab2, ix2 := open(t, dir)
	defer db2.Close()
	_ = db2.View(func(tx *Tx) error {
		if n, m := tab2.Len(tx), ix2.Count(tx, "g"); n != 100 || m != 100 {
			t.Errorf("after reopening: %d rows, %d indexed, want 100", n, m)
		}
		return nil
	})
}

func TestWatchTellsEachChangedRecordOnce(t *testing.T) {
	db, tab, _ := open(t, "")
	w := db.Watch("rows")
	defer w.Stop()
	for range 3 {
		_ = db.Update(func(tx *Tx) error { tab.Put(tx, "a", &row{"a", ""}); return nil })
	}
	<-w.C
	if got := w.Drain(); len(got) != 1 || got[0] != (Change{"rows", "a"}) {
		t.Errorf("changes = %v", got)
	}
	if got := w.Drain(); len(got) != 0 {
		t.Errorf("drained twice: %v", got)
	}
}

func BenchmarkUpdateOnDisk(b *testing.B) {
	db, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	tab, _ := NewTable[row](db, "rows")
	b.RunParallel(func(pb *testing.PB) {
		i := 0
		for pb.Next() {
			i++
			_ = db.Update(func(tx *Tx) error { tab.Put(tx, fmt.Sprint(i%1000), &row{"x", "y"}); return nil })
		}
	})
}
