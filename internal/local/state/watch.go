package state

import (
	"slices"
	"sync"
)

// Change names a record that was put or deleted.
type Change struct{ Table, Key string }

// Watch collects what changed in some tables and wakes its reader. A reader that is slow sees each
// changed record once, however often it changed.
type Watch struct {
	// C has a value whenever there is something to Drain.
	C chan struct{}

	db      *DB
	tables  map[string]bool
	mu      sync.Mutex
	pending []Change // may name a record more than once
	roomFor int      // changes; when there are more, each record is kept once
}

// Watch starts watching the named tables (all, if none is named). Stop it when done.
func (db *DB) Watch(tables ...string) *Watch {
	w := &Watch{C: make(chan struct{}, 1), db: db, tables: map[string]bool{}}
	for _, t := range tables {
		w.tables[t] = true
	}
	db.watchMu.Lock()
	defer db.watchMu.Unlock()
	db.watchers[w] = struct{}{}
	return w
}

// Stop ends the watch.
func (w *Watch) Stop() {
	w.db.watchMu.Lock()
	defer w.db.watchMu.Unlock()
	delete(w.db.watchers, w)
}

// Drain returns and forgets what changed since the last call, in no particular order.
func (w *Watch) Drain() []Change {
	w.mu.Lock()
	out := w.pending
	w.pending, w.roomFor = nil, 0
	w.mu.Unlock()
	return once(out)
}

// once leaves each record in a list once.
func once(list []Change) []Change {
	if len(list) < 2 {
		return list
	}
	seen := make(map[Change]struct{}, len(list))
	return slices.DeleteFunc(list, func(c Change) bool {
		if _, was := seen[c]; was {
			return true
		}
		seen[c] = struct{}{}
		return false
	})
}

func (db *DB) notify(changes []change) {
	db.watchMu.Lock()
	defer db.watchMu.Unlock()
	for w := range db.watchers {
		w.add(changes)
	}
}

func (w *Watch) add(changes []change) {
	w.mu.Lock()
	for _, c := range changes {
		if len(w.tables) == 0 || w.tables[c.table] {
			w.pending = append(w.pending, Change{c.table, c.key})
		}
	}
	if len(w.pending) > max(w.roomFor, 1024) { // a reader that does not come, or records that change again and again
		w.pending = once(w.pending)
		w.roomFor = 2 * len(w.pending)
	}
	some := len(w.pending) > 0
	w.mu.Unlock()
	if some {
		select {
		case w.C <- struct{}{}:
		default:
		}
	}
}
