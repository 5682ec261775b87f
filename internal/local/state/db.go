// Package state is the store of the local AWS: typed tables held in memory, changed in serializable
// transactions, watched by the reconcile loops and, where a directory is given, written to disk
// before a write is acknowledged.
//
// Records are immutable once stored: Get returns the stored pointer, and a change puts a new
// record. So readers never copy and loops may keep what they read.
package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrLocked means that another process has the state directory open.
var ErrLocked = errors.New("the state directory is in use by another local AWS")

// DB holds the tables. Make one with Open; it is safe for concurrent use.
type DB struct {
	mu     sync.RWMutex // guards the tables' contents
	within within
	tables map[string]anyTable

	disk    *bolt.DB // nil: memory only
	flushMu sync.Mutex
	journal *journal
	folding sync.WaitGroup // of what older files of the journal hold
	folds   bool
	queueMu sync.Mutex
	queue   [][]write
	queued  uint64 // sequence number of the newest queued transaction
	flushed uint64 // sequence number of the newest transaction on disk
	failed  error  // the first write that failed; nothing is acknowledged after it
	closed  bool
	soon    atomic.Bool // a flush of what nobody waits for is on its way

	watchMu  sync.Mutex
	watchers map[*Watch]struct{}
}

type anyTable interface {
	restore(key string, data []byte) error
	undo(key string, old any)
}

// write is one record to put on disk; a nil value deletes it.
type write struct {
	table, key string
	value      any
}

// Open opens the store in dir, which is created if needed; an empty dir keeps everything in memory.
//
// On disk every acknowledged write survives the death of the process at any instruction. It is not
// synced to the medium at each commit: a power cut may lose the last seconds, which is right for a
// development cloud and many times faster.
func Open(dir string) (*DB, error) {
	db := &DB{tables: map[string]anyTable{}, watchers: map[*Watch]struct{}{}}
	if dir == "" {
		return db, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the state directory: %w", err)
	}
	disk, err := bolt.Open(filepath.Join(dir, "state.db"), 0o600, &bolt.Options{
		Timeout: time.Second, NoSync: true, NoFreelistSync: true, FreelistType: bolt.FreelistMapType, InitialMmapSize: room(),
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("opening %s: %w", dir, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the state in %s: %w", dir, err)
	}
	if db.journal, err = recoverJournal(dir, disk); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the state in %s: %w", dir, err), disk.Close())
	}
	db.disk = disk
	return db, nil
}

// Close syncs and closes the files. The DB must not be used after it.
func (db *DB) Close() error {
	if db.disk == nil {
		return nil
	}
	db.queueMu.Lock()
	last := db.queued
	db.queueMu.Unlock()
	err := db.flush(last)
	db.folding.Wait()
	db.flushMu.Lock()
	defer db.flushMu.Unlock()
	db.closed = true
	rest, done := db.journal.rotate()
	if err == nil {
		err = rest.into(db.disk)
	}
	if err == nil {
		err = done()
	}
	return errors.Join(err, db.disk.Sync(), db.disk.Close())
}

// room is how many bytes of addresses the database gets from the start: it takes much work to find new ones
// as it grows. Nothing is written there.
func room() int {
	if runtime.GOOS == "windows" || strconv.IntSize < 64 { // the file would be made as large; few addresses
		return 0
	}
	return 1 << 30
}

// View runs f on a consistent view of all tables. f must not write, and must not open another view or an
// update: with a writer waiting between the two, all would wait for ever. Under the race detector that panics.
func (db *DB) View(f func(tx *Tx) error) error {
	defer db.within.enter()()
	db.mu.RLock()
	defer db.mu.RUnlock()
	return f(&Tx{db: db})
}

// Update runs f with exclusive access. If f returns an error nothing it did remains and nobody is
// told. Otherwise Update returns when the change is durable, and watchers are woken.
func (db *DB) Update(f func(tx *Tx) error) error {
	tx := &Tx{db: db, writable: true}
	seq, err := db.apply(tx, f)
	if err != nil || len(tx.changes) == 0 {
		return err
	}
	if err := db.flush(seq); err != nil {
		return err
	}
	db.notify(tx.changes)
	return nil
}

// UpdateSoon is Update for what the local AWS does by itself: nobody was promised anything, so it does not
// wait for the disk. The change is there at once for all who look; it is on disk before any Update that
// comes after it returns, or after a moment. If the process dies until then, it is as if it had died before.
func (db *DB) UpdateSoon(f func(tx *Tx) error) error {
	tx := &Tx{db: db, writable: true}
	if _, err := db.apply(tx, f); err != nil || len(tx.changes) == 0 {
		return err
	}
	if db.disk != nil && db.soon.CompareAndSwap(false, true) {
		time.AfterFunc(moment, func() {
			db.soon.Store(false)
			db.queueMu.Lock()
			last := db.queued
			db.queueMu.Unlock()
			_ = db.flush(last) // kept in failed: the next Update tells
		})
	}
	db.notify(tx.changes)
	return nil
}

// moment is how long what nobody waits for may be in memory only.
const moment = 20 * time.Millisecond

func (db *DB) apply(tx *Tx, f func(tx *Tx) error) (seq uint64, err error) {
	defer db.within.enter()()
	db.mu.Lock()
	defer db.mu.Unlock()
	done := false
	defer func() {
		if !done || err != nil { // an error or a panic in f: put everything back
			tx.rollback()
		}
	}()
	if err = f(tx); err != nil {
		return 0, err
	}
	done = true
	if db.disk == nil || len(tx.changes) == 0 {
		return 0, nil
	}
	db.queueMu.Lock()
	defer db.queueMu.Unlock()
	writes := make([]write, len(tx.changes))
	for k, c := range tx.changes {
		writes[k] = write{c.table, c.key, c.value}
	}
	db.queue = append(db.queue, writes)
	db.queued++
	return db.queued, nil
}

// flush returns when transaction seq is on disk. Whoever comes first writes for all who wait, so
// concurrent requests share one disk transaction.
func (db *DB) flush(seq uint64) error {
	if db.disk == nil {
		return nil
	}
	db.flushMu.Lock()
	defer db.flushMu.Unlock()
	if db.failed != nil || db.flushed >= seq || db.closed {
		return db.failed
	}
	db.queueMu.Lock()
	batch, upto := db.queue, db.queued
	db.queue = nil
	db.queueMu.Unlock()
	if err := db.journal.append(batch); err != nil {
		db.failed = fmt.Errorf("writing the state: %w", err)
		return db.failed
	}
	if db.journal.size >= journalSize && !db.folds {
		db.fold()
	}
	db.flushed = upto
	return nil
}

// fold puts what the journal holds into the database, in the background. flushMu is held.
func (db *DB) fold() {
	old, done := db.journal.rotate()
	db.folds = true
	db.folding.Go(func() {
		err := old.into(db.disk)
		if err == nil {
			err = done()
		}
		db.flushMu.Lock()
		defer db.flushMu.Unlock()
		db.folds = false
		if err != nil && db.failed == nil {
			db.failed = fmt.Errorf("writing the state: %w", err)
		}
	})
}
