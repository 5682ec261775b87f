package clusterinfra

// Clusters is the engine behind slipway_cluster.
type Clusters struct {
	ports ClusterPorts
	clock Clock
}

// NewClusters returns the engine over its ports.
func NewClusters(ports ClusterPorts, clock Clock) *Clusters { return &Clusters{ports, clock} }

// Repositories is the engine behind slipway_repository.
type Repositories struct{ images Images }

// NewRepositories returns the engine over its port.
func NewRepositories(images Images) *Repositories { return &Repositories{images} }
