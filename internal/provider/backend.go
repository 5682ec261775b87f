package provider

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/release"
)

// Backend is what the resources are fronts of.
type Backend struct {
	Services     Services
	Clusters     Clusters
	Repositories Repositories
	World        World
}

// Open reaches an account and region.
type Open func(context.Context, awscloud.Options) (*Backend, error)

// Services are deployed services: *deploy.Engine.
type Services interface {
	Apply(ctx context.Context, t deploy.Target, report func(deploy.Event)) (deploy.Outcome, error)
	Read(ctx context.Context, ref deploy.Ref) (deploy.Observed, error)
	Job(ctx context.Context, ref deploy.Ref) (deploy.Job, error)
	Delete(ctx context.Context, ref deploy.Ref, o deploy.DeleteOptions, report func(deploy.Event)) error
}

// Clusters are clusters with what belongs to them: *clusterinfra.Clusters.
type Clusters interface {
	Apply(ctx context.Context, want clusterinfra.Spec, report func(clusterinfra.Event)) (clusterinfra.State, error)
	Read(ctx context.Context, name string) (clusterinfra.State, error)
	Delete(ctx context.Context, name string, report func(clusterinfra.Event)) error
}

// Repositories are image repositories: *clusterinfra.Repositories.
type Repositories interface {
	Replicate(ctx context.Context, name string, to []clusterinfra.Replica) error
	Replicas(ctx context.Context, name string) ([]clusterinfra.Replica, error)
	Apply(ctx context.Context, want clusterinfra.Repository) (clusterinfra.Repository, error)
	Read(ctx context.Context, name string) (clusterinfra.Repository, error)
	Delete(ctx context.Context, name string, force bool) error
}

// World is what is looked up: *awscloud.Cloud.
type World interface {
	Region() string
	Identity(ctx context.Context) (awscloud.Identity, error)
	Environment(ctx context.Context, cluster string) (awscloud.Environment, error)
	// Digest is what a tag of a repository points at; clusterinfra.ErrNotFound if there is none.
	Digest(ctx context.Context, repository, tag string) (string, error)
}

func open(ctx context.Context, o awscloud.Options) (*Backend, error) {
	c, err := awscloud.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	client := registry.Client{Credentials: c.RegistryCredentials}
	guard := release.Guard{Stock: c, Ledger: release.Ledger{Referrers: client, Catalog: client}, Now: time.Now}
	return &Backend{Services: c.Deploy(), Clusters: c.Clusters(), Repositories: c.Repositories().Guarded(guard), World: c}, nil
}

// configured takes over the backend; before the provider is configured there is none.
func configured(data any, into **Backend, diags *diag.Diagnostics) {
	if data == nil {
		return
	}
	b, ok := data.(*Backend)
	if !ok {
		diags.AddError("The provider is not configured", "This is a fault of the provider: please report it.")
		return
	}
	*into = b
}

// EventsVariable names a file to which progress is appended, one JSON object a line. Terraform has
// no way to show what a provider is doing; the command line that started Terraform reads it there.
const EventsVariable = "SLIPWAY_EVENTS_FILE"

var eventsLock sync.Mutex

// progress passes an engine's events on.
func progress[E any](ctx context.Context, message func(E) string) func(E) {
	path := os.Getenv(EventsVariable)
	return func(e E) {
		tflog.Info(ctx, message(e))
		if path == "" {
			return
		}
		line, err := json.Marshal(e)
		if err != nil {
			return
		}
		eventsLock.Lock()
		defer eventsLock.Unlock()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			tflog.Warn(ctx, "progress cannot be written", map[string]any{"error": err.Error()})
			return
		}
		_, _ = f.Write(append(line, '\n'))
		_ = f.Close()
	}
}
