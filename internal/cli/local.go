package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/local"
)

func newLocalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "local",
		Short: "A local AWS that keeps its state across runs",
		Long: `The local AWS speaks the wire protocols of ECS, ECR, Elastic Load Balancing, EC2 Auto Scaling,
CloudWatch Logs, SSM, Secrets Manager and others on one address of this machine. Tasks are real
processes, balancers carry real traffic. Every AWS client works with it by its endpoint setting.`,
		Example: `  slipway local up
  eval "$(slipway local env)"
  aws ecs list-clusters
  slipway local down`,
	}
	cmd.AddCommand(newLocalUp(), newLocalDown(), newLocalStatus(), newLocalEnv(), newLocalFault())
	return cmd
}

// localFlags are what all the commands need to find the same local AWS.
type localFlags struct {
	dir  string
	port int
}

func (f *localFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dir, "dir", "", "folder of its state (default: slipway/local in the user's data folder)")
}

func (f *localFlags) folder() (string, error) {
	if f.dir != "" {
		return filepath.Abs(f.dir)
	}
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("finding the user's data folder: %w; use --dir", err)
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "slipway", "local"), nil
}

// running is what a local AWS leaves in its folder for the other commands.
type running struct {
	PID      int    `json:"pid"`
	Endpoint string `json:"endpoint"`
	Runtime  string `json:"runtime"`
	Region   string `json:"region"`
	KeyFile  string `json:"keyFile,omitempty"` // with --auth: where the first access key is
}

func runningFile(dir string) string { return filepath.Join(dir, "running.json") }

// find reads the file and checks that the process answers.
func (f *localFlags) find(ctx context.Context) (running, error) {
	dir, err := f.folder()
	if err != nil {
		return running{}, err
	}
	var r running
	data, err := os.ReadFile(runningFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return r, errors.New("no local AWS is running; start one with: slipway local up")
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, fmt.Errorf("reading %s: %w", runningFile(dir), err)
	}
	if _, err := fetchStatus(ctx, r.Endpoint); err != nil {
		return r, fmt.Errorf("the local AWS of %s does not answer (%w); start it again with: slipway local up", dir, err)
	}
	return r, nil
}

func fetchStatus(ctx context.Context, endpoint string) (local.Status, error) {
	var st local.Status
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/_slipway/status", nil)
	if err != nil {
		return st, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return st, fmt.Errorf("status %s", resp.Status)
	}
	return st, json.NewDecoder(io.LimitReader(resp.Body, 8<<20)).Decode(&st)
}

type localUp struct {
	localFlags
	runtime    string
	region     string
	speed      float64
	foreground bool
	verbose    bool
	auth       bool
	enforce    bool
	throttle   bool
	vcpus      float64

	openRegistry bool
}

func newLocalUp() *cobra.Command {
	var o localUp
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the local AWS, or say that it runs",
		Args:  cobra.NoArgs,
		Example: `  slipway local up
  slipway local up --port 4570 --dir ./aws --runtime sandbox
  slipway local up --foreground --speed 10`,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.add(cmd)
	cmd.Flags().IntVar(&o.port, "port", 4566, "port on 127.0.0.1")
	cmd.Flags().StringVar(&o.runtime, "runtime", "auto", "what runs containers: auto, docker, sandbox or virtual")
	cmd.Flags().StringVar(&o.region, "region", "us-east-1", "region it answers for")
	cmd.Flags().Float64Var(&o.speed, "speed", 1, "run every timer of the control plane this many times faster")
	cmd.Flags().BoolVar(&o.openRegistry, "open-registry", false, "let images be pushed and pulled without docker login")
	cmd.Flags().BoolVar(&o.foreground, "foreground", false, "stay in the foreground until Ctrl-C")
	cmd.Flags().BoolVar(&o.auth, "auth", false, "refuse requests that are not signed with a key of the local IAM; the first key is written to a file")
	cmd.Flags().BoolVar(&o.enforce, "enforce-iam", false, "hold every call against the IAM policies of the user or role whose key signs it")
	cmd.Flags().Float64Var(&o.vcpus, "fargate-vcpus", local.FargateVCPUs, "the account's quota of vCPUs of Fargate, on demand and Spot each")
	cmd.Flags().BoolVar(&o.throttle, "throttle", false, "refuse calls to ECS beyond its documented rates")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "log every request")
	return cmd
}

