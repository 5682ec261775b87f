package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

// shell is a command with a terminal in a container.
type shell struct {
	terminal *os.File // the side of who types
	conn     *net.UnixConn
	done     chan struct{} // closed when code and err are set
	code     int
	err      error
	once     sync.Once
}

// Shell starts a command with a terminal of its own.
func (c *container) Shell(_ context.Context, command []string) (runtime.Shell, error) {
	if c.ended() {
		return nil, errors.New("the container is not running")
	}
	ours, theirs, err := openTerminal()
	if err != nil {
		return nil, fmt.Errorf("making a terminal: %w", err)
	}
	env := c.env
	if !hasVariable(env, "TERM") {
		env = append(append([]string(nil), env...), "TERM=xterm")
	}
	cfg := initConfig{Pid: c.pid, Args: command, Env: env, User: c.user, Dir: c.dir, Unprivileged: os.Geteuid() != 0, Terminal: true}
	conn, err := c.t.request(request{Op: "exec", Init: cfg}, theirs, theirs)
	_ = theirs.Close()
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	s := &shell{terminal: ours, conn: conn, done: make(chan struct{})}
	go func() {
		var out reply
		switch err := json.NewDecoder(conn).Decode(&out); {
		case err != nil:
			s.err = errors.New("the command was cut off")
		case out.Error != "":
			s.err = errors.New(out.Error)
		}
		s.code = out.Code
		close(s.done)
	}()
	return s, nil
}

func hasVariable(env []string, name string) bool {
	for _, kv := range env {
		if len(kv) > len(name) && kv[:len(name)+1] == name+"=" {
			return true
		}
	}
	return false
}

// Read reads the terminal. The kernel answers EIO when nobody is left on the other side.
func (s *shell) Read(p []byte) (int, error) {
	n, err := s.terminal.Read(p)
	if n == 0 && (errors.Is(err, syscall.EIO) || errors.Is(err, os.ErrClosed)) {
		err = io.EOF
	}
	return n, err
}

func (s *shell) Write(p []byte) (int, error) { return s.terminal.Write(p) }

// Close takes the terminal away, which hangs up, and ends the command.
func (s *shell) Close() (err error) {
	s.once.Do(func() { err = errors.Join(s.terminal.Close(), s.conn.Close()) })
	return err
}

func (s *shell) Resize(rows, columns uint16) error {
	return control(s.terminal, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	})
}

func (s *shell) Wait() (int, error) {
	<-s.done
	return s.code, s.err
}

func control(f *os.File, act func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = act(int(fd)) })
	return errors.Join(err, inner)
}

// openTerminal makes a pseudo-terminal: the side of who types, and the side of the program.
func openTerminal() (ours, theirs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	n := 0
	err = control(ours, func(fd int) (err error) {
		if err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err == nil {
			n, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
		}
		return err
	})
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, ours.Close())
	}
	return ours, theirs, nil
}
