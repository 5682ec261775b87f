package images

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/release"
)

// keyPair writes a key pair as openssl does and returns the files.
func keyPair(t *testing.T, dir, name string) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pubDER, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	private, public = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".pub")
	if err := os.WriteFile(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pubDER}), 0o600); err != nil {
		t.Fatal(err)
	}
	return private, public
}

// What CI and approvers sign is asked for by the rule, and what others write or change does not count.
func TestSigning(t *testing.T) {
	s := newShop(t)
	dir := t.TempDir()
	ci, _ := keyPair(t, dir, "ci")
	stranger, _ := keyPair(t, dir, "stranger")
	file := filepath.Join(dir, "slipway.yaml")
	definition := fmt.Sprintf(`service: app
kind: service
cluster: main
build: { image: "%s:v1" }
test: { command: [] }
container: { cpu: 16, memory: 64 }
signing: { trusted: ci.pub }
environments: { qa: {}, prod: {} }
promotion:
  prod: { from: qa, approvals: 1, tests: false, signed: true }
`, s.uri)
	if err := os.WriteFile(file, []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	d := s.push(t, "v1")
	say := func(key string, st release.Statement) {
		t.Helper()
		st.Subject, st.Repository, st.Outcome, st.At = d, "app", release.Succeeded, time.Now()
		l := s.ledger()
		if key != "" {
			data, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			signer, err := release.ParseKey(data)
			if err != nil {
				t.Fatal(err)
			}
			l.Signer = signer
		}
		if err := l.Append(t.Context(), s.uri, st); err != nil {
			t.Fatal(err)
		}
	}
	built := release.Statement{Kind: release.Built, By: "ci", Commit: commitA, Author: "ann@example.com"}
	refused := func(want ...string) {
		t.Helper()
		code, out, stderr := slipway(t, "deploy", "prod", "-f", file, "--image", "v1")
		if code != cli.ExitRefused {
			t.Fatalf("exit %d\n%s%s", code, out, stderr)
		}
		for _, w := range append(want, "running: it was never deployed to qa") {
			if !strings.Contains(stderr, w) {
				t.Errorf("it does not say %q:\n%s", w, stderr)
			}
		}
	}
	say(stranger, built)
	refused("signed: the record of its build has no trusted signature (signed by key", "approval: 0 of 1")
	say(ci, built)
	t.Setenv("SLIPWAY_SIGNING_KEY", stranger)
	if code, _, stderr := slipway(t, "approve", "prod", "-f", file, "--image", "v1", "--by", "eve"); code != cli.ExitOK {
		t.Fatal(stderr)
	}
	refused("approval: 0 of 1")
	t.Setenv("SLIPWAY_SIGNING_KEY", ci)
	if code, _, stderr := slipway(t, "approve", "prod", "-f", file, "--image", "v1", "--by", "bob"); code != cli.ExitOK {
		t.Fatal(stderr)
	}
	code, out, stderr := slipway(t, "deploy", "prod", "-f", file, "--image", "v1")
	if code != cli.ExitRefused || strings.Contains(stderr, "signed:") || strings.Contains(stderr, "approval:") || !strings.Contains(stderr, "running:") {
		t.Errorf("with a signed build and approval: exit %d\n%s%s", code, out, stderr)
	}
	// Somebody changes who approved, in what a trusted key has signed.
	found, err := s.client.List(t.Context(), s.uri, d, release.SignedType)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found {
		var e map[string]any
		if err := json.Unmarshal(r.Payload, &e); err != nil {
			t.Fatal(err)
		}
		if r.Annotations[release.AnnotationKind] == "built" {
			payload, err := base64.StdEncoding.DecodeString(e["payload"].(string))
			if err != nil {
				t.Fatal(err)
			}
			e["payload"] = bytes.Replace(payload, []byte(`"by":"ci"`), []byte(`"by":"eve"`), 1) // JSON makes base64 of it
			changed, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.client.Put(t.Context(), s.uri, d, release.SignedType, r.Annotations, changed); err != nil {
				t.Fatal(err)
			}
		}
	}
	code, out, stderr = slipway(t, "history", "-f", file)
	for _, want := range []string{"signed by ci.pub", "which is not trusted", "INVALID signature: its signature does not match: it was changed"} {
		if code != cli.ExitOK || !strings.Contains(out, want) {
			t.Errorf("history does not say %q: exit %d\n%s%s", want, code, out, stderr)
		}
	}
}
