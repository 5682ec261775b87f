//go:build linux

package cli_test

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// screen is what a program has written to its terminal.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// terminal is a program on a terminal of its own.
type terminal struct {
	*testing.T
	cmd    *exec.Cmd
	master *os.File
	slave  *os.File
	before unix.Termios
	out    *screen
	read   chan struct{} // closed when all is read
}

func onTerminal(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	self, err := exec.LookPath("slipway") // the test binary, see TestMain
	if err != nil {
		t.Fatal(err)
	}
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(master, &pty.Winsize{Rows: 30, Cols: 100}); err != nil {
		t.Fatal(err)
	}
	x := &terminal{T: t, cmd: exec.Command(self, args...), master: master, slave: slave, out: &screen{}, read: make(chan struct{})}
	x.before = x.mode()
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = slave, slave, slave
	x.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	x.cmd.Env = append(os.Environ(), append([]string{"TERM=xterm-256color", "NO_COLOR="}, env...)...)
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(x.read)
		_, _ = x.out.ReadFrom(master) // ends with an error when the terminal is closed
	}()
	t.Cleanup(func() {
		_ = x.cmd.Process.Kill()
		_ = slave.Close()
		_ = master.Close()
		<-x.read
	})
	return x
}

// ReadFrom takes what comes as it comes.
func (s *screen) ReadFrom(f *os.File) (n int64, err error) {
	b := make([]byte, 4096)
	for {
		k, err := f.Read(b)
		_, _ = s.Write(b[:k]) // a buffer's: never fails
		n += int64(k)
		if err != nil {
			return n, err
		}
	}
}

// mode is how the terminal treats what is typed.
func (x *terminal) mode() unix.Termios {
	x.Helper()
	m, err := unix.IoctlGetTermios(int(x.slave.Fd()), unix.TCGETS)
	if err != nil {
		x.Fatal(err)
	}
	return *m
}

// shows waits until what was written after an offset has the text, and returns how much there is.
func (x *terminal) shows(after int, want string) int {
	x.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		s := x.out.String()
		if strings.Contains(s[after:], want) {
			return len(s)
		}
		if time.Now().After(end) {
			x.Fatalf("not within a minute: %q at the end of %q", want, s[max(after, len(s)-1500):])
		}
	}
}

// ends waits for the program's end, which has to be a good one, with the terminal as it was.
func (x *terminal) ends() {
	n := len(x.out.String())
	x.Helper()
	done := make(chan error, 1)
	go func() { done <- x.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			x.Errorf("it ends with %v: %q", err, x.out.String()[max(0, len(x.out.String())-1500):])
		}
	case <-time.After(time.Minute):
		_ = x.cmd.Process.Signal(syscall.SIGQUIT) // it tells what it waits for
		time.Sleep(time.Second)
		x.Fatalf("it does not end within a minute: %s", x.out.String()[n:])
	}
	if m := x.mode(); m != x.before {
		x.Errorf("the terminal's mode is %+v; it was %+v", m, x.before)
	}
	x.shows(0, "\x1b[?1049l") // the screen that was there before
	x.shows(0, "\x1b[?25h")   // the cursor
	s := x.out.String()
	if strings.LastIndex(s, "\x1b[?1049h") > strings.LastIndex(s, "\x1b[?1049l") || strings.LastIndex(s, "\x1b[?25l") > strings.LastIndex(s, "\x1b[?25h") {
		x.Errorf("it leaves its own screen, or no cursor: %q", s[max(0, len(s)-1500):])
	}
}

// On a terminal top is live: it shows what changes while it runs, fits a new size, ends by q, Ctrl-C or a
// signal, and leaves the terminal as it was.
func TestTopOnATerminal(t *testing.T) {
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	a := localtest.Start(t, localtest.Speed(50))
	ctx, api, groups, machines := t.Context(), ecs.NewFromConfig(a.Config), autoscaling.NewFromConfig(a.Config), ec2.NewFromConfig(a.Config)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := api.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")})
	check(err)
	joining := base64.StdEncoding.EncodeToString([]byte("#!/bin/bash\necho ECS_CLUSTER=c >> /etc/ecs/ecs.config\n"))
	_, err = machines.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("host"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-0510ca10ca10ca230"), InstanceType: "m7i.large", UserData: &joining}})
	check(err)
	_, err = groups.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("hosts"), MinSize: aws.Int32(1), MaxSize: aws.Int32(2), DesiredCapacity: aws.Int32(1),
		LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("host")}, AvailabilityZones: []string{"us-east-1a"}})
	check(err)
	_, err = api.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("web"), ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app"), Cpu: 500, Memory: aws.Int32(256)}}})
	check(err)
	env := []string{"AWS_ENDPOINT_URL=" + a.Endpoint, "AWS_REGION=us-east-1"}

	for k, end := range []struct {
		name string
		do   func(*terminal) error
	}{
		{"q", func(x *terminal) error { _, err := x.master.WriteString("q"); return err }},
		{"Ctrl-C", func(x *terminal) error { _, err := x.master.WriteString("\x03"); return err }},
		{"SIGTERM", func(x *terminal) error { return x.cmd.Process.Signal(syscall.SIGTERM) }},
		{"SIGINT", func(x *terminal) error { return x.cmd.Process.Signal(syscall.SIGINT) }},
	} {
		t.Run(end.name, func(t *testing.T) {
			x := onTerminal(t, env, "cluster", "top", "c", "--interval", "100ms")
			n := x.shows(0, "\x1b[?1049h")
			if m := x.mode(); m == x.before {
				t.Error("keys are not read one by one")
			}
			n = x.shows(n, "m7i.large")
			if k == 0 {
				_, err := api.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("c"), ServiceName: aws.String("web"), TaskDefinition: aws.String("web"), DesiredCount: aws.Int32(1)})
				check(err)
				n = x.shows(n, "web 1/1") // it came while top ran
				// A narrower window: bars are drawn anew, with fewer cells.
				check(pty.Setsize(x.master, &pty.Winsize{Rows: 24, Cols: 70}))
				x.shows(n, "▕"+strings.Repeat("·", 12)+"▏") // of memory, next to none
			}
			check(end.do(x))
			x.ends()
		})
	}
	t.Run("NO_COLOR", func(t *testing.T) {
		x := onTerminal(t, append(env, "NO_COLOR=1"), "cluster", "top", "c", "--interval", "100ms")
		x.shows(0, "m7i.large")
		_, err := x.master.WriteString("q")
		check(err)
		x.ends()
		if s := x.out.String(); strings.Contains(s, "\x1b[38;5;") || strings.Contains(s, "\x1b[1m") {
			t.Errorf("colours: %q", s[:min(len(s), 1500)])
		}
	})
	t.Run("a cluster that is not there", func(t *testing.T) {
		x := onTerminal(t, env, "cluster", "top", "none", "--interval", "100ms")
		x.shows(0, "none")
		_, err := x.master.WriteString("q")
		check(err)
		x.ends()
	})
}
