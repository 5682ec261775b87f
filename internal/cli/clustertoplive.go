package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// watchTop shows the view on a terminal until q, Ctrl-C or a signal, and leaves the terminal as it was.
//
// The usual library for this asks the terminal for its colours as soon as it is linked, before any command
// runs: on a terminal that does not answer every command of this program would begin with five seconds of
// silence.
func watchTop(ctx context.Context, in io.Reader, out *os.File, every time.Duration, look func(context.Context) (*topView, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	keys := make(chan byte)
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		before, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return fmt.Errorf("reading keys: %w", err)
		}
		defer func() { _ = term.Restore(int(f.Fd()), before) }()
		go readKeys(ctx, f, keys)
	}
	// A screen of its own, no cursor, and lines that are cut, not wrapped.
	fmt.Fprint(out, "\x1b[?1049h\x1b[?25l\x1b[?7l")
	defer fmt.Fprint(out, "\x1b[?7h\x1b[?25h\x1b[?1049l")

	type seen struct {
		view *topView
		err  error
	}
	looked := make(chan seen, 1)
	see := func() {
		v, err := look(ctx)
		looked <- seen{v, err}
	}
	go see()
	next := time.NewTimer(every)
	next.Stop()
	defer next.Stop()
	resized := time.NewTicker(200 * time.Millisecond)
	defer resized.Stop()
	m := topModel{colour: isTerminal(out)}
	m.width, m.height, _ = term.GetSize(int(out.Fd())) // zero where it is not known
	draw := func() { fmt.Fprint(out, m.screen()) }
	draw()
	for {
		select {
		case <-ctx.Done():
			return nil // asked to end, by a signal: as by q
		case k := <-keys:
			if k == 'q' || k == 'Q' || k == 3 {
				return nil
			}
		case s := <-looked:
			if m.err = s.err; s.err == nil {
				m.view = s.view
			}
			next.Reset(every)
			draw()
		case <-next.C:
			go see()
		case <-resized.C:
			if w, h, err := term.GetSize(int(out.Fd())); err == nil && (w != m.width || h != m.height) {
				m.width, m.height = w, h
				draw()
			}
		}
	}
}

func readKeys(ctx context.Context, f *os.File, keys chan<- byte) {
	b := make([]byte, 1)
	for {
		if n, err := f.Read(b); err != nil || n == 0 {
			return
		}
		select {
		case keys <- b[0]:
		case <-ctx.Done():
			return
		}
	}
}

// topModel is what the screen shows.
type topModel struct {
	view          *topView
	err           error
	width, height int
	colour        bool
}

func (m *topModel) text() string {
	if m.view == nil {
		if m.err != nil {
			return m.err.Error() + "\n"
		}
		return "looking…\n"
	}
	s := m.view.render(max(m.width, 60), m.height, m.colour)
	if m.err != nil {
		s += "\n" + m.err.Error() + "\n"
	}
	return s
}

// screen is the text as it is written over what was there: no more lines than there are.
func (m *topModel) screen() string {
	lines := strings.Split(strings.TrimRight(m.text(), "\n"), "\n")
	if m.height > 0 && len(lines) > m.height {
		lines = lines[:m.height]
	}
	return "\x1b[H" + strings.Join(lines, "\x1b[K\r\n") + "\x1b[K\x1b[J"
}
