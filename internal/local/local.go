// Package local is the local AWS: the services an ECS team touches, on one address of this machine,
// with tasks that really run and balancers that carry real traffic.
//
// This file puts it together; each part knows only the state and what it is given here.
package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ecs/slipway/internal/local/api/aas"
	"github.com/slipway-ecs/slipway/internal/local/api/autoscaling"
	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/api/ec2"
	"github.com/slipway-ecs/slipway/internal/local/api/ecs"
	"github.com/slipway-ecs/slipway/internal/local/api/elbv2"
	"github.com/slipway-ecs/slipway/internal/local/api/iam"
	"github.com/slipway-ecs/slipway/internal/local/api/logs"
	"github.com/slipway-ecs/slipway/internal/local/api/secretsmanager"
	"github.com/slipway-ecs/slipway/internal/local/api/servicequotas"
	"github.com/slipway-ecs/slipway/internal/local/api/ssm"
	"github.com/slipway-ecs/slipway/internal/local/api/sts"
	"github.com/slipway-ecs/slipway/internal/local/chaos"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/execsession"
	"github.com/slipway-ecs/slipway/internal/local/lambda"
	"github.com/slipway-ecs/slipway/internal/local/loop"
	"github.com/slipway-ecs/slipway/internal/local/managedinstances"
	"github.com/slipway-ecs/slipway/internal/local/managedscaling"
	"github.com/slipway-ecs/slipway/internal/local/metrics"
	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/runtime/choose"
	"github.com/slipway-ecs/slipway/internal/local/runtime/virtual"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/stsapi"
)

// Config says what the local AWS is to be. Only Address is required.
type Config struct {
	Dir     string // state and images; "": in memory, with a temporary folder for images
	Address string // host:port its clients reach it at
	Region  string // us-east-1 if empty
	Account string // 000000000000 if empty
	Runtime string // auto (if empty), docker, sandbox, virtual
	Speed   float64
	// Containers is how virtual containers behave, for tests; nil: Runtime runs them.
	Containers *virtual.Behavior

	Auth       bool // requests must be signed with keys of the local IAM, or the first one (KeyFile)
	EnforceIAM bool // calls are held against the policies of the users and roles whose keys sign them
	Throttle   bool // ECS's documented request rates
	// FargateVCPUs is the account's quota at first, of on demand and of Spot each; 0: 4000.
	FargateVCPUs float64
	Log          *slog.Logger
	// OpenRegistry lets clients push and pull images without logging in. ECR asks every client.
	OpenRegistry bool
	// ScanFindings is a JSON file of what scans of images find; empty: scan-findings.json in Dir.
	ScanFindings string
	// Lambda is an endpoint that speaks Lambda's Invoke, for the functions of deployments' lifecycle
	// hooks; if empty, AWS_ENDPOINT_URL_LAMBDA of the environment.
	Lambda string
}

// FargateVCPUs is the account's quota where none is set.
const FargateVCPUs = servicequotas.FargateVCPUs

func (c Config) findings() string {
	if c.ScanFindings == "" && c.Dir != "" {
		return filepath.Join(c.Dir, "scan-findings.json")
	}
	return c.ScanFindings
}

// Local is a local AWS: an http.Handler, and loops that Run runs.
type Local struct {
	cfg     Config
	server  *wire.Server
	faults  wire.Faults
	world   *chaos.World // what is broken on purpose beyond requests
	access  access
	db      *state.DB
	ecs     *state.ECS
	clock   clock.Clock
	tokens  *registry.Tokens // of those who log in to the registry
	runtime runtime.Runtime
	tmp     string // removed at the end; "" if Dir was given

	ec2         *ec2.Service
	autoscaling *autoscaling.Service
	elb         *elbv2.Service
	cloudwatch  *cloudwatch.Service
	aas         *aas.Service
	logs        *logs.Store
	ssm         *ssm.Service
	secrets     *secretsmanager.Service
	registry    *registry.Registries
	doors       doors
	around      around
	services    *loop.Services
	tasks       *loop.Tasks
	metrics     *metrics.Metrics
	managed     *managedscaling.Manager
	daemons     *loop.Daemons
	api         *ecs.API
	machines    *managedinstances.Manager
}

// New opens the state and the container runtime and registers every service. Run must follow.
func New(ctx context.Context, cfg Config) (*Local, error) {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Account == "" {
		cfg.Account = "000000000000"
	}
	if cfg.Runtime == "" {
		cfg.Runtime = "auto"
	}
	if cfg.Speed == 0 {
		cfg.Speed = 1
	}
	if cfg.Lambda == "" {
		cfg.Lambda = os.Getenv("AWS_ENDPOINT_URL_LAMBDA")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Local{cfg: cfg, clock: clock.NewFast(cfg.Speed)}
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(err, l.close(context.WithoutCancel(ctx)))
	}
	return l, nil
}

