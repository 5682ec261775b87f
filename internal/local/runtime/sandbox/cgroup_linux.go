package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroups limits containers, with version 1 or 2, where this process may make groups.
type cgroups struct {
	owner   string
	v2      bool
	enabled bool
}

func openCgroups(owner string, log *slog.Logger) *cgroups {
	c := &cgroups{owner: "slipway-" + owner}
	_, err := os.Stat(filepath.Join(cgroupRoot, "cgroup.controllers"))
	c.v2 = err == nil
	c.remove() // what a killed predecessor left
	g, err := c.try()
	if err != nil {
		log.Warn("no cgroups: CPU and memory limits of containers are not enforced", "reason", err)
		return c
	}
	g.remove()
	c.enabled = true
	return c
}

func (c *cgroups) try() (*group, error) {
	if c.v2 {
		if err := os.MkdirAll(filepath.Join(cgroupRoot, c.owner), 0o755); err != nil {
			return nil, err
		}
		for _, d := range []string{cgroupRoot, filepath.Join(cgroupRoot, c.owner)} {
			if err := os.WriteFile(filepath.Join(d, "cgroup.subtree_control"), []byte("+memory +cpu"), 0); err != nil {
				return nil, err
			}
		}
	}
	g := &group{c: c, name: "probe"}
	return g, g.limit(2, 64)
}

// remove removes the groups of this owner that are empty.
func (c *cgroups) remove() {
	for _, base := range c.bases() {
		entries, _ := os.ReadDir(base)
		for _, e := range entries {
			_ = os.Remove(filepath.Join(base, e.Name()))
		}
		_ = os.Remove(base)
	}
}

func (c *cgroups) bases() []string {
	if c.v2 {
		return []string{filepath.Join(cgroupRoot, c.owner)}
	}
	return []string{filepath.Join(cgroupRoot, "memory", c.owner), filepath.Join(cgroupRoot, "cpu", c.owner), filepath.Join(cgroupRoot, "cpuacct", c.owner)}
}

// group is the cgroup of one container; without cgroups it has no paths.
type group struct {
	c    *cgroups
	name string
	made bool
}

// make makes a group with CPU shares (1024 a CPU) and a memory limit in MiB; 0 is none.
func (c *cgroups) make(name string, shares, memory int) (*group, error) {
	g := &group{c: c, name: name}
	if !c.enabled {
		return g, nil
	}
	return g, g.limit(shares, memory)
}

func (g *group) limit(shares, memory int) error {
	for _, p := range g.dirs() {
		if err := os.MkdirAll(p, 0o755); err != nil {
			return err
		}
	}
	g.made = true
	set := map[string]string{}
	shares = max(2, shares)
	if g.c.v2 {
		set["memory.max"], set["memory.swap.max"] = "max", "0"
		if memory > 0 {
			set["memory.max"] = strconv.Itoa(memory << 20)
		}
		set["cpu.weight"] = strconv.Itoa(1 + (min(shares, 262144)-2)*9999/262142)
	} else {
		if memory > 0 {
			set["memory/memory.limit_in_bytes"] = strconv.Itoa(memory << 20)
		}
		set["cpu/cpu.shares"] = strconv.Itoa(shares)
	}
	for file, value := range set {
		err := os.WriteFile(g.file(file), []byte(value), 0)
		if err != nil && !strings.Contains(file, "swap") { // a kernel may count no swap
			return fmt.Errorf("writing %s: %w", file, err)
		}
	}
	return nil
}

// file is the path of controller/file; version 2 has one folder for all controllers.
func (g *group) file(name string) string {
	controller, file, ok := strings.Cut(name, "/")
	if !ok {
		return filepath.Join(cgroupRoot, g.c.owner, g.name, name)
	}
	return filepath.Join(cgroupRoot, controller, g.c.owner, g.name, file)
}

func (g *group) dirs() []string {
	var out []string
	for _, b := range g.c.bases() {
		out = append(out, filepath.Join(b, g.name))
	}
	return out
}

func (g *group) paths() []string {
	if !g.made {
		return nil
	}
	return g.dirs()
}

func (g *group) remove() {
	for _, p := range g.paths() {
		for range 20 { // the kernel needs a moment to see that the processes are gone
			if err := os.Remove(p); err == nil || errors.Is(err, os.ErrNotExist) {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// oomKilled tells whether the kernel has killed a process of the group for memory.
func (g *group) oomKilled() bool {
	if !g.made {
		return false
	}
	file := g.file("memory/memory.oom_control")
	if g.c.v2 {
		file = g.file("memory.events")
	}
	return number(file, "oom_kill") > 0
}

// number reads a file of one number, or the number behind a key.
func number(file, key string) int64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	if key == "" {
		n, _ := strconv.ParseInt(string(bytes.TrimSpace(data)), 10, 64) // "max" counts as none
		return n
	}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) >= 2 && strings.TrimSuffix(f[0], ":") == key {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}

func (g *group) stats(pid int) (runtime.Stats, error) {
	switch {
	case !g.made:
		return procStats(pid)
	case g.c.v2:
		return runtime.Stats{CPU: time.Duration(number(g.file("cpu.stat"), "usage_usec")) * time.Microsecond,
			Memory: number(g.file("memory.current"), ""), PeakMemory: number(g.file("memory.peak"), "")}, nil
	}
	return runtime.Stats{CPU: time.Duration(number(g.file("cpuacct/cpuacct.usage"), "")),
		Memory: number(g.file("memory/memory.usage_in_bytes"), ""), PeakMemory: number(g.file("memory/memory.max_usage_in_bytes"), "")}, nil
}

// procStats is what /proc tells of one process; clock ticks are 1/100 s on every Linux Go runs on.
func procStats(pid int) (runtime.Stats, error) {
	status := fmt.Sprintf("/proc/%d/status", pid)
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return runtime.Stats{}, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	f := strings.Fields(rest)
	var ticks int64
	if len(f) > 13 {
		user, _ := strconv.ParseInt(f[11], 10, 64)
		system, _ := strconv.ParseInt(f[12], 10, 64)
		ticks = user + system
	}
	return runtime.Stats{CPU: time.Duration(ticks) * 10 * time.Millisecond, Memory: number(status, "VmRSS") << 10, PeakMemory: number(status, "VmHWM") << 10}, nil
}

// entrances are the container's cgroups, opened before the container's own root hides them.
type entrances []*os.File

func openEntrances(cfg initConfig) (entrances, error) {
	var e entrances
	for _, p := range cfg.Cgroups {
		f, err := os.OpenFile(p+"/cgroup.procs", os.O_WRONLY, 0)
		if err != nil {
			return nil, fmt.Errorf("finding the cgroup: %w", err)
		}
		e = append(e, f)
	}
	return e, nil
}

// enter puts this process into the cgroups, as late as can be: what it has touched until then stays counted
// where it was, and this program needs more memory to start than a small container may have.
func (e entrances) enter() error {
	for _, f := range e {
		if _, err := f.WriteString("0"); err != nil {
			return fmt.Errorf("entering the cgroup: %w", err)
		}
	}
	return nil
}
