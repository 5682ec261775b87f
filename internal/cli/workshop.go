package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/slipway-ecs/slipway/examples"
)

// workshop is the demo's service with a git history of its own.
type workshop struct {
	dir  string
	repo *git.Repository
}

func newWorkshop(dir string) (*workshop, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	err := fs.WalkDir(examples.IPLookup, "iplookup", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := examples.IPLookup.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, path.Base(p)), data, 0o644)
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module iplookup\n\ngo 1.24\n"), 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the example: %w", err)
	}
	repo, err := git.PlainInitWithOptions(dir, &git.PlainInitOptions{InitOptions: git.InitOptions{DefaultBranch: plumbing.NewBranchReferenceName("main")}})
	if err != nil {
		return nil, fmt.Errorf("making its git history: %w", err)
	}
	return &workshop{dir: dir, repo: repo}, nil
}

// commit commits everything there is and, if tag is not empty, tags it.
func (w *workshop) commit(message, tag string) error {
	tree, err := w.repo.Worktree()
	if err != nil {
		return err
	}
	if err := tree.AddWithOptions(&git.AddOptions{All: true}); err != nil {
		return err
	}
	// A second later than the last one, so that commit times order the history.
	at := time.Now()
	if head, err := w.repo.Head(); err == nil {
		if last, err := w.repo.CommitObject(head.Hash()); err == nil && !at.After(last.Committer.When.Add(time.Second)) {
			at = last.Committer.When.Add(time.Second)
		}
	}
	who := &object.Signature{Name: "Dev", Email: "dev@example.com", When: at}
	hash, err := tree.Commit(message, &git.CommitOptions{Author: who, Committer: who})
	if err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	if tag == "" {
		return nil
	}
	if _, err := w.repo.CreateTag(tag, hash, nil); err != nil {
		return fmt.Errorf("tagging the commit: %w", err)
	}
	return nil
}

// short is the commit's hash as the tag policy cuts it.
func (w *workshop) short() (string, error) {
	head, err := w.repo.Head()
	if err != nil {
		return "", err
	}
	return head.Hash().String()[:7], nil
}

func (w *workshop) edit(file, from, to string) error {
	p := filepath.Join(w.dir, file)
	data, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	if strings.Count(string(data), from) != 1 {
		return fmt.Errorf("the example's %s has changed: %q is not in it once", file, from)
	}
	return os.WriteFile(p, []byte(strings.Replace(string(data), from, to, 1)), 0o644)
}

// improve is the second commit.
func (w *workshop) improve() error {
	return errors.Join(
		w.edit("app.go", "\tVersion string `json:\"version\"`\n", "\tVersion string `json:\"version\"`\n\tHello   string `json:\"hello\"`\n"),
		w.edit("app.go", "Version: a.version, Host", "Version: a.version, Hello: \"to \" + callerIP(r), Host"))
}

// breakIt is the third commit: it compiles and its tests pass, but it needs a file that is not in the
// image.
func (w *workshop) breakIt() error {
	return w.edit("main.go", "\tdefer stop()\n", `	defer stop()
	if _, err := os.Stat("/data/countries.db"); err != nil {
		log.Error("cannot open the country database", "error", err)
		os.Exit(1)
	}
`)
}

// loadResult is what a load saw.
type loadResult struct {
	Requests, Failed int64
	FirstFailure     string
}

// load sends requests to one address, a few at a time, until it is stopped: at most 200 a second, and
// for ten minutes at most.
type load struct {
	cancel           context.CancelFunc
	wg               sync.WaitGroup
	requests, failed atomic.Int64
	once             sync.Once
	first            string
}

func startLoad(ctx context.Context, url string) *load {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	l := &load{cancel: cancel}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	for range 4 {
		l.wg.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if err := request(ctx, client, url); err != nil {
					if ctx.Err() != nil {
						return // cut off by us
					}
					l.failed.Add(1)
					l.once.Do(func() { l.first = err.Error() })
				}
				l.requests.Add(1)
			}
		})
	}
	return l
}

func request(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}

func (l *load) stop() loadResult {
	l.cancel()
	l.wg.Wait()
	return loadResult{Requests: l.requests.Load(), Failed: l.failed.Load(), FirstFailure: l.first}
}