func (l *Local) open(ctx context.Context) error {
	cfg := &l.cfg
	files := cfg.Dir
	var err error
	if files == "" {
		if l.tmp, err = os.MkdirTemp("", "slipway-local-"); err != nil {
			return fmt.Errorf("making a temporary folder: %w", err)
		}
		files = l.tmp
	}
	if l.db, err = state.Open(cfg.Dir); err != nil {
		return err
	}
	if l.ecs, err = state.NewECS(l.db); err != nil {
		return fmt.Errorf("opening the state: %w", err)
	}
	if l.tokens, err = registry.OpenTokens(filepath.Join(files, "registry", "tokens.key"), clock.Wall{}.Now); err != nil { // clients wait in real time
		return err
	}
	// The sandbox's files must be reachable by the users of containers: the folder of the state is
	// private, this one is not.
	if cfg.Containers != nil {
		l.runtime = virtual.New(*cfg.Containers)
	} else if l.runtime, err = choose.Open(ctx, cfg.Runtime, runtime.Options{Dir: filepath.Join(files, "runtime"), Owner: owner(files), Log: cfg.Log, Credentials: l.login}); err != nil {
		return err
	}
	options, err := l.serverOptions(files)
	if err != nil {
		return err
	}
	l.server = wire.NewServer(options...)
	if err := l.register(files); err != nil {
		return fmt.Errorf("opening the state: %w", err)
	}
	return nil
}

func (l *Local) register(files string) error {
	cfg, svc := &l.cfg, l.server.Service
	var err error
	step := func(f func() error) {
		if err == nil {
			err = f()
		}
	}
	step(func() (err error) { l.ssm, err = ssm.Register(svc("ssm"), l.db, l.clock); return })
	step(func() (err error) {
		l.secrets, err = secretsmanager.Register(svc("secretsmanager"), l.db, l.clock)
		return
	})
	step(func() (err error) { l.logs, err = logs.Register(svc("logs"), l.db, l.clock, cfg.Dir); return })
	step(func() error {
		q, err := servicequotas.Register(svc("service-quotas"), servicequotas.Config{DB: l.db, Clock: l.clock, FargateVCPUs: cfg.FargateVCPUs})
		if err == nil {
			l.ecs.FargateLimit = q.FargateLimit
		}
		return err
	})
	step(func() (err error) { l.access.sts, err = sts.Register(svc("sts"), l.db, l.clock); return })
	step(func() (err error) { l.access.iam, err = iam.Register(svc("iam"), l.db, l.clock); return })
	step(func() (err error) {
		l.ec2, err = ec2.Register(svc("ec2"), ec2.Config{DB: l.db, ECS: l.ecs, Clock: l.clock, Log: cfg.Log, Region: cfg.Region, Account: cfg.Account})
		return
	})
	step(func() (err error) {
		l.world, err = chaos.New(chaos.Config{State: l.ecs, EC2: l.ec2, Clock: l.clock, Faults: &l.faults, Log: cfg.Log, Region: cfg.Region, Account: cfg.Account,
			Emit: func(source, kind string, resources []string, detail any) {
				l.around.bus.Emit(source, kind, resources, detail)
			}})
		return
	})
	step(func() (err error) {
		l.elb, err = elbv2.Register(svc("elbv2"), elbv2.Config{DB: l.db, ECS: l.ecs, Network: l.ec2, Clock: l.clock, Log: cfg.Log, Address: cfg.Address})
		return
	})
	step(func() (err error) {
		l.cloudwatch, err = cloudwatch.Register(svc("cloudwatch"), cloudwatch.Config{DB: l.db, Clock: l.clock, Log: cfg.Log, Region: cfg.Region, Account: cfg.Account})
		return
	})
	step(func() (err error) {
		l.autoscaling, err = autoscaling.Register(svc("autoscaling"), autoscaling.Config{DB: l.db, EC2: l.ec2, CloudWatch: l.cloudwatch, Targets: l.elb, Clock: l.clock, Log: cfg.Log, Region: cfg.Region, Account: cfg.Account})
		return
	})
	step(func() (err error) {
		l.aas, err = aas.Register(svc("application-autoscaling"), aas.Config{DB: l.db, ECS: l.ecs, CloudWatch: l.cloudwatch, Clock: l.clock, Log: cfg.Log, Region: cfg.Region, Account: cfg.Account})
		return
	})
	sessions := &execsession.Sessions{Container: func(task, name string) (runtime.Container, bool) { return l.tasks.Container(task, name) }, Address: cfg.Address, Log: cfg.Log}
	step(func() error {
		api, err := ecs.Register(svc("ecs"), ecs.Deps{State: l.ecs, Clock: l.clock, Address: cfg.Address, Sessions: sessions, Balancers: svc("elbv2"), Network: svc("ec2"), Scaling: svc("application-autoscaling"), TargetGroups: l.elb, Subnets: l.ec2})
		l.api = api
		return err
	})
	step(func() error { return l.openRegistries(files) })
	if err != nil {
		return err
	}
	if err := l.registerAround(files); err != nil {
		return err
	}
	l.guard()
	l.server.Use(l.faults.Middleware)
	l.server.Fallback("/_slipway/faults", &l.faults)
	l.server.Fallback(execsession.Path, sessions)
	l.server.Fallback("/_slipway/status", http.HandlerFunc(l.serveStatus))
	l.services = loop.NewServices(loop.ServicesConfig{State: l.ecs, Clock: l.clock, Subnets: l.ec2, Traffic: l.elb, Alarms: l.cloudwatch, Hooks: &lambda.Client{Endpoint: cfg.Lambda}, Log: cfg.Log})
	l.tasks = loop.NewTasks(loop.TasksConfig{State: l.ecs, Clock: l.clock, Runtime: l.runtime, Subnets: l.ec2, Secrets: secrets{l}, Logs: logSink{l}, Object: l.object, Names: l.around.mesh.Names, Agent: &loop.Agent{AWS: l.server, Address: cfg.Address, Credentials: l.assume},
		Env: []string{"AWS_REGION=" + cfg.Region, "AWS_DEFAULT_REGION=" + cfg.Region}, VolumeDir: filepath.Join(files, "volumes"), Trouble: l.world, Rights: l.rights(), Log: cfg.Log})
	l.metrics = metrics.New(metrics.Config{State: l.ecs, Clock: l.clock, CloudWatch: l.cloudwatch, Container: l.tasks.Container, Traffic: l.elb.Metrics, Groups: l.elb.Groups})
	l.daemons = loop.NewDaemons(loop.DaemonsConfig{State: l.ecs, Clock: l.clock, Alarms: l.cloudwatch, Log: cfg.Log})
	if l.machines, err = managedinstances.New(managedinstances.Config{State: l.ecs, EC2: l.ec2, Clock: l.clock, Log: cfg.Log}); err != nil {
		return err
	}
	l.managed = managedscaling.New(managedscaling.Config{State: l.ecs, Groups: l.autoscaling, CloudWatch: l.cloudwatch, Clock: l.clock})
	return nil
}

