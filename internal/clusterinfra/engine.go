package clusterinfra

import (
	"context"
	"sync"
)

// Clusters is the engine behind slipway_cluster.
type Clusters struct {
	ports ClusterPorts
	clock Clock
}

// NewClusters returns the engine over its ports.
func NewClusters(ports ClusterPorts, clock Clock) *Clusters { return &Clusters{ports, clock} }

// Repositories is the engine behind slipway_repository.
type Repositories struct {
	images     Images
	registries Registries
	guard      LifecycleGuard
	mu         *sync.Mutex // held while the registry's rules are changed
}

// NewRepositories returns the engine over its ports.
func NewRepositories(images Images, registries Registries) *Repositories {
	return &Repositories{images: images, registries: registries, mu: new(sync.Mutex)}
}

// Guarded asks the guard before a lifecycle policy changes and before images are deleted with their
// repository.
func (r *Repositories) Guarded(g LifecycleGuard) *Repositories {
	guarded := *r
	guarded.guard = g
	return &guarded
}

// LifecycleGuard refuses a lifecycle policy, or the deletion of a repository, that would take images
// somebody needs. The uri is the repository with its registry: host/name.
type LifecycleGuard interface {
	CheckLifecycle(ctx context.Context, repository, uri, policy string) error
	CheckDeletion(ctx context.Context, repository, uri string) error
}
