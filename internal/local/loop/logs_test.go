package loop

import (
	"strings"
	"testing"
)

// slow is a log that takes nothing until it is let.
type slow struct {
	let    chan struct{}
	got    strings.Builder
	closed bool
}

func (s *slow) Write(p []byte) (int, error) {
	<-s.let
	return s.got.Write(p)
}

func (s *slow) Close() error {
	s.closed = true
	return nil
}

func TestShedderDropsWhatDoesNotFit(t *testing.T) {
	w := &slow{let: make(chan struct{})}
	s := newShedder(w, 8)
	for _, line := range []string{"abcd", "efgh", "lost"} {
		if n, err := s.Write([]byte(line)); n != 4 || err != nil {
			t.Errorf("%s: %d, %v", line, n, err)
		}
	}
	close(w.let)
	if err := s.Close(); err != nil || !w.closed || w.got.String() != "abcdefgh" {
		t.Errorf("%q, closed %v, %v", w.got.String(), w.closed, err)
	}
	for in, want := range map[string]int{"": 10 << 20, "25m": 25 << 20, "512k": 512 << 10, "100": 100, "x": 0, "-1m": 0} {
		if n, err := bufferSize(in); n != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", in, n, err)
		}
	}
}
