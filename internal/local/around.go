package local

import (
	"context"
	"net"
	"path/filepath"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/api/elbv2"
	"github.com/slipway-ecs/slipway/internal/local/api/events"
	"github.com/slipway-ecs/slipway/internal/local/api/s3"
	"github.com/slipway-ecs/slipway/internal/local/api/scheduler"
	"github.com/slipway-ecs/slipway/internal/local/api/servicediscovery"
	"github.com/slipway-ecs/slipway/internal/local/api/sns"
	"github.com/slipway-ecs/slipway/internal/local/api/sqs"
	"github.com/slipway-ecs/slipway/internal/local/connect"
	"github.com/slipway-ecs/slipway/internal/local/delivery"
	"github.com/slipway-ecs/slipway/internal/local/dns"
	"github.com/slipway-ecs/slipway/internal/local/emit"
	"github.com/slipway-ecs/slipway/internal/local/registry"
)

// around is the services around ECS: storage, queues, topics, events, schedules, names.
type around struct {
	s3   *s3.Service
	sqs  *sqs.Service
	sns  *sns.Service
	bus  *events.Service
	dns  *dns.Server
	mesh *connect.Mesh
	runs []func(context.Context) error // their loops
}

// registerAround adds the services around ECS; the others are there already.
func (l *Local) registerAround(files string) error {
	cfg, a := &l.cfg, &l.around
	svc := l.server.Service
	var err error
	if a.s3, err = s3.Register(svc("s3"), s3.Config{DB: l.db, Dir: filepath.Join(files, "s3"), Clock: l.clock, Log: cfg.Log, Region: cfg.Region}); err != nil {
		return err
	}
	l.elb.StoreIn(storage{a.s3})
	l.server.Fallback(elbv2.FilesPath, l.elb)
	if a.sqs, err = sqs.Register(svc("sqs"), sqs.Config{DB: l.db, Clock: l.clock, Metrics: l.cloudwatch, Log: cfg.Log, Address: cfg.Address, Region: cfg.Region, Account: cfg.Account}); err != nil {
		return err
	}
	if a.sns, err = sns.Register(svc("sns"), sns.Config{DB: l.db, Clock: l.clock, Queues: a.sqs, Log: cfg.Log, Address: cfg.Address, Region: cfg.Region, Account: cfg.Account}); err != nil {
		return err
	}
	deliverer, err := delivery.New(delivery.Config{DB: l.db, Clock: l.clock, Log: cfg.Log, Queues: a.sqs, Topics: a.sns, ECS: svc("ecs"), Logs: svc("logs")})
	if err != nil {
		return err
	}
	if a.bus, err = events.Register(svc("events"), events.Config{DB: l.db, Clock: l.clock, Log: cfg.Log, Deliverer: deliverer, Triggered: func(rule string) {
		l.cloudwatch.Put("AWS/Events", "TriggeredRules", "Count", []cloudwatch.Dimension{{Name: "RuleName", Value: rule}}, 1)
	}, Region: cfg.Region, Account: cfg.Account}); err != nil {
		return err
	}
	schedules, err := scheduler.Register(svc("scheduler"), scheduler.Config{DB: l.db, Clock: l.clock, Log: cfg.Log, Deliverer: deliverer, Region: cfg.Region, Account: cfg.Account})
	if err != nil {
		return err
	}
	emitter := emit.New(emit.Config{State: l.ecs, Clock: l.clock, Log: cfg.Log, Region: cfg.Region, Account: cfg.Account, Emit: a.bus.Emit, Listens: a.bus.Listens, Publish: a.sns.Publish,
		Queue: func(arn, body string) error { return a.sqs.Send(arn, body, "", "", nil) }, ECS: svc("ecs"), Alarms: svc("cloudwatch"), Groups: l.autoscaling})
	l.cloudwatch.OnAlarm(emitter.OnAlarm)
	l.tellOfComposites()
	l.autoscaling.NotifyThrough(a.sns.Publish)
	names, err := servicediscovery.Register(svc("servicediscovery"), servicediscovery.Config{DB: l.db, ECS: l.ecs, Clock: l.clock, Log: cfg.Log, Region: cfg.Region, Account: cfg.Account})
	if err != nil {
		return err
	}
	if a.dns, err = dns.Listen(dns.Address, l.world.Names(names), cfg.Log); err != nil {
		return err
	}
	l.serveTasks(a.dns)
	mesh := connect.Config{State: l.ecs, Namespace: names.NamespaceName, Log: cfg.Log}
	if rt, ok := l.runtime.(interface{ Gateway() string }); ok && l.runtime.Name() == "docker" {
		mesh.Host = rt.Gateway() // the sandbox's tasks reach all of the loopback network
	}
	a.mesh = connect.New(mesh)
	a.runs = append(a.runs, a.mesh.Run, a.sqs.Run, a.sns.Run, deliverer.Run, a.bus.Run, schedules.Run, emitter.Run, names.Run, a.dns.Run)
	return nil
}

// serveTasks lets tasks ask the DNS server, where the runtime gives them a way to this machine.
func (l *Local) serveTasks(server *dns.Server) {
	rt, ok := l.runtime.(interface {
		Gateway() string
		SetNameserver(address string)
	})
	if !ok || rt.Gateway() == "" {
		return
	}
	if err := server.Also(net.JoinHostPort(rt.Gateway(), "53")); err != nil {
		l.cfg.Log.Warn("tasks cannot resolve Cloud Map's names", "error", err)
		return
	}
	rt.SetNameserver(rt.Gateway())
}

// DNS is the host:port that answers the names of Cloud Map's private namespaces.
func (l *Local) DNS() string { return l.around.dns.Addr() }

// imageEvent tells EventBridge of an image that was pushed, deleted or moved.
func (l *Local) imageEvent(e registry.Event) {
	if l.around.bus != nil {
		l.around.bus.Emit("aws.ecr", "ECR Image Action", nil, e)
	}
}
