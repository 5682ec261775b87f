package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// progressView shows what the engine reports: on a terminal a tree of tasks and targets that is drawn
// anew, else a line an event, with --json an object an event.
type progressView struct {
	p       *printer
	started time.Time
	counts  string
	nodes   []progressNode // tasks and targets, oldest first
	events  []string       // of the service, the newest last
}

type progressNode struct{ id, kind, status, text string }

// The tree has at most so many nodes of each kind; the rest is counted.
const (
	treeNodes  = 12
	treeEvents = 3
)

// report is for the engine; done takes the tree away.
func (p *printer) progress() (report func(deploy.Event), done func()) {
	v := &progressView{p: p, started: time.Now()}
	return v.take, func() { p.Live(nil) }
}

func (v *progressView) take(e deploy.Event) {
	if v.p.json {
		data := map[string]any{"kind": e.Kind, "at": e.At}
		for k, s := range map[string]string{"resource": e.Resource, "action": e.Action, "status": e.Status} {
			if s != "" {
				data[k] = s
			}
		}
		if e.Kind == deploy.EventProgress {
			data["desired"], data["running"], data["healthy"], data["old"], data["failed"] = e.Desired, e.Running, e.Healthy, e.Old, e.Failed
		}
		v.p.mu.Lock()
		defer v.p.mu.Unlock()
		v.p.emit("deploy", e.Message, data)
		return
	}
	after := fmt.Sprintf("%4.0fs", e.At.Sub(v.started).Seconds())
	line := func() { v.p.Line("%s  %s", v.p.paint(dim, after), e.Message) }
	switch e.Kind {
	case deploy.EventStep:
		if e.Action != string(deploy.Keep) {
			line()
		}
	case deploy.EventWarning:
		v.p.Line("%s  %s", v.p.paint(dim, after), v.p.paint(red, "! ")+e.Message)
	case deploy.EventDone:
		line()
	case deploy.EventProgress:
		v.counts = e.Message
		if !v.p.color {
			line()
		}
	case deploy.EventTask, deploy.EventTarget:
		v.node(e)
		if !v.p.color || e.Status == "STOPPED" {
			line()
		}
	case deploy.EventService:
		v.events = append(v.events, e.Message)
		if !v.p.color {
			line()
		}
	}
	v.p.Live(v.tree())
}

func (v *progressView) node(e deploy.Event) {
	n := progressNode{id: e.Resource, kind: string(e.Kind), status: e.Status, text: e.Message}
	i := slices.IndexFunc(v.nodes, func(x progressNode) bool { return x.id == n.id && x.kind == n.kind })
	switch {
	case e.Status == "STOPPED" && i >= 0:
		v.nodes = slices.Delete(v.nodes, i, i+1)
	case e.Status == "STOPPED":
	case i >= 0:
		v.nodes[i] = n
	default:
		v.nodes = append(v.nodes, n)
	}
}

func (v *progressView) tree() []string {
	var rows []string
	for _, kind := range []deploy.EventKind{deploy.EventTask, deploy.EventTarget} {
		n := 0
		for _, x := range v.nodes {
			if x.kind != string(kind) {
				continue
			}
			if n++; n <= treeNodes {
				rows = append(rows, v.p.paint(nodeStyle(x.status), "● ")+cut(x.text, 110))
			}
		}
		if n > treeNodes {
			rows = append(rows, v.p.paint(dim, fmt.Sprintf("… and %d %ss more", n-treeNodes, kind)))
		}
	}
	for _, e := range v.events[max(0, len(v.events)-treeEvents):] {
		rows = append(rows, v.p.paint(dim, cut(e, 110)))
	}
	if v.counts == "" && len(rows) == 0 {
		return nil
	}
	out := []string{"   " + v.p.paint(bold, v.counts) + " " + v.p.paint(dim, fmt.Sprintf("(%.0fs)", time.Since(v.started).Seconds()))}
	for i, r := range rows {
		branch := "├ "
		if i == len(rows)-1 {
			branch = "└ "
		}
		out = append(out, "   "+v.p.paint(dim, branch)+r)
	}
	return out
}

func nodeStyle(status string) string {
	switch strings.ToUpper(status) {
	case "RUNNING", "HEALTHY":
		return green
	case "UNHEALTHY":
		return red
	}
	return dim
}

func cut(s string, width int) string {
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}

// eventsPoll is how often the provider's progress is looked for.
const eventsPoll = 200 * time.Millisecond

// eventsFile is where the provider, which Terraform starts, writes its progress. Reading ends with stop,
// after what was written until then.
func (p *printer) eventsFile(ctx context.Context) (path string, stop func(), err error) {
	f, err := os.CreateTemp("", "slipway-events-")
	if err != nil {
		return "", nil, fmt.Errorf("making the file for progress: %w", err)
	}
	report, done := p.progress()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r, line := bufio.NewReader(f), ""
		for last := false; ; {
			part, err := r.ReadString('\n')
			line += part
			if err == nil {
				var e deploy.Event
				if json.Unmarshal([]byte(line), &e) == nil && e.Kind != "" {
					report(e)
				}
				line = ""
				continue
			}
			if last || !errors.Is(err, io.EOF) {
				return
			}
			select {
			case <-ctx.Done():
				last = true
			case <-time.After(eventsPoll):
			}
		}
	}()
	return f.Name(), func() {
		cancel()
		<-ended
		done()
		_ = f.Close()
		_ = os.Remove(f.Name())
	}, nil
}
