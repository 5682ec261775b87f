package clusterinfra

import "context"

// Clusters is the engine behind slipway_cluster.
type Clusters struct {
	ports ClusterPorts
	clock Clock
}

// NewClusters returns the engine over its ports.
func NewClusters(ports ClusterPorts, clock Clock) *Clusters { return &Clusters{ports, clock} }

// Repositories is the engine behind slipway_repository.
type Repositories struct {
	images Images
	guard  LifecycleGuard
}

// NewRepositories returns the engine over its port.
func NewRepositories(images Images) *Repositories { return &Repositories{images: images} }

// Guarded asks the guard before a lifecycle policy changes.
func (r *Repositories) Guarded(g LifecycleGuard) *Repositories {
	guarded := *r
	guarded.guard = g
	return &guarded
}

// LifecycleGuard refuses a lifecycle policy that would take images somebody needs. The uri is the
// repository with its registry: host/name.
type LifecycleGuard interface {
	CheckLifecycle(ctx context.Context, repository, uri, policy string) error
}
