// Package vaulttest starts a real Vault server for tests: the program of test/vault.
package vaulttest

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Server is a Vault of its own, unsealed, with the key-value engine (version 2) at secret/.
type Server struct {
	Address string `json:"address"`
	Root    string `json:"root_token"`
	Key     string `json:"unseal_key"`
	t       *testing.T
}

// Start starts the program that SLIPWAY_VAULT names, which ends with the test. Without it the test is skipped.
func Start(t *testing.T) *Server {
	t.Helper()
	program := os.Getenv("SLIPWAY_VAULT")
	if program == "" {
		t.Skip("needs a Vault server: make vault, then SLIPWAY_VAULT=$PWD/bin/vault")
	}
	cmd := exec.Command(program)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it was told to end
	})
	s := &Server{t: t}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, s)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("Vault did not start: %v\n%s", err, errs.String())
	}
	return s
}

// Do makes a request with the root token, which must succeed, and decodes its answer into answer, unless that is nil.
// Paths are those of Vault's HTTP API, without /v1/.
func (s *Server) Do(method, path string, body, answer any) {
	s.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.Address+"/v1/"+path, strings.NewReader(string(data)))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", s.Root)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		s.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
	if answer != nil {
		if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
			s.t.Fatal(err)
		}
	}
}

// Put stores a secret: a new version of it.
func (s *Server) Put(path string, values map[string]any) {
	s.t.Helper()
	s.Do("POST", "secret/data/"+path, map[string]any{"data": values}, nil)
}

// Token makes a token that may read what begins with the path of the API, such as secret/data/shop/.
func (s *Server) Token(mayRead string) string {
	s.t.Helper()
	policy := `path "` + mayRead + `*" { capabilities = ["read"] }`
	s.Do("PUT", "sys/policies/acl/reader", map[string]string{"policy": policy}, nil)
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	s.Do("POST", "auth/token/create", map[string]any{"policies": []string{"reader"}, "no_default_policy": true}, &made)
	return made.Auth.Token
}
