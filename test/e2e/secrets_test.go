//go:build linux

package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/slipway-ecs/slipway/internal/secretsource/vaulttest"
)

const secretive = `service: iplookup
build: { ko: . }
test: { command: [go, version] }
cluster: demo
container:
  port: 8080
  cpu: 64
  memory: 64
  secrets:
    STORED: ssm:/iplookup/stored
    VAULTED: vault:secret/iplookup#password
    ASKED: exec:safe read "iplookup"
route:
  listener: qa
  paths: ["/*"]
  health: { path: /healthz, interval: 5s, timeout: 2s }
  deregistration_delay: 5s
environments:
  qa: {}
`

const secretiveMain = `package main

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		for _, v := range []string{"STORED", "VAULTED", "ASKED"} {
			fmt.Fprintf(w, "%s %x\n", v, sha256.Sum256([]byte(os.Getenv(v))))
		}
	})
	panic(http.ListenAndServe(":8080", nil))
}
`

// vault is one secret of a Vault: of a real server, or of a stand-in that answers as its HTTP API is documented to
// (https://developer.hashicorp.com/vault/api-docs/secret/kv/kv-v2#sample-response-2) where there is none.
type vault struct {
	real    *vaulttest.Server
	mu      sync.Mutex
	value   string
	version int
}

// newVault has the environment variables with which it is reached.
func newVault(t *testing.T) (v *vault, env []string) {
	t.Helper()
	v = &vault{}
	if os.Getenv("SLIPWAY_VAULT") != "" || os.Getenv("CI") != "" {
		v.real = vaulttest.Start(t)
		return v, []string{"VAULT_ADDR=" + v.real.Address, "VAULT_TOKEN=" + v.real.Token("secret/data/iplookup")}
	}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	return v, []string{"VAULT_ADDR=" + server.URL, "VAULT_TOKEN=e2e-token"}
}

func (v *vault) set(value string) {
	if v.real != nil {
		v.real.Put("iplookup", map[string]any{"password": value})
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.value = value
	v.version++
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.URL.Path != "/v1/secret/data/iplookup" || r.Header.Get("X-Vault-Token") != "e2e-token" {
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		return
	}
	fmt.Fprintf(w, `{"data":{"data":{"password":%q},"metadata":{"created_time":"2026-03-22T02:24:06Z","deletion_time":"","destroyed":false,"version":%d}}}`, v.value, v.version)
}

// Secrets of three stores reach the service, a changed one is a new revision and an unchanged one is
// not, and no value is anywhere but in the store and in the service.
func TestSecrets(t *testing.T) {
	w := newTeam(t)
	canary := func() string { return "canary-" + rand.Text() }
	stored, vaulted, asked := canary(), canary(), canary()
	all := []string{stored, vaulted, asked}

	if _, err := w.ssm.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/iplookup/stored"), Value: &stored, Type: ssmtypes.ParameterTypeSecureString}); err != nil {
		t.Fatal(err)
	}
	v, reached := newVault(t)
	v.set(vaulted)
	bin, safe := filepath.Join(w.tmp, "bin"), filepath.Join(w.tmp, "safe.json")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		filepath.Join(bin, "slipway-secret-safe"): "#!/bin/sh\nexec cat " + safe + "\n",
		safe: fmt.Sprintf(`{"value":%q,"version":"a"}`, asked)} {
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range w.env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			w.env[i] = "PATH=" + bin + string(os.PathListSeparator) + path
		}
	}
	w.env = append(w.env, reached...)
	old, _ := filepath.Glob(filepath.Join(w.work, "*.go"))
	for _, f := range old {
		_ = os.Remove(f)
	}
	w.write("main.go", secretiveMain)
	w.write("slipway.yaml", secretive)
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "secrets")

	seen := commandLines(t)
	var said strings.Builder
	deploy := func() string {
		t.Helper()
		r := w.slipway("deploy", "qa")
		said.WriteString(r.stdout + r.stderr)
		s := w.service()
		if s == nil {
			t.Fatal("there is no service")
		}
		return aws.ToString(s.TaskDefinition)
	}
	runs := func(values ...string) {
		t.Helper()
		var want strings.Builder
		for i, name := range []string{"STORED", "VAULTED", "ASKED"} {
			fmt.Fprintf(&want, "%s %x\n", name, sha256.Sum256([]byte(values[i])))
		}
		resp, err := http.Get(w.url)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want.String() {
			t.Errorf("the service has\n%s, want\n%s (%v)", got, want.String(), err)
		}
	}

	said.WriteString(w.slipway("push").stdout)
	r := w.slipway("plan", "qa")
	said.WriteString(r.stdout + r.stderr)
	first := deploy()
	runs(stored, vaulted, asked)
	if again := deploy(); again != first {
		t.Errorf("nothing changed, and %s was replaced by %s", first, again)
	}
	changed := canary()
	all = append(all, changed)
	v.set(changed)
	second := deploy()
	if second == first {
		t.Error("a changed secret of Vault is no change")
	}
	runs(stored, changed, asked)
	rotated := canary()
	all = append(all, rotated)
	if _, err := w.ssm.PutParameter(t.Context(), &ssm.PutParameterInput{Name: aws.String("/iplookup/stored"), Value: &rotated, Overwrite: aws.Bool(true), Type: ssmtypes.ParameterTypeSecureString}); err != nil {
		t.Fatal(err)
	}
	if third := deploy(); third == second {
		t.Error("a changed parameter is no change")
	}
	runs(rotated, changed, asked)

	out, err := w.ecs.DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: &first})
	if err != nil {
		t.Fatal(err)
	}
	shown, err := json.Marshal(out.TaskDefinition)
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]string{"the output": said.String(), "the task definition": string(shown), "arguments": seen()}
	walk := func(root string, skip ...string) {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			for _, s := range skip {
				if strings.HasPrefix(path, s) {
					return nil
				}
			}
			if data, err := os.ReadFile(path); err == nil {
				places[path] = string(data)
			}
			return nil
		})
	}
	// The local stores keep the values, as those of AWS do, in the state file and its journal; containers have them.
	walk(w.tmp, safe, filepath.Join(w.state, "state"), filepath.Join(w.state, "journal."), filepath.Join(w.state, "runtime"))
	if len(places) < 10 || !strings.Contains(places["arguments"], "slipway") {
		t.Fatalf("only %d places were searched", len(places))
	}
	for place, text := range places {
		for _, c := range all {
			if strings.Contains(text, c) {
				t.Errorf("a secret is in %s", place)
			}
		}
	}
	w.copiesGo(vaulted)
}

// commandLines collects the arguments of every process there is until the returned function is called.
func commandLines(t *testing.T) func() string {
	stop, done := make(chan struct{}), make(chan string)
	go func() {
		lines := map[string]bool{}
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				var all strings.Builder
				for l := range lines {
					all.WriteString(l + "\n")
				}
				done <- all.String()
				return
			case <-tick.C:
			}
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, f := range files {
				if data, err := os.ReadFile(f); err == nil && len(data) > 0 {
					lines[string(data)] = true
				}
			}
		}
	}()
	return func() string { t.Helper(); close(stop); return <-done }
}
