// Package secretsource reads secrets from where ECS cannot: HashiCorp Vault, and programs for
// anything else. What it returns is copied to Secrets Manager at deploy time; it never passes
// through Terraform, a log or an argument.
package secretsource

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/api"
)

// Secret is a value and the version its source gives it: the same version means the same value.
type Secret struct{ Value, Version string }

// Vault reads one key of a KV version 2 secret. The first part of the path is the mount:
// secret/shop/db is the secret shop/db of the mount secret; a mount of several parts ends with
// two slashes: team/kv//shop/db. Address and login are those of Vault's own command line: VAULT_ADDR,
// VAULT_TOKEN, VAULT_NAMESPACE, VAULT_CACERT.
// https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#read-secret-version
func Vault(ctx context.Context, secret, key string) (Secret, error) {
	mount, rest, ok := strings.Cut(secret, "//")
	if !ok {
		mount, rest, ok = strings.Cut(secret, "/")
	}
	if !ok || mount == "" || rest == "" || path.Clean("/"+rest) != "/"+strings.TrimSuffix(rest, "/") {
		return Secret{}, fmt.Errorf("vault:%s is not MOUNT/PATH", secret)
	}
	cfg := api.DefaultConfig()
	if cfg.Error != nil {
		return Secret{}, fmt.Errorf("reading Vault's settings from the environment: %w", cfg.Error)
	}
	client, err := api.NewClient(cfg)
	if err != nil {
		return Secret{}, fmt.Errorf("reading Vault's settings from the environment: %w", err)
	}
	if client.Token() == "" {
		return Secret{}, fmt.Errorf("vault:%s: no token for %s; log in and set VAULT_TOKEN", secret, client.Address())
	}
	got, err := client.KVv2(mount).Get(ctx, strings.TrimSuffix(rest, "/"))
	var answer *api.ResponseError
	switch {
	case errors.Is(err, api.ErrSecretNotFound):
		return Secret{}, fmt.Errorf("vault:%s is not there, or deleted (%s)", secret, client.Address())
	case errors.As(err, &answer) && answer.StatusCode == 403:
		return Secret{}, fmt.Errorf("vault:%s: the token may not read it; it needs \"read\" on %s/data/%s", secret, mount, rest)
	case err != nil:
		return Secret{}, fmt.Errorf("reading vault:%s: %w", secret, err)
	}
	if m := got.VersionMetadata; got.Data == nil && m != nil {
		if m.Destroyed {
			return Secret{}, fmt.Errorf("vault:%s is not there: version %d, its newest, was destroyed; write it again", secret, m.Version)
		}
		return Secret{}, fmt.Errorf("vault:%s is not there: version %d, its newest, is deleted; undelete it, or write it again", secret, m.Version)
	}
	value, ok := got.Data[key]
	if !ok {
		return Secret{}, fmt.Errorf("vault:%s has no key %q", secret, key)
	}
	text, ok := value.(string)
	if !ok {
		return Secret{}, fmt.Errorf("vault:%s#%s is not text", secret, key)
	}
	return Secret{Value: text, Version: strconv.Itoa(got.VersionMetadata.Version)}, nil
}
