package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-isatty"
)

// Stdio is where a command reads and writes.
type Stdio struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// printer writes a command's progress: plain lines for people, one JSON object a line with --json.
// It is safe for concurrent use.
type printer struct {
	mu    sync.Mutex
	out   io.Writer
	json  bool
	color bool
	start time.Time
	n     int      // steps begun
	step  string   // the current step's id
	live  []string // what is shown below the last line and drawn anew; terminals only
	drawn int      // of them on the screen
}

// Live shows lines below everything printed and replaces them by the next call. Only terminals have them.
func (p *printer) Live(lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.color {
		return
	}
	p.erase()
	p.live = lines
	p.draw()
}

func (p *printer) erase() {
	if p.drawn > 0 {
		fmt.Fprintf(p.out, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

func (p *printer) draw() {
	for _, l := range p.live {
		fmt.Fprintln(p.out, l)
	}
	p.drawn = len(p.live)
}

// newPrinter writes to out. Colour only where out is a terminal and NO_COLOR is not set.
func newPrinter(out io.Writer, asJSON bool) *printer {
	return &printer{out: out, json: asJSON, color: !asJSON && isTerminal(out), start: time.Now()}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	red   = "\x1b[31m"
	green = "\x1b[32m"
	reset = "\x1b[0m"
)

func (p *printer) paint(style, s string) string {
	if !p.color {
		return s
	}
	return style + s + reset
}

// event is one line of --json output.
type event struct {
	Time    string         `json:"time"`
	Event   string         `json:"event"`
	Step    string         `json:"step,omitempty"`
	Message string         `json:"message,omitempty"`
	Data    map[string]any `json:"data,omitempty"`
}

func (p *printer) emit(kind, msg string, data map[string]any) {
	line, err := json.Marshal(event{time.Now().UTC().Format(time.RFC3339Nano), kind, p.step, msg, data})
	if err != nil { // only a value that cannot be encoded: a mistake in this program
		panic(err)
	}
	fmt.Fprintf(p.out, "%s\n", line)
}

// Step begins a step: id for machines, title and a sentence of explanation for people.
func (p *printer) Step(id, title, why string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n++
	p.step = id
	if p.json {
		p.emit("step", title, map[string]any{"n": p.n, "why": why})
		return
	}
	p.erase()
	defer p.draw()
	fmt.Fprintf(p.out, "\n%s %s\n", p.paint(bold, fmt.Sprintf("%d. %s", p.n, title)), p.paint(dim, p.elapsed()))
	if why != "" {
		fmt.Fprintf(p.out, "   %s\n", p.paint(dim, why))
	}
}

func (p *printer) elapsed() string {
	return fmt.Sprintf("(%.1fs)", time.Since(p.start).Seconds())
}

// Line tells one thing that happened in the current step.
func (p *printer) Line(format string, args ...any) { p.say("progress", "   ", "", format, args...) }

// Done tells that something worked.
func (p *printer) Done(format string, args ...any) {
	p.say("done", "   "+p.paint(green, "✓")+" ", "", format, args...)
}

// Fail tells that something failed.
func (p *printer) Fail(format string, args ...any) {
	p.say("failed", "   "+p.paint(red, "✗")+" ", "", format, args...)
}

// Detail tells what is only of interest to those who watch: output of programs that run below.
func (p *printer) Detail(format string, args ...any) { p.say("detail", "     ", dim, format, args...) }

// Data tells a result for machines; people see text, if it is not empty.
func (p *printer) Data(kind, text string, data map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		p.emit(kind, "", data)
		return
	}
	if text != "" {
		p.erase()
		defer p.draw()
		fmt.Fprintln(p.out, text)
	}
}

func (p *printer) say(kind, indent, style, format string, args ...any) {
	msg := strings.TrimRight(fmt.Sprintf(format, args...), "\n")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		p.emit(kind, msg, nil)
		return
	}
	p.erase()
	defer p.draw()
	for line := range strings.SplitSeq(msg, "\n") {
		if style != "" {
			line = p.paint(style, line)
		}
		fmt.Fprintf(p.out, "%s%s\n", indent, line)
	}
}

// lineWriter passes each complete line of what is written to f.
type lineWriter struct {
	mu  sync.Mutex
	buf []byte
	f   func(line string)
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, b...)
	for {
		line, rest, ok := strings.Cut(string(w.buf), "\n")
		if !ok {
			return len(b), nil
		}
		w.buf = []byte(rest)
		w.f(strings.TrimRight(line, "\r"))
	}
}