// ServeHTTP answers AWS's clients, docker and the local status.
func (l *Local) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if l.cfg.Speed != 1 { // so that a client can tell what time it is here
		w.Header().Set("Date", l.clock.Now().UTC().Format(http.TimeFormat))
	}
	l.server.ServeHTTP(w, r)
}

// login is how tasks' images are pulled from the registry of this local AWS: as the agent of a container
// instance does, with a token of its own account.
func (l *Local) login(host string) (user, password string) {
	if host != l.registry.At(host).Host(l.cfg.Address) {
		return "", ""
	}
	password, _ = l.tokens.Issue(l.cfg.Account)
	return "AWS", password
}

// RuntimeName is what runs the containers: docker, sandbox or virtual.
func (l *Local) RuntimeName() string { return l.runtime.Name() }

// Run runs the loops until ctx ends or one of them fails, then stops the containers and closes the
// state. It is called once.
func (l *Local) Run(ctx context.Context) error {
	l.registry.Opened(l.openDoor)
	g, loops := errgroup.WithContext(ctx)
	for _, run := range append(l.around.runs, l.ec2.Run, l.autoscaling.Run, l.elb.Run, l.services.Run, l.tasks.Run, l.cloudwatch.Run, l.aas.Run, l.registry.Run, l.metrics.Run, l.managed.Run, l.daemons.Run, l.machines.Run, l.api.Run, l.world.Run) {
		g.Go(func() error {
			err := run(loops)
			if errors.Is(err, context.Canceled) {
				err = nil // that is how they end
			}
			return err
		})
	}
	err := g.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(err, l.close(end))
}

func (l *Local) close(ctx context.Context) error {
	errs := []error{l.doors.close()}
	if l.elb != nil {
		errs = append(errs, l.elb.Close(ctx))
	}
	if l.runtime != nil {
		errs = append(errs, l.runtime.Close(ctx))
	}
	if l.logs != nil {
		errs = append(errs, l.logs.Close())
	}
	if l.around.dns != nil {
		errs = append(errs, l.around.dns.Close())
	}
	if l.db != nil {
		errs = append(errs, l.db.Close())
	}
	if l.tmp != "" {
		errs = append(errs, os.RemoveAll(l.tmp))
	}
	return errors.Join(errs...)
}

// owner names this local AWS by its folder, so that what a killed one left can be told from what
// another one uses.
func owner(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.Trim(abs, "/"))
}

