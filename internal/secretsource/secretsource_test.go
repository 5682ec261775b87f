package secretsource

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The answers are those of Vault's documentation, as its server gives them over HTTP:
// https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#sample-response-2
func recorded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Header.Get("X-Vault-Token") != "good":
			w.WriteHeader(403)
			fmt.Fprint(w, `{"errors":["permission denied"]}`)
		case r.URL.Path == "/v1/secret/data/shop/db", r.URL.Path == "/v1/team/kv/data/shop":
			fmt.Fprint(w, `{"request_id":"1","data":{"data":{"password":"s3cr3t","port":5432},"metadata":{"created_time":"2026-03-22T02:24:06.945319214Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":7}}}`)
		default:
			w.WriteHeader(404)
			fmt.Fprint(w, `{"errors":[]}`)
		}
	}))
	t.Cleanup(srv.Close)
	t.Setenv("VAULT_ADDR", srv.URL)
	t.Setenv("VAULT_MAX_RETRIES", "0")
	t.Setenv("VAULT_TOKEN", "good")
}

func TestVault(t *testing.T) {
	recorded(t)
	for _, path := range []string{"secret/shop/db", "team/kv//shop"} {
		if s, err := Vault(t.Context(), path, "password"); err != nil || s != (Secret{"s3cr3t", "7"}) {
			t.Errorf("%s: %v, %v", path, s, err)
		}
	}
	for _, c := range []struct{ path, key, token, want string }{
		{"secret/shop/none", "password", "good", "is not there"},
		{"secret/shop/db", "user", "good", `no key "user"`},
		{"secret/shop/db", "port", "good", "is not text"},
		{"secret/shop/db", "password", "bad", `needs "read" on secret/data/shop/db`},
		{"secret/shop/db", "password", "", "set VAULT_TOKEN"},
		{"secret", "password", "good", "is not MOUNT/PATH"},
		{"secret/../x", "password", "good", "is not MOUNT/PATH"},
	} {
		t.Setenv("VAULT_TOKEN", c.token)
		if _, err := Vault(t.Context(), c.path, c.key); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	program := func(name, script string) {
		if err := os.WriteFile(filepath.Join(dir, "slipway-secret-"+name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program("good", `printf '{"value":"%s","version":"3"}' "$2"`)
	if s, err := Exec(t.Context(), "good", "read", "a b"); err != nil || s != (Secret{"a b", "3"}) {
		t.Errorf("%v, %v", s, err)
	}
	program("locked", "echo hint >&2; echo 'the vault is locked' >&2; exit 3")
	program("plain", "echo s3cr3t")
	program("loose", `echo '{"value":"s3cr3t"}'`)
	for name, want := range map[string]string{"locked": "the vault is locked", "plain": "its output is not", "loose": "it gave no version", "absent": "no program slipway-secret-absent"} {
		if _, err := Exec(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