func (o *localUp) run(cmd *cobra.Command) error {
	if o.speed <= 0 {
		return badInput("--speed must be positive, not %v", o.speed)
	}
	if o.vcpus <= 0 {
		return badInput("--fargate-vcpus must be positive, not %v", o.vcpus)
	}
	dir, err := o.folder()
	if err != nil {
		return err
	}
	if o.foreground {
		return o.serve(cmd, dir)
	}
	if r, err := o.find(cmd.Context()); err == nil {
		fmt.Fprintf(cmd.OutOrStdout(), "The local AWS is running: %s (%s)\n", r.Endpoint, r.Runtime)
		return nil
	}
	return o.spawn(cmd, dir)
}

// spawn starts this program again in the background and waits until it answers.
func (o *localUp) spawn(cmd *cobra.Command, dir string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	logPath := filepath.Join(dir, "local.log")
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("opening its log: %w", err)
	}
	defer logFile.Close()
	args := []string{"local", "up", "--foreground", "--dir", dir, "--port", strconv.Itoa(o.port), "--runtime", o.runtime, "--region", o.region, "--speed", fmt.Sprint(o.speed), "--fargate-vcpus", fmt.Sprint(o.vcpus)}
	for flag, on := range map[string]bool{"--verbose": o.verbose, "--auth": o.auth, "--enforce-iam": o.enforce, "--throttle": o.throttle} {
		if on {
			args = append(args, flag)
		}
	}
	if o.openRegistry {
		args = append(args, "--open-registry")
	}
	child := exec.Command(self, args...)
	child.Stdout, child.Stderr = logFile, logFile
	child.SysProcAttr = detached()
	if err := child.Start(); err != nil {
		return fmt.Errorf("starting the local AWS: %w", err)
	}
	died := make(chan error, 1)
	go func() { died <- child.Wait() }()
	endpoint := fmt.Sprintf("http://127.0.0.1:%d", o.port)
	for deadline := time.After(30 * time.Second); ; {
		select {
		case <-died:
			tail, _ := os.ReadFile(logPath)
			return exitWith(max(child.ProcessState.ExitCode(), ExitFailed), fmt.Errorf("the local AWS did not start:\n%s", strings.TrimSpace(lastLines(string(tail), 5))))
		case <-deadline:
			return fmt.Errorf("the local AWS did not answer within 30 s; its log is %s", logPath)
		case <-cmd.Context().Done():
			return cmd.Context().Err()
		case <-time.After(50 * time.Millisecond):
		}
		if r, err := o.find(cmd.Context()); err == nil && r.PID == child.Process.Pid {
			fmt.Fprintf(cmd.OutOrStdout(), "The local AWS is up: %s (containers: %s)\n\n  eval \"$(slipway local env)\"\n  aws ecs list-clusters\n\nState: %s\nStop it with: slipway local down\n", endpoint, r.Runtime, dir)
			return child.Process.Release()
		}
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (o *localUp) serve(cmd *cobra.Command, dir string) error {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	aws, err := startLocal(cmd.Context(), local.Config{Dir: dir, Region: o.region, Runtime: o.runtime, Speed: o.speed, OpenRegistry: o.openRegistry, Auth: o.auth, EnforceIAM: o.enforce, Throttle: o.throttle, FargateVCPUs: o.vcpus, Log: log}, o.port)
	if err != nil {
		return err
	}
	data, err := json.Marshal(running{PID: os.Getpid(), Endpoint: aws.Endpoint(), Runtime: aws.RuntimeName(), Region: o.region, KeyFile: aws.aws.KeyFile()})
	if err == nil {
		err = os.WriteFile(runningFile(dir), data, 0o600)
	}
	if err != nil {
		return errors.Join(err, aws.Stop())
	}
	fmt.Fprintf(cmd.OutOrStdout(), "local AWS: %s (containers: %s); Ctrl-C ends it\n", aws.Endpoint(), aws.RuntimeName())
	select {
	case <-cmd.Context().Done():
	case <-aws.Done():
	}
	_ = os.Remove(runningFile(dir)) // a stale one is recognized: its process does not answer
	return aws.Stop()
}

func newLocalDown() *cobra.Command {
	var f localFlags
	var purge bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop the local AWS; its state stays",
		Args:  cobra.NoArgs,
		Example: `  slipway local down
  slipway local down --purge   # and forget everything`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := f.folder()
			if err != nil {
				return err
			}
			if r, err := f.find(cmd.Context()); err == nil {
				if err := stopProcess(cmd.Context(), r); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), "The local AWS is down.")
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), "No local AWS is running.")
			}
			if purge {
				if err := os.RemoveAll(dir); err != nil {
					return fmt.Errorf("removing its state: %w", err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Removed %s.\n", dir)
			}
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove its state as well")
	return cmd
}

func stopProcess(ctx context.Context, r running) error {
	p, err := os.FindProcess(r.PID)
	if err == nil {
		err = p.Signal(syscall.SIGTERM)
	}
	if err != nil {
		return fmt.Errorf("stopping process %d: %w", r.PID, err)
	}
	for range 600 {
		if p.Signal(syscall.Signal(0)) != nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("process %d has not ended after 60 s", r.PID)
}

func newLocalStatus() *cobra.Command {
	var f localFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show what the local AWS runs",
		Args:    cobra.NoArgs,
		Example: "  slipway local status\n  slipway local status --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.find(cmd.Context())
			if err != nil {
				return err
			}
			st, err := fetchStatus(cmd.Context(), r.Endpoint)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(st)
			}
			printStatus(cmd.OutOrStdout(), st)
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printStatus(w io.Writer, st local.Status) {
	fmt.Fprintf(w, "endpoint    %s\nregion      %s\ncontainers  %s\n", st.Endpoint, st.Region, st.Runtime)
	for _, c := range st.Clusters {
		fmt.Fprintf(w, "\ncluster %s: %d instances, %d tasks running\n", c.Name, c.Instances, c.RunningTasks)
		for _, s := range c.Services {
			fmt.Fprintf(w, "  %-24s %d/%d running\n", s.Name, s.Running, s.Desired)
		}
	}
	if len(st.Listeners) > 0 {
		fmt.Fprintln(w, "\nlisteners")
		for _, l := range st.Listeners {
			fmt.Fprintf(w, "  %-24s %s\n", l.LoadBalancer, l.URL)
		}
	}
	for op, n := range st.Missing {
		fmt.Fprintf(w, "\nnot supported, but asked for %d times: %s\n", n, op)
	}
}

func newLocalEnv() *cobra.Command {
	var f localFlags
	cmd := &cobra.Command{
		Use:     "env",
		Short:   "Print the environment that points AWS clients to the local AWS",
		Args:    cobra.NoArgs,
		Example: `  eval "$(slipway local env)"`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := f.find(cmd.Context())
			if err != nil {
				return err
			}
			env := localEnv(r.Endpoint, r.Region)
			if r.KeyFile != "" { // the key itself is in a file that only its owner reads
				env = append(env[:3:3], "AWS_SHARED_CREDENTIALS_FILE="+r.KeyFile, "AWS_EC2_METADATA_DISABLED=true")
				fmt.Fprintln(cmd.OutOrStdout(), "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE")
			}
			for _, kv := range env {
				fmt.Fprintf(cmd.OutOrStdout(), "export %s\n", kv)
			}
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

// localEnv is what AWS clients need to reach a local AWS. It accepts any credentials.
func localEnv(endpoint, region string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + endpoint,
		"AWS_REGION=" + region,
		"AWS_DEFAULT_REGION=" + region,
		"AWS_ACCESS_KEY_ID=local",
		"AWS_SECRET_ACCESS_KEY=local",
		"AWS_EC2_METADATA_DISABLED=true",
	}
}

// runningLocal is a local AWS served by this process.
type runningLocal struct {
	aws    *local.Local
	server *http.Server
	addr   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// startLocal serves a local AWS on 127.0.0.1:port (0: any free one) and runs its loops until Stop.
func startLocal(ctx context.Context, c local.Config, port int) (*runningLocal, error) {
	if port < 0 || port > 65535 {
		return nil, badInput("--port must be from 0 to 65535, not %d", port)
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, badInput("port %d of 127.0.0.1 is in use; stop what uses it, or choose another with --port", port)
		}
		return nil, fmt.Errorf("listening: %w", err)
	}
	c.Address = l.Addr().String()
	local.Roomy()
	aws, err := local.New(ctx, c)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	// The loops outlive ctx: Stop ends them in order.
	loops, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &runningLocal{aws: aws, addr: c.Address, cancel: cancel, done: make(chan struct{}),
		server: &http.Server{Handler: aws, ReadHeaderTimeout: 30 * time.Second}}
	go func() {
		defer close(r.done)
		served := make(chan error, 1)
		go func() { served <- r.server.Serve(l) }()
		r.err = aws.Run(loops)
		_ = r.server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			r.err = errors.Join(r.err, err)
		}
	}()
	return r, nil
}

func (r *runningLocal) Endpoint() string      { return "http://" + r.addr }
func (r *runningLocal) RuntimeName() string   { return r.aws.RuntimeName() }
func (r *runningLocal) Done() <-chan struct{} { return r.done }

// Stop ends tasks, loops and server in this order and closes the state.
func (r *runningLocal) Stop() error {
	r.cancel()
	<-r.done
	return r.err
}
