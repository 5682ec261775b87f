package docker

import (
	"bytes"
	"context"
	"debug/elf"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/contract"
)

func open(t *testing.T, owner string) runtime.Runtime {
	t.Helper()
	rt, err := Open(t.Context(), runtime.Options{Dir: t.TempDir(), Owner: owner})
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("no engine here: %v", err)
	}
	t.Cleanup(func() {
		if err := rt.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return rt
}

func TestDocker(t *testing.T) {
	contract.Run(t, open(t, "test-contract"), contract.Limits{Users: true, Memory: true})
}

func containers(t *testing.T, e *engine) int {
	t.Helper()
	list, err := e.api.ContainerList(t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelOwner+"="+e.owner))})
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A task whose first container ends keeps its network for the second, and what a killed owner left
// goes when the next one opens; what another owner runs stays.
func TestSharedNetworkAndLeftovers(t *testing.T) {
	killed, other := open(t, "test-killed").(*engine), open(t, "test-other").(*engine)
	image := contract.Image(t)
	for _, e := range []*engine{killed, other} {
		task, err := e.NewTask(t.Context(), runtime.TaskSpec{ID: "t", NetworkMode: "awsvpc", Ports: []runtime.Port{{Container: 8080, Protocol: "tcp"}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{{"exit", "0"}, {"deaf"}} {
			c, err := task.Start(t.Context(), runtime.ContainerSpec{Name: command[0], Image: image, Command: command})
			if err != nil {
				t.Fatal(err)
			}
			if command[0] == "exit" {
				if x, err := c.Wait(t.Context()); err != nil || x.Code != 0 {
					t.Fatalf("exit %+v, %v", x, err)
				}
			}
		}
		if n := containers(t, e); n != 3 {
			t.Fatalf("%d containers, want 3", n)
		}
	}
	open(t, "test-killed")
	if n, m := containers(t, killed), containers(t, other); n != 0 || m != 3 {
		t.Errorf("%d containers of the killed owner and %d of the other; want 0 and 3", n, m)
	}
}

// An engine that cannot reach this machine's loopback gets the image from us.
func TestFetchAndLoad(t *testing.T) {
	e := open(t, "test-load").(*engine)
	img, err := e.fetchAndLoad(t.Context(), contract.Image(t))
	if err != nil {
		t.Fatal(err)
	}
	made, err := e.NewTask(t.Context(), runtime.TaskSpec{ID: "t", NetworkMode: "none"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := made.(*task).start(t.Context(), runtime.ContainerSpec{Name: "main", Command: []string{"exit", "4"}}, img)
	if err != nil {
		t.Fatal(err)
	}
	if x, err := c.Wait(t.Context()); err != nil || x.Code != 4 {
		t.Errorf("exit %+v, %v", x, err)
	}
	if !strings.HasPrefix(c.ImageDigest(), "sha256:") {
		t.Errorf("digest %q", c.ImageDigest())
	}
}

func TestExecEndsWithItsContext(t *testing.T) {
	e := open(t, "test-exec")
	task, err := e.NewTask(t.Context(), runtime.TaskSpec{ID: "t", NetworkMode: "bridge"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := task.Start(t.Context(), runtime.ContainerSpec{Name: "main", Image: contract.Image(t), Command: []string{"deaf"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Exec(ctx, []string{"/prog", "deaf"}, nil); err == nil {
		t.Error("a command cut off reports success")
	}
}

// Engines that are not there, do not answer, or are elsewhere are refused with the reason.
func TestNoEngine(t *testing.T) {
	silent := httptest.NewServer(nil)
	silent.Close()
	for _, c := range []struct{ host, want string }{
		{"unix:///nosuch/docker.sock", "/nosuch/docker.sock is not there"},
		{strings.Replace(silent.URL, "http", "tcp", 1), "Cannot connect"},
		{"tcp://10.1.2.3:2375", "not supported: an engine on another machine"},
		{"ssh://somewhere", "not supported: an engine on another machine"},
	} {
		t.Setenv("DOCKER_HOST", c.host)
		if _, err := Open(t.Context(), runtime.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.host, err, c.want)
		}
	}
}

func TestPauseProgramIsELF(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, err := pauseProgram(arch)
		if err != nil {
			t.Fatal(err)
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Fatal(err)
		}
		if f.Machine != machine || f.Type != elf.ET_EXEC || len(f.Progs) != 1 || f.Progs[0].Filesz != uint64(len(program)) || f.Entry != f.Progs[0].Vaddr+120 {
			t.Errorf("%s: %+v", arch, f.FileHeader)
		}
	}
	if _, err := pauseProgram("mips"); err == nil {
		t.Error("an unknown architecture is accepted")
	}
}

func TestRepoDigest(t *testing.T) {
	list := []string{"127.0.0.1:4566/other@sha256:1", "127.0.0.1:4566/web@sha256:2", "busybox@sha256:3"}
	for ref, want := range map[string]string{"127.0.0.1:4566/web:latest": "sha256:2", "127.0.0.1:4566/none:latest": ""} {
		if got := repoDigest(list, ref); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
}

func TestConfigs(t *testing.T) {
	tk := &task{e: &engine{owner: "o"}, spec: runtime.TaskSpec{ID: "t"}, pause: "p"}
	c, h := tk.configs(runtime.ContainerSpec{Name: "n", EntryPoint: []string{"/e"}, CPU: 256, Memory: 64, Ulimits: []runtime.Ulimit{{Name: "nofile", Soft: 10, Hard: ^uint64(0)}},
		Mounts: []runtime.Mount{{Target: "/t", Tmpfs: 8}, {Source: "/s", Target: "/m", ReadOnly: true}}}, "img")
	switch {
	case c.Image != "img" || !slices.Equal(c.Entrypoint, []string{"/e"}) || c.Labels[labelTask] != "t" || c.Labels[labelContainer] != "n":
		t.Errorf("config %+v", c)
	case h.NetworkMode != "container:p" || h.Memory != 64<<20 || h.MemorySwap != h.Memory || h.CPUShares != 256:
		t.Errorf("host %+v", h)
	case h.Ulimits[0].Soft != 10 || h.Ulimits[0].Hard != -1:
		t.Errorf("limits %+v", h.Ulimits[0])
	case h.Mounts[0].TmpfsOptions.SizeBytes != 8<<20 || !h.Mounts[1].ReadOnly || h.Mounts[1].Source != "/s":
		t.Errorf("mounts %+v", h.Mounts)
	}
}
