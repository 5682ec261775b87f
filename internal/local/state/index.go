package state

import (
	"iter"
	"slices"

	"github.com/tidwall/btree"
)

// Index finds the records of a table by other keys than their own.
type Index[T any] struct {
	keys    func(*T) []string
	buckets map[string]bucket[T]
}

// bucket is the records under one index key. One record, which is most of what endpoints and ids have,
// takes no tree.
type bucket[T any] struct {
	key  string // of the only record
	rec  *T
	many *btree.Map[string, *T] // else: more than one, or what is left of more
}

// NewIndex makes an index; keys returns the index keys of a record (none: not indexed). It is
// passed to NewTable.
func NewIndex[T any](keys func(*T) []string) *Index[T] {
	return &Index[T]{keys: keys, buckets: map[string]bucket[T]{}}
}

// degree of an index's trees: small nodes, as most have few records.
const degree = 16

func (ix *Index[T]) put(k, own string, rec *T) {
	b, ok := ix.buckets[k]
	switch {
	case !ok || b.many == nil && b.key == own:
		ix.buckets[k] = bucket[T]{key: own, rec: rec}
	case b.many == nil:
		many := btree.NewMap[string, *T](degree)
		many.Set(b.key, b.rec)
		many.Set(own, rec)
		ix.buckets[k] = bucket[T]{many: many}
	default:
		b.many.Set(own, rec)
	}
}

func (ix *Index[T]) drop(k, own string) {
	b, ok := ix.buckets[k]
	switch {
	case !ok:
	case b.many == nil:
		if b.key == own {
			delete(ix.buckets, k)
		}
	default:
		if b.many.Delete(own); b.many.Len() == 0 {
			delete(ix.buckets, k)
		}
	}
}

// replace takes a record from what it was to what it is; either may be nil.
func (ix *Index[T]) replace(own string, old, rec *T) {
	var had, has []string
	if old != nil {
		had = ix.keys(old)
	}
	if rec != nil {
		has = ix.keys(rec)
	}
	for _, k := range had {
		if !slices.Contains(has, k) {
			ix.drop(k, own)
		}
	}
	for _, k := range has {
		ix.put(k, own, rec)
	}
}

// Get yields the records under the index key, in order of their own keys. The table must not be changed
// meanwhile.
func (ix *Index[T]) Get(tx *Tx, key string) iter.Seq2[string, *T] { return ix.From(tx, key, "") }

// From yields the records under the index key whose own keys are ≥ start, in order.
func (ix *Index[T]) From(_ *Tx, key, start string) iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		b, ok := ix.buckets[key]
		switch {
		case !ok:
		case b.many != nil:
			b.many.Ascend(start, yield)
		case b.key >= start:
			yield(b.key, b.rec)
		}
	}
}

// Count is the number of records under the index key.
func (ix *Index[T]) Count(_ *Tx, key string) int {
	b, ok := ix.buckets[key]
	switch {
	case !ok:
		return 0
	case b.many != nil:
		return b.many.Len()
	}
	return 1
}

// Tally counts the records of a table by a key, as they come and go: what would otherwise be a look at
// each of them.
type Tally[T any, K comparable] struct {
	key func(*T) (K, bool)
	n   map[K]int
}

// NewTally makes a tally of a table; key returns what a record counts as (false: it does not).
func NewTally[T any, K comparable](t *Table[T], key func(*T) (K, bool)) *Tally[T, K] {
	c := &Tally[T, K]{key: key, n: map[K]int{}}
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	t.tallies = append(t.tallies, c)
	t.rows.Scan(func(_ string, rec *T) bool {
		c.replace(nil, rec)
		return true
	})
	return c
}

func (c *Tally[T, K]) replace(old, rec *T) {
	var was, is K
	had, has := false, false
	if old != nil {
		was, had = c.key(old)
	}
	if rec != nil {
		is, has = c.key(rec)
	}
	if had && has && was == is {
		return
	}
	if had {
		if c.n[was]--; c.n[was] == 0 {
			delete(c.n, was)
		}
	}
	if has {
		c.n[is]++
	}
}

// Count is the number of records that count as k.
func (c *Tally[T, K]) Count(_ *Tx, k K) int { return c.n[k] }
