package secretsource

import (
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/secretsource/vaulttest"
)

// TestRealVault reads from a real Vault server what is there, what has changed, and what cannot be read.
func TestRealVault(t *testing.T) {
	v := vaulttest.Start(t)
	v.Put("shop/db", map[string]any{"password": "s3cr3t-1", "port": 5432})
	v.Do("POST", "sys/mounts/team/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}, nil)
	v.Do("POST", "team/kv/data/shop", map[string]any{"data": map[string]string{"password": "of a team"}}, nil)
	v.Do("POST", "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}}, nil)
	v.Do("POST", "old/shop", map[string]string{"password": "s3cr3t-old"}, nil)
	t.Setenv("VAULT_ADDR", v.Address)
	t.Setenv("VAULT_MAX_RETRIES", "0")
	t.Setenv("VAULT_TOKEN", v.Token("secret/data/shop/"))

	is := func(path string, want Secret) {
		t.Helper()
		if got, err := Vault(t.Context(), path, "password"); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", path, got, err, want)
		}
	}
	fails := func(path, key, want string) {
		t.Helper()
		if _, err := Vault(t.Context(), path, key); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s#%s: %v; want %q", path, key, err, want)
		}
	}
	is("secret/shop/db", Secret{"s3cr3t-1", "1"})
	v.Put("shop/db", map[string]any{"password": "s3cr3t-2", "port": 5432})
	is("secret/shop/db", Secret{"s3cr3t-2", "2"})
	fails("secret/shop/db", "user", `no key "user"`)
	fails("secret/shop/db", "port", "is not text")
	fails("secret/shop/none", "password", "is not there")
	fails("secret/other", "password", `needs "read" on secret/data/other`)
	fails("team/kv//shop", "password", `needs "read" on team/kv/data/shop`)

	v.Do("DELETE", "secret/data/shop/db", nil, nil)
	fails("secret/shop/db", "password", "is deleted")
	v.Do("POST", "secret/undelete/shop/db", map[string]any{"versions": []int{2}}, nil)
	is("secret/shop/db", Secret{"s3cr3t-2", "2"})
	v.Do("PUT", "secret/destroy/shop/db", map[string]any{"versions": []int{2}}, nil)
	fails("secret/shop/db", "password", "was destroyed")

	t.Setenv("VAULT_TOKEN", v.Root)
	is("team/kv//shop", Secret{"of a team", "1"})
	fails("old/shop", "password", "vault:old/shop is not there")
	t.Setenv("VAULT_TOKEN", "hvs.wrong")
	fails("secret/shop/db", "password", "the token may not")
	t.Setenv("VAULT_TOKEN", v.Root)
	v.Do("PUT", "sys/seal", nil, nil)
	fails("secret/shop/db", "password", "sealed")
}
