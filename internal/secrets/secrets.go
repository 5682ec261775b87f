// Package secrets makes every secret of a service one that ECS can read, and its version part of the
// definition, so that a changed secret is a change. What lies elsewhere than in AWS is copied to Secrets
// Manager under a version that follows from the source's.
package secrets

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Versions tells the version of a parameter or secret of AWS without reading its value; empty where
// there is none to tell.
type Versions interface {
	SecretVersion(ctx context.Context, from string) (string, error)
}

// Source reads a secret from another store, named by what follows the colon in slipway.yaml. The same
// version means the same value.
type Source func(ctx context.Context, name string) (value, version string, err error)

// Copy is a secret of another store, to be kept in Secrets Manager before the service is deployed.
type Copy struct {
	Name    string
	Version string // id of the version: a UUID that follows from the source and its version
	Value   string
	Tags    map[string]string
}

// TagSource is on every copy, and says from which store it is.
const TagSource = "slipway:source"

// CopyPrefix is what the names of a service's copies begin with. owner is the name of the ECS service.
func CopyPrefix(cluster, owner string) string { return "slipway/" + cluster + "/" + owner + "/" }

// Resolve returns the spec with secrets that ECS can read and their versions, and the copies it needs.
// Nothing is written; the values go nowhere but into the copies. owner is the name
// of the ECS service; sources are by the word before the colon.
func Resolve(ctx context.Context, spec service.Spec, owner string, versions Versions, sources map[string]Source) (service.Spec, []Copy, error) {
	r := resolver{spec: spec, owner: owner, aws: versions, sources: sources, known: map[string]string{}, read: map[string]Copy{}}
	spec.Containers = slices.Clone(spec.Containers)
	for i := range spec.Containers {
		c := &spec.Containers[i]
		if len(c.Secrets) == 0 {
			continue
		}
		from, seen, err := r.all(ctx, c.Name, "of container "+c.Name, c.Secrets)
		if err != nil {
			return spec, nil, err
		}
		c.Secrets, c.SecretVersions = from, seen
	}
	if len(spec.Logs.Secrets) > 0 {
		from, _, err := r.all(ctx, "logs", "of the logs", spec.Logs.Secrets)
		if err != nil {
			return spec, nil, err
		}
		spec.Logs.Secrets = from
	}
	return spec, r.copies, nil
}

type resolver struct {
	spec    service.Spec
	owner   string
	aws     Versions
	sources map[string]Source
	copies  []Copy
	known   map[string]string // versions by source: asked once
	read    map[string]Copy   // by source; value and version there
}

func (r *resolver) all(ctx context.Context, prefix, whose string, secrets map[string]string) (from, versions map[string]string, err error) {
	from, versions = map[string]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		at, version, err := r.one(ctx, prefix+"."+name, secrets[name])
		if err != nil {
			return nil, nil, fmt.Errorf("secret %s %s: %w", name, whose, err)
		}
		from[name] = at
		if version != "" {
			versions[name] = version
		}
	}
	return from, versions, nil
}

// one returns where ECS reads the secret, and its version.
func (r *resolver) one(ctx context.Context, name, from string) (valueFrom, version string, err error) {
	store, rest, _ := strings.Cut(from, ":")
	source := r.sources[store]
	if source == nil {
		if v, ok := r.known[from]; ok {
			return from, v, nil
		}
		version, err = r.aws.SecretVersion(ctx, from)
		r.known[from] = version
		return from, version, err
	}
	got, ok := r.read[from]
	if !ok {
		if got.Value, got.Version, err = source(ctx, rest); err != nil {
			return "", "", err
		}
		r.read[from] = got
	}
	c := Copy{Name: CopyPrefix(r.spec.Cluster, r.owner) + name, Version: versionID(from, got.Version), Value: got.Value,
		Tags: map[string]string{"service": r.spec.Name, "environment": r.spec.Environment, TagSource: store}}
	r.copies = append(r.copies, c)
	// Name, JSON key, stage, version: the copy of this very version.
	return "secretsmanager:" + c.Name + ":::" + c.Version, store + " " + got.Version, nil
}

// versionID is a UUID that follows from where a secret is and which version it has there, never
// from its value.
func versionID(from, version string) string {
	sum := sha256.Sum256([]byte("slipway\x00" + from + "\x00" + version))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
