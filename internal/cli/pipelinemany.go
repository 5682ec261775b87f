package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/pipeline"
	"github.com/slipway-ecs/slipway/internal/service"
)

// member is one service of a repository with many.
type member struct {
	pipeline.Service
	file string // its slipway.yaml, from the current folder
	def  *service.File
}

// runMany delivers the services that have changed, or all, some at a time.
func (f *pipelineFlags) runMany(cmd *cobra.Command) error {
	if cmd.Flags().Changed("file") {
		return badInput("--file names one service; --changed-since and --all find them all")
	}
	if f.reports != "" {
		return badInput("--reports is for one service; with many, each has its own, in .slipway/reports beside its slipway.yaml")
	}
	if f.parallel < 1 {
		return badInput("--parallel is %d; it must be at least 1", f.parallel)
	}
	ctx := cmd.Context()
	all, root, err := findServices(ctx, ".")
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return badInput("there is no slipway.yaml in this folder or below that git knows of")
	}
	chosen, why := all, "all of them"
	if f.since != "" {
		if chosen, err = changedSince(ctx, root, f.since, all); err != nil {
			return err
		}
		why = "changed since " + f.since
	}
	p := newPrinter(cmd.OutOrStdout(), f.json)
	names := []string{}
	for _, m := range chosen {
		names = append(names, m.Name)
	}
	p.Data("services", fmt.Sprintf("%d of %d services, %s: %s", len(chosen), len(all), why, strings.Join(names, ", ")), map[string]any{"found": len(all), "chosen": names})
	if len(chosen) == 0 {
		return nil
	}
	cloud, err := awscloud.Open(ctx, awscloud.Options{})
	if err != nil {
		return err
	}
	var tools toolchain
	if f.deploys(chosen) { // once, before they all want it
		if _, err := tools.ready(ctx, p); err != nil {
			return err
		}
	}
	board := newBoard(p, names)
	ends := make([]error, len(chosen))
	var g errgroup.Group
	g.SetLimit(f.parallel)
	for i, m := range chosen {
		g.Go(func() error {
			ends[i] = f.one(ctx, m, cloud, tools, board)
			return nil
		})
	}
	_ = g.Wait() // each has its own end
	board.close()
	return board.sum(names, ends)
}

// one delivers a service; what it prints goes to its place of the board.
func (f *pipelineFlags) one(ctx context.Context, m member, cloud *awscloud.Cloud, tools toolchain, b *board) error {
	out := b.writer(m.Name)
	pr, err := openProject(ctx, newPrinter(out, true), m.file, cloud)
	if err != nil {
		return err
	}
	pr.tools = tools
	own := *f
	own.reports = filepath.Join(pr.dir, ".slipway", "reports")
	return own.run(ctx, own.delivery(pr))
}

// deploys says whether the selected stages of any service need Terraform.
func (f *pipelineFlags) deploys(chosen []member) bool {
	for _, m := range chosen {
		selected, err := f.Of(stagesOf(m.def))
		if err == nil && slices.ContainsFunc(selected, func(s pipeline.Stage) bool { return s.Kind == pipeline.Deploy }) {
			return true
		}
	}
	return false
}

// findServices are those with a slipway.yaml below dir that git tracks. A file with faults is one.
func findServices(ctx context.Context, dir string) (all []member, root string, err error) {
	if root, err = gitOutput(ctx, dir, "rev-parse", "--show-toplevel"); err != nil {
		return nil, "", err
	}
	listed, err := gitOutput(ctx, dir, "ls-files", "-z", "--", "slipway.yaml", "**/slipway.yaml")
	if err != nil {
		return nil, "", err
	}
	prefix, err := gitOutput(ctx, dir, "rev-parse", "--show-prefix")
	if err != nil {
		return nil, "", err
	}
	var faults []error
	by := map[string]string{}
	for _, file := range strings.Split(strings.Trim(listed, "\x00"), "\x00") {
		if file == "" {
			continue
		}
		def, err := readDefinition(filepath.FromSlash(file))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if other := by[def.Service]; other != "" {
			faults = append(faults, badInput("service %s is defined twice: in %s and %s", def.Service, other, file))
		}
		by[def.Service] = file
		folder := filepath.ToSlash(filepath.Dir(filepath.FromSlash(prefix + file)))
		all = append(all, member{pipeline.Service{Name: def.Service, Folder: folder, Paths: def.Pipeline.Paths}, filepath.FromSlash(file), def})
	}
	if err := errors.Join(faults...); err != nil {
		return nil, "", exitWith(ExitBadInput, err)
	}
	return all, root, nil
}

