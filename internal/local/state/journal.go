package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// journal is where transactions are on disk first: one write to the end of a file is all that an
// acknowledgement waits for, and a record that changes ten times is put into the database's pages once.
// When a file is large enough another is begun, and what the first holds is folded into the database in
// the background. Files that are found when the store is opened are folded in before anything is read.
//
// A file is a sequence of transactions: length and CRC-32 of what follows (4 bytes each, big endian),
// then for each record table, key and JSON value, each with its length (uvarint) before it; no value, which
// is no JSON, is a record that was deleted. What a process that was killed had half written ends the
// file: nobody was told that it was done.
type journal struct {
	dir     string
	number  int
	file    *os.File // nil until the first write
	size    int64
	pending folded
	buf     []byte            // of append, again and again
	last    map[recordKey]int // so too: which write of a record is its last
}

type recordKey struct{ table, key string }

// folded is the newest value of each record of a journal's file, by table and key.
type folded map[string]map[string][]byte

func (f folded) put(table, key string, value []byte) {
	t := f[table]
	if t == nil {
		t = map[string][]byte{}
		f[table] = t
	}
	t[key] = value
}

func newJournal(dir string) *journal {
	return &journal{dir: dir, pending: folded{}, last: map[recordKey]int{}}
}

// journalSize is how large a journal's file grows, bytes.
const journalSize = 16 << 20

const journalPrefix = "journal."

func (j *journal) path(n int) string { return filepath.Join(j.dir, journalPrefix+strconv.Itoa(n)) }

// append writes transactions, as one: of a record that is in several the last value counts.
func (j *journal) append(transactions [][]write) error {
	clear(j.last)
	n := 0
	for _, tx := range transactions {
		for _, w := range tx {
			n++
			j.last[recordKey{w.table, w.key}] = n
		}
	}
	const header = 8
	out := append(j.buf[:0], make([]byte, header)...)
	n = 0
	for _, tx := range transactions {
		for _, w := range tx {
			if n++; j.last[recordKey{w.table, w.key}] != n {
				continue
			}
			var data []byte
			if w.value != nil {
				var err error
				if data, err = json.Marshal(w.value); err != nil {
					return fmt.Errorf("encoding %s %s: %w", w.table, w.key, err)
				}
			}
			out = appendSized(out, w.table)
			out = appendSized(out, w.key)
			out = appendSized(out, data)
			j.pending.put(w.table, w.key, data)
		}
	}
	body := out[header:]
	if uint64(len(body)) > math.MaxUint32 {
		return fmt.Errorf("%d transactions at once take %d bytes", len(transactions), len(body))
	}
	binary.BigEndian.PutUint32(out, uint32(len(body)))
	binary.BigEndian.PutUint32(out[4:], crc32.ChecksumIEEE(body))
	if j.buf = out; cap(out) > 1<<20 {
		j.buf = nil
	}
	if len(j.last) > 1024 { // a cleared map keeps its room
		j.last = map[recordKey]int{}
	}
	if j.file == nil {
		f, err := os.OpenFile(j.path(j.number), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		j.file = f
	}
	written, err := j.file.Write(out)
	j.size += int64(written)
	return err
}

func appendSized[T []byte | string](b []byte, data T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(data))), data...)
}

// rotate begins a new file and returns what the old one holds, and how to remove it once that is in the
// database.
func (j *journal) rotate() (folded, func() error) {
	old, file, path := j.pending, j.file, j.path(j.number)
	j.pending, j.file, j.size = folded{}, nil, 0
	j.number++
	return old, func() error {
		if file == nil {
			return nil
		}
		return errors.Join(file.Close(), os.Remove(path))
	}
}

// into puts the records into the database.
func (f folded) into(disk *bolt.DB) error {
	if len(f) == 0 {
		return nil
	}
	return disk.Update(func(tx *bolt.Tx) error {
		for _, table := range slices.Sorted(maps.Keys(f)) {
			b, err := tx.CreateBucketIfNotExists([]byte(table))
			if err != nil {
				return err
			}
			for _, key := range slices.Sorted(maps.Keys(f[table])) {
				if data := f[table][key]; len(data) == 0 {
					err = b.Delete([]byte(key))
				} else {
					err = b.Put([]byte(key), data)
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// recoverJournal folds what a killed process left into the database and returns a journal to go on with.
func recoverJournal(dir string, disk *bolt.DB) (*journal, error) {
	j := newJournal(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), journalPrefix); ok {
			if n, err := strconv.Atoi(rest); err == nil {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		data, err := os.ReadFile(j.path(n))
		if err != nil {
			return nil, err
		}
		f := folded{}
		f.read(data)
		if err := f.into(disk); err != nil {
			return nil, err
		}
		if err := os.Remove(j.path(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		j.number = n + 1
	}
	return j, nil
}

// read takes over the transactions of a journal's file, up to one that is not whole.
func (f folded) read(data []byte) {
	for len(data) >= 8 {
		size, sum := binary.BigEndian.Uint32(data), binary.BigEndian.Uint32(data[4:])
		data = data[8:]
		if uint64(size) > uint64(len(data)) || crc32.ChecksumIEEE(data[:size]) != sum {
			return
		}
		body := data[:size]
		data = data[size:]
		for len(body) > 0 {
			var part [3][]byte
			for k := range part {
				n, used := binary.Uvarint(body)
				if used <= 0 || n > uint64(len(body)-used) {
					return
				}
				part[k], body = body[used:used+int(n)], body[used+int(n):]
			}
			f.put(string(part[0]), string(part[1]), part[2])
		}
	}
}
