package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// request is what the supervisor is asked, on a socket of its own.
type request struct {
	Op   string // start, exec, dial
	Port int    `json:",omitempty"`
	Init initConfig
}

// reply is an answer: to start, one with the pid and one at the end; to exec, one at the end.
type reply struct {
	Pid   int    `json:",omitempty"`
	Code  int    `json:",omitempty"`
	Error string `json:",omitempty"`
}

// initConfig tells a container's first process what to become.
type initConfig struct {
	Pid                      int    `json:",omitempty"` // exec: whose namespaces to enter
	Image, Upper, Work, Root string `json:",omitempty"`
	Args, Env                []string
	User, Dir, Hostname      string         `json:",omitempty"`
	Nameserver               string         `json:",omitempty"` // empty: those of the machine
	Address                  string         `json:",omitempty"` // for /etc/hosts
	ReadOnly, Reaper         bool           `json:",omitempty"`
	Terminal                 bool           `json:",omitempty"` // exec: the outputs are a terminal, and the input too
	Unprivileged             bool           `json:",omitempty"` // made by a user who is not root
	Cgroups                  []string       `json:",omitempty"`
	Hosts                    []runtime.Host `json:",omitempty"` // for /etc/hosts
	Mounts                   []runtime.Mount
	Ulimits                  []runtime.Ulimit
}

// MaybeInit turns this process into a task's supervisor or a container's first process if it was
// started as one; it does not return then. Call it first in main and in TestMain.
func MaybeInit() {
	if len(os.Args) < 2 || os.Args[0] != arg0 {
		return
	}
	var err error
	switch os.Args[1] {
	case "supervise":
		err = supervise()
	case "init":
		err = containerInit()
	case "exec":
		err = execInit()
	default:
		err = fmt.Errorf("%s does not know %q", arg0, os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	os.Exit(0)
}

// supervise serves requests until the control socket closes; the containers die with this process.
func supervise() error {
	if lo, err := netlink.LinkByName("lo"); err == nil {
		_ = netlink.LinkSetUp(lo) // already up in the machine's own network
	}
	if len(os.Args) > 2 && os.Args[2] == "own-network" {
		// As with Docker: a user who is not root may serve on port 80. Without it he gets the kernel's
		// own answer.
		_ = os.WriteFile("/proc/sys/net/ipv4/ip_unprivileged_port_start", []byte("0"), 0)
		_ = os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0) // to the balancers; see bridge
	}
	f := os.NewFile(3, "control")
	c, err := net.FileConn(f)
	_ = f.Close()
	if err != nil {
		return err
	}
	control := c.(*net.UnixConn)
	spawn := newSpawner()
	for {
		buf, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4*4))
		_, oobn, _, _, err := control.ReadMsgUnix(buf, oob)
		if err != nil {
			return nil // closed: the task is over
		}
		files, err := receivedFiles(oob[:oobn])
		if err != nil || len(files) == 0 {
			return nil
		}
		go serve(spawn, files)
	}
}

func serve(spawn *spawner, files []*os.File) {
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	c, err := net.FileConn(files[0])
	if err != nil {
		return
	}
	conn := c.(*net.UnixConn)
	defer conn.Close()
	var req request
	if err := json.NewDecoder(conn).Decode(&req); err != nil {
		return
	}
	switch req.Op {
	case "dial":
		serveDial(conn, req.Port)
	case "listen":
		if err := serveListen(conn); err != nil {
			_, _ = conn.Write([]byte(err.Error()))
		}
	case "start", "exec":
		serveStart(spawn, conn, req, files[1:])
	}
}

func serveDial(conn *net.UnixConn, port int) {
	out, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), 5*time.Second)
	if err != nil {
		_, _ = conn.Write([]byte(err.Error()))
		return
	}
	defer out.Close()
	f, err := out.(*net.TCPConn).File()
	if err != nil {
		_, _ = conn.Write([]byte(err.Error()))
		return
	}
	defer f.Close()
	_, _, _ = conn.WriteMsgUnix([]byte{1}, unix.UnixRights(int(f.Fd())), nil)
}

// serveListen gives the task's network the address of the agent, and whoever asks a socket there.
func serveListen(conn *net.UnixConn) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(runtime.AgentAddress)
	if err != nil {
		return err
	}
	at := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(host).To4(), Mask: net.CIDRMask(32, 32)}}
	if err := netlink.AddrReplace(lo, at); err != nil {
		return fmt.Errorf("adding the agent's address: %w", err)
	}
	l, err := net.Listen("tcp", runtime.AgentAddress)
	if err != nil {
		return err
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer f.Close()
	_, _, err = conn.WriteMsgUnix([]byte{1}, unix.UnixRights(int(f.Fd())), nil)
	return err
}

func serveStart(spawn *spawner, conn *net.UnixConn, req request, files []*os.File) {
	answer := json.NewEncoder(conn)
	cmd, failure, err := startInit(spawn, req, files)
	for _, f := range files {
		_ = f.Close() // only the container holds its outputs now
	}
	if err != nil {
		_ = answer.Encode(reply{Error: err.Error()})
		return
	}
	var ended atomic.Bool
	if req.Op == "start" {
		if err := answer.Encode(reply{Pid: cmd.Process.Pid}); err != nil {
			_ = cmd.Process.Kill()
		}
	} else {
		go func() { // whoever asked has gone: nobody wants the command any more
			if _, err := io.Copy(io.Discard, conn); err != nil || !ended.Load() {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
			}
		}()
	}
	_ = cmd.Wait()
	ended.Store(true)
	_ = failure.Close()
	_ = answer.Encode(reply{Code: code(cmd.ProcessState)})
}

func code(st *os.ProcessState) int {
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return st.ExitCode()
}

// startInit starts a first process and returns once it has become the command, or with the reason
// why it has not.
func startInit(spawn *spawner, req request, files []*os.File) (*exec.Cmd, io.Closer, error) {
	if len(files) != 2 {
		return nil, nil, errors.New("two outputs are needed")
	}
	configR, configW, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer configR.Close()
	failR, failW, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, configW.Close())
	}
	defer failW.Close()
	op := map[string]string{"start": "init", "exec": "exec"}[req.Op]
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{arg0, op}, Stdout: files[0], Stderr: files[1], ExtraFiles: []*os.File{configR, failW}, Env: []string{"GOMAXPROCS=1"}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if req.Init.Terminal {
		cmd.Stdin = files[0]
	}
	if req.Op == "start" {
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	}
	if err := spawn.start(cmd); err != nil {
		return nil, nil, errors.Join(err, configW.Close(), failR.Close())
	}
	_ = failW.Close()
	err = errors.Join(json.NewEncoder(configW).Encode(req.Init), configW.Close())
	if req.Op == "exec" {
		return cmd, failR, err
	}
	reason, _ := io.ReadAll(failR) // ends when the process has become the command: the pipe closes on exec
	if err == nil && len(reason) > 0 {
		err = errors.New(string(reason))
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, nil, errors.Join(err, failR.Close())
	}
	return cmd, failR, nil
}
