package state

import "sync"

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
	pending map[Change]struct{}
}

// Watch starts watching the named tables (all, if none is named). Stop it when done.
func (db *DB) Watch(tables ...string) *Watch {
	w := &Watch{C: make(chan struct{}, 1), db: db, tables: map[string]bool{}, pending: map[Change]struct{}{}}
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
	defer w.mu.Unlock()
	out := make([]Change, 0, len(w.pending))
	for c := range w.pending {
		out = append(out, c)
	}
	if len(w.pending) > 1024 { // a cleared map keeps its room
		w.pending = map[Change]struct{}{}
	} else {
		clear(w.pending)
	}
	return out
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
			w.pending[Change{c.table, c.key}] = struct{}{}
		}
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
