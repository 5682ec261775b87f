// Package contract is what every runtime must do, as a test suite: it runs on each of them.
package contract

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// Image serves the suite's program as an image and returns its reference.
func Image(t *testing.T) string {
	t.Helper()
	_, here, _, _ := goruntime.Caller(0)
	bin := filepath.Join(t.TempDir(), "prog")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", bin, ".")
	build.Dir = filepath.Join(filepath.Dir(here), "..", "testdata", "prog")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	program, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	base := layer(t, map[string]string{"etc/passwd": "root:x:0:0::/root:\napp:x:1234:1235::/home/app:\n", "etc/group": "app:x:1235:\n", "gone": "x", "dir/below": "x"}, nil)
	top := layer(t, map[string]string{".wh.gone": "", "dir/.wh..wh..opq": "", "dir/above": "x"}, program)
	img, err := mutate.AppendLayers(empty.Image, base, top)
	if err != nil {
		t.Fatal(err)
	}
	cfg, _ := img.ConfigFile()
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", goruntime.GOARCH
	cfg.Config.Entrypoint = []string{"/prog"}
	cfg.Config.Env = []string{"ANSWER=image"}
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	ref, err := name.ParseReference(strings.TrimPrefix(srv.URL, "http://")+"/prog:1", name.Insecure)
	if err == nil {
		err = remote.Write(ref, img)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

func layer(t *testing.T, files map[string]string, program []byte) v1.Layer {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(name string, mode int64, data []byte) {
		if err := errors.Join(w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg}), write(w, data)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		add(name, 0o644, []byte(text))
	}
	if program != nil {
		add("prog", 0o755, program)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(buf.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func write(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

// Output collects what a container writes.
type Output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("did not happen: %s", what)
}

// Limits says what the machine lets the runtime do.
type Limits struct{ Users, Memory bool }

// Run runs the suite.
func Run(t *testing.T, rt runtime.Runtime, limits Limits) {
	image := Image(t)
	ctx := t.Context()
	n := 0
	begin := func(t *testing.T, spec runtime.ContainerSpec) (runtime.Task, runtime.Container, *Output) {
		t.Helper()
		n++
		task, err := rt.NewTask(ctx, runtime.TaskSpec{ID: fmt.Sprintf("%s-%d", rt.Name(), n), NetworkMode: "bridge", Hostname: "web", Ports: []runtime.Port{{Container: 8080, Protocol: "tcp"}}, Hosts: []runtime.Host{{Name: "cart.shop", Address: "127.255.0.7"}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = task.Close(context.WithoutCancel(ctx)) })
		out := &Output{}
		spec.Name, spec.Image, spec.Stdout, spec.Stderr = "main", image, out, out
		c, err := task.Start(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		return task, c, out
	}
	exit := func(t *testing.T, c runtime.Container) runtime.Exit {
		t.Helper()
		wait, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		e, err := c.Wait(wait)
		if err != nil {
			t.Fatalf("waiting for the end: %v", err)
		}
		return e
	}

	t.Run("two tasks serve on the same container port", func(t *testing.T) {
		for _, answer := range []string{"one", "two"} {
			task, c, out := begin(t, runtime.ContainerSpec{Command: []string{"serve"}, Env: []string{"ANSWER=" + answer}, Memory: 64})
			addr, ok := task.Endpoint(8080, "tcp")
			if !ok {
				t.Fatal("port 8080 is not published")
			}
			eventually(t, "ready", func() bool { return strings.Contains(out.String(), "ready") })
			body := ""
			eventually(t, "an answer from "+addr, func() bool {
				resp, err := http.Get("http://" + addr)
				if err != nil {
					return false
				}
				defer resp.Body.Close()
				data, _ := io.ReadAll(resp.Body)
				body = string(data)
				return true
			})
			if body != answer+" web" {
				t.Errorf("answer %q", body)
			}
			if st, err := c.Stats(ctx); err != nil || st.Memory <= 0 {
				t.Errorf("stats = %+v, %v", st, err)
			}
		}
	})
	t.Run("SIGTERM ends it in order", func(t *testing.T) {
		_, c, out := begin(t, runtime.ContainerSpec{Command: []string{"serve"}})
		eventually(t, "ready", func() bool { return strings.Contains(out.String(), "ready") })
		if err := c.Stop(ctx, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		if e := exit(t, c); e.Code != 0 || !strings.HasSuffix(out.String(), "bye\n") {
			t.Errorf("exit %+v, output %q", e, out)
		}
	})
	t.Run("SIGKILL follows", func(t *testing.T) {
		_, c, out := begin(t, runtime.ContainerSpec{Command: []string{"deaf"}})
		eventually(t, "ready", func() bool { return strings.Contains(out.String(), "ready") })
		start := time.Now()
		if err := c.Stop(ctx, 300*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if e := exit(t, c); e.Code != 137 || e.OOM || time.Since(start) < 300*time.Millisecond {
			t.Errorf("exit %+v after %s", e, time.Since(start))
		}
	})
	t.Run("exit code and last output", func(t *testing.T) {
		_, c, out := begin(t, runtime.ContainerSpec{Command: []string{"exit", "7"}})
		if e := exit(t, c); e.Code != 7 || out.String() != "going\n" {
			t.Errorf("exit %+v, output %q", e, out)
		}
	})
	t.Run("out of memory is told apart", func(t *testing.T) {
		if !limits.Memory {
			t.Log("no cgroups here: not checked")
			return
		}
		_, c, _ := begin(t, runtime.ContainerSpec{Command: []string{"hog"}, Memory: 24})
		if e := exit(t, c); e.Code != 137 || !e.OOM {
			t.Errorf("exit %+v, want 137 by OOM", e)
		}
	})
	t.Run("a command with a terminal", func(t *testing.T) {
		_, c, out := begin(t, runtime.ContainerSpec{Command: []string{"serve"}})
		eventually(t, "it is ready", func() bool { return strings.Contains(out.String(), "ready") })
		sh, err := c.(runtime.Terminal).Shell(ctx, []string{"/prog", "terminal"})
		if err != nil {
			t.Fatal(err)
		}
		defer sh.Close()
		if err := sh.Resize(40, 100); err != nil {
			t.Errorf("resizing: %v", err)
		}
		if _, err := io.WriteString(sh, "hello\r"); err != nil {
			t.Errorf("typing: %v", err)
		}
		said, err := io.ReadAll(sh)
		code, failure := sh.Wait()
		if text := string(said); err != nil || failure != nil || code != 7 || !strings.Contains(text, "40 100 hello") {
			t.Errorf("said %q, code %d, %v, %v", text, code, err, failure)
		}
	})
	t.Run("names of other services", func(t *testing.T) {
		_, c, out := begin(t, runtime.ContainerSpec{Command: []string{"lookup", "cart.shop"}})
		exit(t, c)
		if out.String() != "[127.255.0.7] <nil>\n" {
			t.Errorf("the name is %s", out)
		}
	})
	t.Run("what serves a task inside its network", func(t *testing.T) {
		task, c, out := begin(t, runtime.ContainerSpec{Command: []string{"serve"}})
		eventually(t, "it is ready", func() bool { return strings.Contains(out.String(), "ready") })
		l, err := task.(runtime.Listener).Listen()
		if err != nil && strings.HasPrefix(err.Error(), "not supported") {
			t.Logf("%v", err)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host, r.URL.Path) }))
		}()
		var got Output
		if code, err := c.Exec(ctx, []string{"/prog", "fetch", "http://" + runtime.AgentAddress + "/v4/x"}, &got); code != 0 || err != nil || got.String() != "169.254.170.2:80/v4/x" {
			t.Errorf("fetch: code %d, output %q, error %v", code, &got, err)
		}
	})
	t.Run("exec", func(t *testing.T) {
		_, c, out := begin(t, runtime.ContainerSpec{Command: []string{"serve"}})
		eventually(t, "ready", func() bool { return strings.Contains(out.String(), "ready") })
		var got bytes.Buffer
		code, err := c.Exec(ctx, []string{"/prog", "exit", "3"}, &got)
		if err != nil || code != 3 || got.String() != "going\n" {
			t.Errorf("exec: code %d, output %q, error %v", code, &got, err)
		}
	})
	t.Run("user, rights and pid", func(t *testing.T) {
		user := "app"
		if !limits.Users {
			user = ""
		}
		_, c, out := begin(t, runtime.ContainerSpec{Command: []string{"whoami"}, User: user})
		exit(t, c)
		want := "1234 1235 /home/app 1\n"
		if !limits.Users {
			want = "0 0 /root 1\n"
		}
		if out.String() != want {
			t.Errorf("whoami: %q, want %q", out, want)
		}
		_, c, out = begin(t, runtime.ContainerSpec{Command: []string{"caps"}})
		exit(t, c)
		if !strings.Contains(out.String(), "CapEff:\t00000000a80425fb") {
			t.Errorf("capabilities are not Docker's default: %s", out)
		}
	})
	t.Run("read-only root", func(t *testing.T) {
		_, c, out := begin(t, runtime.ContainerSpec{Command: []string{"write", "/x"}, ReadOnlyRoot: true})
		exit(t, c)
		if !strings.Contains(out.String(), "read-only") {
			t.Errorf("writing said %q", out)
		}
		_, c, out = begin(t, runtime.ContainerSpec{Command: []string{"write", "/x"}})
		exit(t, c)
		if out.String() != "<nil>\n" {
			t.Errorf("writing said %q", out)
		}
	})
	t.Run("errors are typed", func(t *testing.T) {
		task, _, _ := begin(t, runtime.ContainerSpec{Command: []string{"exit", "0"}})
		_, err := task.Start(ctx, runtime.ContainerSpec{Name: "b", Image: strings.Replace(image, "prog:1", "nosuch:1", 1)})
		var pull *runtime.PullError
		if !errors.As(err, &pull) {
			t.Errorf("a missing image: %v", err)
		}
		_, err = task.Start(ctx, runtime.ContainerSpec{Name: "c", Image: image, EntryPoint: []string{"/nosuch"}})
		var start *runtime.StartError
		if !errors.As(err, &start) || !strings.Contains(err.Error(), "/nosuch") {
			t.Errorf("a missing command: %v", err)
		}
	})
}
