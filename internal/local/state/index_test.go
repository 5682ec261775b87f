package state

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// What indexes and tallies say is what a look at all records would say, whatever happened to the table,
// transactions that failed included.
func TestIndexAndTallyFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db, err := Open("")
		if err != nil {
			t.Fatal(err)
		}
		ix := NewIndex(func(r *row) []string { return nonEmpty(r.Group) })
		tab, err := NewTable(db, "rows", ix)
		if err != nil {
			t.Fatal(err)
		}
		tally := NewTally(tab, func(r *row) (string, bool) { return r.Group, r.Group != "" })
		key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"})
		group := rapid.SampledFrom([]string{"", "x", "y"})
		for range rapid.IntRange(1, 20).Draw(t, "transactions") {
			_ = db.Update(func(tx *Tx) error {
				for range rapid.IntRange(1, 4).Draw(t, "writes") {
					k := key.Draw(t, "key")
					if rapid.Bool().Draw(t, "delete") {
						tab.Delete(tx, k)
						continue
					}
					tab.Put(tx, k, &row{k, group.Draw(t, "group")})
				}
				if rapid.Bool().Draw(t, "fails") {
					return errors.New("it fails")
				}
				return nil
			})
			_ = db.View(func(tx *Tx) error {
				for _, g := range []string{"x", "y"} {
					var want, got, behind []string
					for k, r := range tab.All(tx) {
						if r.Group == g {
							want = append(want, k)
						}
					}
					for k, r := range ix.Get(tx, g) {
						if now, _ := tab.Get(tx, k); now != r {
							t.Fatalf("%s under %s is not the record of the table", k, g)
						}
						got = append(got, k)
					}
					for k := range ix.From(tx, g, "c") {
						behind = append(behind, k)
					}
					if !slices.Equal(got, want) || ix.Count(tx, g) != len(want) || tally.Count(tx, g) != len(want) {
						t.Fatalf("%s: index %v (%d), tally %d, want %v", g, got, ix.Count(tx, g), tally.Count(tx, g), want)
					}
					if k := slices.IndexFunc(want, func(k string) bool { return k >= "c" }); !slices.Equal(behind, want[max(k, 0):]) && k >= 0 || k < 0 && len(behind) > 0 {
						t.Fatalf("%s from c: %v of %v", g, behind, want)
					}
				}
				return nil
			})
		}
	})
}

// A tally of a table that was read from disk counts what was there.
func TestTallyOfWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	for turn := range 2 {
		db, tab, ix := open(t, dir)
		tally := NewTally(tab, func(r *row) (string, bool) { return r.Group, true })
		_ = db.View(func(tx *Tx) error {
			if tally.Count(tx, "g") != 3*turn || ix.Count(tx, "g") != 3*turn {
				t.Errorf("turn %d: %d counted, %d indexed", turn, tally.Count(tx, "g"), ix.Count(tx, "g"))
			}
			return nil
		})
		if err := db.Update(func(tx *Tx) error {
			for k := range 3 {
				tab.Put(tx, fmt.Sprint(k), &row{fmt.Sprint(k), "g"})
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLast(t *testing.T) {
	db, tab, _ := open(t, "")
	_ = db.Update(func(tx *Tx) error {
		for _, k := range []string{"a:1", "a:2", "a:10", "ab:3", "b:1"} {
			tab.Put(tx, k, &row{Name: k})
		}
		for prefix, want := range map[string]string{"a:": "a:2", "ab": "ab:3", "b:": "b:1", "": "b:1", "c": "", "a:3": ""} {
			if k, r, ok := tab.Last(tx, prefix); k != want || ok != (want != "") || ok && r.Name != want {
				t.Errorf("last of %q: %q, %v", prefix, k, ok)
			}
		}
		return nil
	})
	for n, want := range map[int]string{1: "f:0000001", 12345678: "f:12345678"} {
		if k := TaskDefinitionKey("f", n); k != want {
			t.Errorf("key of revision %d: %s", n, k)
		}
	}
}
