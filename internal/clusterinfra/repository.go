package clusterinfra

import "github.com/slipway-ecs/slipway/internal/image/lifecycle"

// Repository is what an image repository should be, or is.
type Repository struct {
	Name       string
	Immutable  bool     // tags cannot be moved, but those matched by Mutable
	Mutable    []string // tag patterns (* only) that stay movable with Immutable, at most 5
	ScanOnPush bool
	Encryption string // AES256 or KMS; empty = AES256; fixed at creation
	KMSKey     string

	// Lifecycle is the policy's text; empty: none, unless KeepReleases makes one.
	Lifecycle    string
	KeepReleases *KeepReleases
	// PullAccounts and PullRoles may pull: account ids (12 digits) and role ARNs.
	PullAccounts []string
	PullRoles    []string
	PushRoles    []string // role ARNs that may push
	// ReplicateTo is where ECR copies the images to; nil: by no rule of the repository's own. What Read returns
	// has none: Replicas reads it.
	ReplicateTo []Replica
	Tags        map[string]string

	// Read only.
	ARN    string
	URI    string // registry host/name
	Images int    // number of images when read
}

// KeepReleases is a lifecycle policy that keeps what people need: the newest images deployed to production (prod_…),
// the newest versions (v…), and latest. The rest goes when it is old.
type KeepReleases struct {
	Newest int // so many deployed to production, and so many versions; at least 1
	Days   int // after which the rest goes; at least 1
}

// Text is the policy as ECR takes it.
func (k KeepReleases) Text() string { return lifecycle.KeepReleases(k.Newest, k.Days).Text() }