// secrets resolves valueFrom of task definitions
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html).
type secrets struct{ l *Local }

func (s secrets) Secret(_ context.Context, valueFrom string) (string, error) {
	if !strings.Contains(valueFrom, ":secretsmanager:") {
		return s.l.ssm.Value(valueFrom)
	}
	// arn:aws:secretsmanager:region:account:secret:name[:json-key[:stage[:version]]]
	parts := strings.Split(valueFrom, ":")
	if len(parts) < 7 {
		return "", fmt.Errorf("%s is not the ARN of a secret", valueFrom)
	}
	parts = append(parts, "", "", "")
	return s.l.secrets.Value(strings.Join(parts[:7], ":"), parts[7], parts[8], parts[9])
}

type logSink struct{ l *Local }

// assume gives a task keys of its role.
func (l *Local) assume(ctx context.Context, role, session string) (key, secret, token string, expires time.Time, err error) {
	out, err := wire.Do[stsapi.AssumeRoleInput, stsapi.AssumeRoleOutput](ctx, l.server.Service("sts"), "AssumeRole", &stsapi.AssumeRoleInput{RoleArn: &role, RoleSessionName: &session})
	if err != nil {
		return "", "", "", time.Time{}, fmt.Errorf("assuming %s: %w", role, err)
	}
	c := wire.Value(out.Credentials)
	return wire.Value(c.AccessKeyId), wire.Value(c.SecretAccessKey), wire.Value(c.SessionToken), wire.TimeOf(c.Expiration), nil
}

// largestEnvironment is the largest environment file, bytes: more does not fit into a process.
const largestEnvironment = 1 << 20

// object is what is in S3, for environment files.
func (l *Local) object(bucket, key string) ([]byte, error) {
	return l.around.s3.Read(bucket, key, largestEnvironment)
}

func (s logSink) Writer(group, stream string, create bool) (io.WriteCloser, error) {
	return s.l.logs.Writer(s.l.cfg.Region, s.l.cfg.Account, group, stream, create)
}

// Status is what a local AWS tells of itself.
type Status struct {
	Endpoint  string          `json:"endpoint"`
	Region    string          `json:"region"`
	Runtime   string          `json:"runtime"`
	DNS       string          `json:"dns"` // host:port that answers Cloud Map's private names
	Clusters  []ClusterStatus `json:"clusters"`
	Listeners []ListenAddress `json:"listeners"`
	Missing   map[string]int  `json:"missing,omitempty"` // operations asked for that are not there
}

// ClusterStatus is a cluster at a glance.
type ClusterStatus struct {
	Name         string          `json:"name"`
	Instances    int             `json:"instances"`
	RunningTasks int             `json:"runningTasks"`
	Services     []ServiceStatus `json:"services"`
}

// ServiceStatus is a service at a glance.
type ServiceStatus struct {
	Name    string `json:"name"`
	Running int    `json:"running"`
	Desired int    `json:"desired"`
}

// ListenAddress is where a listener is reached.
type ListenAddress struct {
	LoadBalancer string `json:"loadBalancer"`
	URL          string `json:"url"`
}

// Status tells what runs now.
func (l *Local) Status() Status {
	st := Status{Endpoint: "http://" + l.cfg.Address, Region: l.cfg.Region, Runtime: l.runtime.Name(), DNS: l.DNS(), Clusters: []ClusterStatus{}, Listeners: []ListenAddress{}, Missing: l.server.Missing()}
	_ = l.db.View(func(tx *state.Tx) error {
		for name, c := range l.ecs.Clusters.All(tx) {
			if c.Status != "ACTIVE" {
				continue
			}
			cs := ClusterStatus{Name: name, Services: []ServiceStatus{}}
			for _, ci := range l.ecs.InstancesByCluster.Get(tx, name) {
				if ci.Status == "ACTIVE" || ci.Status == "DRAINING" {
					cs.Instances++
				}
			}
			running := map[string]int{}
			for _, t := range l.ecs.TasksByCluster.Get(tx, name) {
				if t.LastStatus == "RUNNING" {
					cs.RunningTasks++
					running[t.ServiceKey]++
				}
			}
			for key, s := range l.ecs.Services.Prefix(tx, name+"/") {
				if s.Status == "ACTIVE" {
					cs.Services = append(cs.Services, ServiceStatus{Name: s.Name, Running: running[key], Desired: s.DesiredCount})
				}
			}
			st.Clusters = append(st.Clusters, cs)
		}
		return nil
	})
	for _, a := range l.elb.Addresses() {
		st.Listeners = append(st.Listeners, ListenAddress{a.LoadBalancer, a.URL})
	}
	return st
}

func (l *Local) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(l.Status()) // the client may have gone
}
