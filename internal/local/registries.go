package local

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/ecr"
	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// doors are where the registries of other accounts and regions are reached: each has an address of
// its own, with the port of the local AWS.
type doors struct {
	mu   sync.Mutex
	open []*http.Server
}

// openRegistries opens the image registries and serves them.
func (l *Local) openRegistries(files string) error {
	cfg := &l.cfg
	var err error
	l.registry, err = registry.OpenAll(registry.Config{DB: l.db, Dir: filepath.Join(files, "registry"), Clock: l.clock, Account: cfg.Account, Region: cfg.Region,
		Events: l.imageEvent, Tell: l.repositoryEvent, Destinations: ecr.Destinations, Secret: func(arn string) (string, error) { return l.secrets.Value(arn, "", "", "") }})
	if err != nil {
		return err
	}
	ecr.Register(l.server.Service("ecr"), ecr.Deps{Registries: l.registry, Tokens: l.tokens, Host: func() string { return cfg.Address }, Principal: l.principal, ScanFindings: cfg.findings()})
	images := registry.NewServers(l.registry, l.tokens)
	images.RequireAuth = !cfg.OpenRegistry
	if cfg.EnforceIAM {
		images.Permit = func(ctx context.Context, c registry.Caller, action, resource string) error {
			return l.access.enforcer.Registry(ctx, wire.Identity{Account: c.Account, Region: cfg.Region, Partition: "aws", AccessKey: c.Key, SourceIP: c.SourceIP}, action, resource)
		}
	}
	l.server.Fallback("/v2/", images)
	return nil
}

// openDoor serves a registry at its address. Where loopback has no such addresses, its images are
// reached by the API only.
func (l *Local) openDoor(s *registry.Store) {
	address := s.Host(l.cfg.Address)
	ln, err := net.Listen("tcp", address)
	if err != nil {
		l.cfg.Log.Warn("images of another region or account cannot be pulled", "region", s.Region(), "account", s.Account(), "address", address, "reason", err)
		return
	}
	srv := &http.Server{Handler: l, ReadHeaderTimeout: 10 * time.Second}
	l.doors.mu.Lock()
	l.doors.open = append(l.doors.open, srv)
	l.doors.mu.Unlock()
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			l.cfg.Log.Error("serving a registry", "address", address, "error", err)
		}
	}()
}

func (d *doors) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, s := range d.open {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// principal is the ARN of the user or role's session that has an access key; empty: nobody's.
func (l *Local) principal(key string) string {
	if c, ok, err := l.access.iam.ByKey(key); ok && err == nil {
		return c.ARN
	}
	if s, ok := l.access.sts.Session(key); ok {
		return s.ARN
	}
	return ""
}

// repositoryEvent tells EventBridge of a replication, a scan or a pull-through update.
func (l *Local) repositoryEvent(kind string, resources []string, detail any) {
	if l.around.bus != nil {
		l.around.bus.Emit("aws.ecr", kind, resources, detail)
	}
}
