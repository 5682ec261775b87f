package cli

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/secretsource"
	"github.com/slipway-ecs/slipway/internal/service"
)

// resolveSecrets makes every secret of the spec one that ECS can read, and notes its version. What
// lies elsewhere is read now and returned as copies; nothing is written before an apply, and the
// values go nowhere but into Secrets Manager.
func (pr *project) resolveSecrets(ctx context.Context, spec *service.Spec) ([]awscloud.SecretCopy, error) {
	cloud, err := pr.cloudOf(spec.Environment)
	if err != nil {
		return nil, err
	}
	r := resolver{cloud: cloud, spec: spec, versions: map[string]string{}, read: map[string]secretsource.Secret{}}
	spec.Containers = slices.Clone(spec.Containers)
	for i := range spec.Containers {
		c := &spec.Containers[i]
		secrets, versions := map[string]string{}, map[string]string{}
		for _, variable := range slices.Sorted(maps.Keys(c.Secrets)) {
			at := "secret " + variable + " of container " + c.Name
			from, version, err := r.resolve(ctx, c.Name+"."+variable, c.Secrets[variable])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			secrets[variable] = from
			if version != "" {
				versions[variable] = version
			}
		}
		if len(secrets) > 0 {
			c.Secrets, c.SecretVersions = secrets, versions
		}
	}
	if len(spec.Logs.Secrets) > 0 {
		secrets := map[string]string{}
		for _, option := range slices.Sorted(maps.Keys(spec.Logs.Secrets)) {
			from, _, err := r.resolve(ctx, "logs."+option, spec.Logs.Secrets[option])
			if err != nil {
				return nil, fmt.Errorf("secret option %s of the logs: %w", option, err)
			}
			secrets[option] = from
		}
		spec.Logs.Secrets = secrets
	}
	return r.copies, nil
}

type resolver struct {
	cloud    *awscloud.Cloud
	spec     *service.Spec
	copies   []awscloud.SecretCopy
	versions map[string]string              // by source: asked once
	read     map[string]secretsource.Secret // by source
}

// resolve returns where ECS reads the secret, and its version.
func (r *resolver) resolve(ctx context.Context, name, from string) (valueFrom, version string, err error) {
	store, rest, _ := strings.Cut(from, ":")
	if store != "vault" && store != "exec" {
		if v, ok := r.versions[from]; ok {
			return from, v, nil
		}
		version, err = r.cloud.SecretVersion(ctx, from)
		r.versions[from] = version
		return from, version, err
	}
	secret, ok := r.read[from]
	if !ok {
		if store == "vault" {
			path, key, _ := strings.Cut(rest, "#")
			secret, err = secretsource.Vault(ctx, path, key)
		} else {
			words := strings.Fields(rest)
			secret, err = secretsource.Exec(ctx, words[0], words[1:]...)
		}
		if err != nil {
			return "", "", err
		}
		r.read[from] = secret
	}
	c := awscloud.SecretCopy{
		Name:    "slipway/" + r.spec.Cluster + "/" + deploy.ServiceName(*r.spec) + "/" + name,
		Version: versionID(from, secret.Version), Value: secret.Value,
		Tags: map[string]string{"service": r.spec.Name, "environment": r.spec.Environment, "slipway:source": store},
	}
	r.copies = append(r.copies, c)
	// Name, JSON key, stage, version: the copy of this very version.
	return "secretsmanager:" + c.Name + ":::" + c.Version, store + " " + secret.Version, nil
}

// versionID is a UUID that follows from where a secret is and which version it has there, never
// from its value.
func versionID(from, version string) string {
	sum := sha256.Sum256([]byte("slipway\x00" + from + "\x00" + version))
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// keepSecrets writes the copies that an apply needs.
func (pr *project) keepSecrets(ctx context.Context, env string, copies []awscloud.SecretCopy) error {
	if len(copies) == 0 {
		return nil
	}
	cloud, err := pr.cloudOf(env)
	if err != nil {
		return err
	}
	for _, c := range copies {
		if err := cloud.KeepSecret(ctx, c); err != nil {
			return err
		}
		pr.p.Line("secret %s: version %s", c.Name, c.Version)
	}
	return nil
}
