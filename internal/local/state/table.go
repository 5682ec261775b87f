package state

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/tidwall/btree"
	bolt "go.etcd.io/bbolt"
)

// Tx is one transaction. It is valid only inside the function it was given to.
type Tx struct {
	db       *DB
	writable bool
	changes  []change
}

type change struct {
	table, key string
	value      any // nil: deleted
	old        any // nil: was not there
	t          anyTable
}

func (tx *Tx) rollback() {
	for i := len(tx.changes) - 1; i >= 0; i-- {
		c := tx.changes[i]
		c.t.undo(c.key, c.old)
	}
	tx.changes = nil
}

// Table is one kind of record by key, in key order.
type Table[T any] struct {
	db      *DB
	name    string
	rows    btree.Map[string, *T]
	indexes []*Index[T]
	tallies []interface{ replace(old, rec *T) }
}

// NewTable adds a table to db and loads what is on disk of it. Each name is used once.
func NewTable[T any](db *DB, name string, indexes ...*Index[T]) (*Table[T], error) {
	t := &Table[T]{db: db, name: name, indexes: indexes}
	db.mu.Lock()
	defer db.mu.Unlock()
	if _, dup := db.tables[name]; dup {
		return nil, fmt.Errorf("table %s exists already", name)
	}
	db.tables[name] = t
	if db.disk == nil {
		return t, nil
	}
	return t, db.disk.View(func(btx *bolt.Tx) error {
		b := btx.Bucket([]byte(name))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			if err := t.restore(string(k), v); err != nil {
				return fmt.Errorf("reading %s %s: %w", name, k, err)
			}
			return nil
		})
	})
}

func (t *Table[T]) restore(key string, data []byte) error {
	rec := new(T)
	if err := json.Unmarshal(data, rec); err != nil {
		return err
	}
	t.set(key, rec)
	return nil
}

func (t *Table[T]) undo(key string, old any) {
	if old == nil {
		t.unset(key)
		return
	}
	t.set(key, old.(*T))
}

func (t *Table[T]) set(key string, rec *T) {
	old, _ := t.rows.Set(key, rec)
	t.follow(key, old, rec)
}

func (t *Table[T]) unset(key string) {
	if old, had := t.rows.Delete(key); had {
		t.follow(key, old, nil)
	}
}

// follow keeps indexes and tallies in step; old or rec may be nil.
func (t *Table[T]) follow(key string, old, rec *T) {
	for _, ix := range t.indexes {
		ix.replace(key, old, rec)
	}
	for _, c := range t.tallies {
		c.replace(old, rec)
	}
}

// Get returns the record with the key; it must not be modified.
func (t *Table[T]) Get(_ *Tx, key string) (*T, bool) { return t.rows.Get(key) }

// Put stores rec, replacing any record with the key. rec must not be modified afterwards.
func (t *Table[T]) Put(tx *Tx, key string, rec *T) {
	tx.mustWrite(t.name)
	c := change{table: t.name, key: key, value: rec, t: t}
	if old, ok := t.rows.Get(key); ok {
		c.old = old
	}
	tx.changes = append(tx.changes, c)
	t.set(key, rec)
}

// Modify puts a copy of the record after f has changed it; false if there is none. The copy is
// shallow: f replaces slices, maps and pointers, it does not write through them.
func (t *Table[T]) Modify(tx *Tx, key string, f func(rec *T)) bool {
	old, ok := t.rows.Get(key)
	if !ok {
		return false
	}
	rec := *old
	f(&rec)
	t.Put(tx, key, &rec)
	return true
}

// Delete removes the record with the key, if there is one.
func (t *Table[T]) Delete(tx *Tx, key string) bool {
	tx.mustWrite(t.name)
	old, ok := t.rows.Get(key)
	if !ok {
		return false
	}
	tx.changes = append(tx.changes, change{table: t.name, key: key, old: old, t: t})
	t.unset(key)
	return true
}

// Len is the number of records.
func (t *Table[T]) Len(_ *Tx) int { return t.rows.Len() }

// All yields the records in key order. The table must not be changed meanwhile.
func (t *Table[T]) All(tx *Tx) iter.Seq2[string, *T] { return t.From(tx, "") }

// From yields the records with keys ≥ start in key order: paging starts behind the last key seen.
func (t *Table[T]) From(_ *Tx, start string) iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		t.rows.Ascend(start, yield)
	}
}

// Prefix yields the records whose key begins with prefix, in key order.
func (t *Table[T]) Prefix(_ *Tx, prefix string) iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		t.rows.Ascend(prefix, func(k string, v *T) bool {
			return strings.HasPrefix(k, prefix) && yield(k, v)
		})
	}
}

// Last is the record with the last of the keys that begin with prefix; false if there is none.
func (t *Table[T]) Last(_ *Tx, prefix string) (key string, rec *T, ok bool) {
	t.rows.Descend(prefix+"\xff", func(k string, v *T) bool {
		if ok = strings.HasPrefix(k, prefix); ok {
			key, rec = k, v
		}
		return false
	})
	return key, rec, ok
}

func (tx *Tx) mustWrite(table string) {
	if !tx.writable {
		panic("state: write to " + table + " in a View")
	}
}