// changedSince are the services that commits after the one both branches come from have changed.
func changedSince(ctx context.Context, root, ref string, all []member) ([]member, error) {
	base, err := gitOutput(ctx, root, "merge-base", "--end-of-options", ref, "HEAD")
	if err != nil {
		return nil, badInput("what has changed since %s cannot be told (in a shallow clone it is not there: fetch the whole history): %w", ref, err)
	}
	text, err := gitOutput(ctx, root, "diff", "--name-only", "--no-renames", "-z", base, "HEAD")
	if err != nil {
		return nil, err
	}
	var services []pipeline.Service
	for _, m := range all {
		services = append(services, m.Service)
	}
	var out []member
	for _, s := range pipeline.Changed(services, strings.FieldsFunc(text, func(r rune) bool { return r == 0 })) {
		out = append(out, all[slices.IndexFunc(all, func(m member) bool { return m.Name == s.Name })])
	}
	return out, nil
}

func gitOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// board shows many deliveries at once. Each tells its events as JSON; on a terminal a line a service is
// drawn anew, elsewhere a line an event is printed, with the service before it.
type board struct {
	p     *printer
	mu    sync.Mutex
	state map[string]string
	order []string
	wide  int
	stop  chan struct{}
	done  sync.WaitGroup
}

func newBoard(p *printer, names []string) *board {
	b := &board{p: p, state: map[string]string{}, order: names, stop: make(chan struct{})}
	for _, n := range names {
		b.wide = max(b.wide, len(n))
		b.state[n] = "waits"
	}
	if p.color {
		b.done.Go(func() {
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-b.stop:
					return
				case <-tick.C:
					b.show()
				}
			}
		})
	}
	return b
}

func (b *board) show() {
	b.mu.Lock()
	lines := make([]string, 0, len(b.order))
	for _, n := range b.order {
		line := fmt.Sprintf("%-*s  %s", b.wide, n, b.state[n])
		lines = append(lines, shorten(line, 100))
	}
	b.mu.Unlock()
	b.p.Live(lines)
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func (b *board) close() {
	close(b.stop)
	b.done.Wait()
	b.p.Live(nil)
}

// writer takes the events of one service.
func (b *board) writer(name string) io.Writer {
	return &lineWriter{f: func(line string) {
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			return
		}
		b.took(name, e)
	}}
}

func (b *board) took(name string, e event) {
	if b.p.json {
		if e.Data == nil {
			e.Data = map[string]any{}
		}
		data := maps.Clone(e.Data)
		data["service"] = name
		if e.Message != "" {
			data["message"] = e.Message
		}
		if e.Step != "" {
			data["stage"] = e.Step
		}
		b.p.Data(e.Event, "", data)
		return
	}
	text := ""
	switch e.Event {
	case "stage":
		text, _ = e.Data["state"].(string)
		if text == "done" || text == "already" {
			return // what was done is said
		}
		if text == "begun" {
			text = "…"
		}
	case "done":
		text = "✓ " + e.Message
	case "failed":
		text = "✗ " + e.Message
	case "progress":
		text = e.Message
	default:
		return // steps are stages, and details are for who watches one
	}
	if e.Step == "" && e.Event == "progress" {
		return // the commit, which is the same for all
	}
	if e.Step != "" && text != "" {
		text = e.Step + " " + text
	}
	b.mu.Lock()
	b.state[name] = text
	b.mu.Unlock()
	if !b.p.color {
		b.p.mu.Lock()
		fmt.Fprintf(b.p.out, "%-*s | %s\n", b.wide, name, text)
		b.p.mu.Unlock()
	}
}

// sum tells every end and returns the worst: what failed before what waits.
func (b *board) sum(names []string, ends []error) error {
	var worst error
	rank := func(err error) int {
		return slices.Index([]int{ExitWaiting, ExitSuperseded, ExitRejected, ExitStillGoing, ExitRefused, ExitRolledBack, ExitBadInput, ExitFailed, ExitNotRolledBack, 130}, exitCode(err))
	}
	told := map[string]string{}
	for i, err := range ends {
		end := "delivered"
		if err != nil {
			end, _, _ = strings.Cut(err.Error(), "\n")
			if worst == nil || rank(err) > rank(worst) {
				worst = err
			}
			b.p.Fail("%s: %s", names[i], end)
		} else {
			b.p.Done("%s", names[i])
		}
		told[names[i]] = end
	}
	b.p.Data("pipelines", "", map[string]any{"ends": told})
	if worst != nil {
		n := 0
		for _, err := range ends {
			if err != nil {
				n++
			}
		}
		return exitWith(exitCode(worst), fmt.Errorf("%d of %d services were not delivered", n, len(ends)))
	}
	return nil
}
