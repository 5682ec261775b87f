package release

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
)

func pair(t *testing.T, private crypto.Signer) (*Key, []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	if der, err = x509.MarshalPKIXPublicKey(private.Public()); err != nil {
		t.Fatal(err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func newKeys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"Ed25519": ed, "ECDSA": ec}
}

func TestSignedLedger(t *testing.T) {
	strangers := newKeys(t)
	for name, private := range newKeys(t) {
		t.Run(name, func(t *testing.T) {
			ctx, m := t.Context(), memory{}
			key, public := pair(t, private)
			stranger, other := pair(t, strangers[name])
			keys, err := ParseKeys("ci.pub", append(other, public...))
			if err != nil || len(keys) != 2 {
				t.Fatal(keys, err)
			}
			delete(keys, stranger.id)
			l := Ledger{Referrers: m, Catalog: m, Signer: key, Verifier: keys}
			if err := l.Append(ctx, "r/shop", approved(one, "prod", "bob", 1, Succeeded)); err != nil {
				t.Fatal(err)
			}
			if got, err := l.Read(ctx, "r/shop", one); err != nil || len(got) != 1 || got[0].By != "bob" || got[0].Signature != (Signature{By: "ci.pub"}) {
				t.Errorf("%+v, %v", got, err)
			}
			good := m[one][0].Payload
			// Who does not ask for signatures reads it as well.
			if got, err := (Ledger{Referrers: m, Catalog: m}).Read(ctx, "r/shop", one); err != nil || len(got) != 1 {
				t.Errorf("%+v, %v", got, err)
			}
			var e signed
			if err := json.Unmarshal(good, &e); err != nil {
				t.Fatal(err)
			}
			e.Payload = bytes.Replace(e.Payload, []byte("bob"), []byte("eve"), 1)
			forged, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			e.Signatures = nil
			bare, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			plain, err := approved(one, "prod", "eve", 2, Succeeded).Encode()
			if err != nil {
				t.Fatal(err)
			}
			foreign, err := sign(ctx, stranger, plain)
			if err != nil {
				t.Fatal(err)
			}
			for _, tt := range []struct {
				says    string
				payload []byte
			}{{"was changed", forged}, {unsigned, bare}, {unsigned, plain}, {"not trusted", foreign}} {
				says := tt.says
				m[one] = []Referrer{{Digest: two, Annotations: map[string]string{AnnotationKind: "approved-for"}, Payload: tt.payload}}
				got, err := l.Read(ctx, "r/shop", one)
				if err != nil || len(got) != 1 || got[0].Signature.By != "" || !strings.Contains(got[0].Signature.String(), says) {
					t.Errorf("%s: read %+v, %v", says, got, err)
				}
				if n := len(Credible(got, true)); n != 0 {
					t.Errorf("%s: %d are taken for signed", says, n)
				}
				if n := len(Credible(got, false)); (n == 0) != (says == "was changed") {
					t.Errorf("%s: %d count where signatures are not asked for", says, n)
				}
			}
			// A good signature on another digest is no approval of it.
			m[two] = []Referrer{{Digest: one, Annotations: map[string]string{AnnotationKind: "approved-for"}, Payload: good}}
			if got, err := l.Read(ctx, "r/shop", two); err == nil || len(got) > 0 {
				t.Errorf("moved: %+v, %v", got, err)
			}
		})
	}
}

// The example of the DSSE protocol's test vectors: what is signed for a given type and payload.
func TestSignedBytes(t *testing.T) {
	if got := string(signedBytes("http://example.com/HelloWorld", []byte("hello world"))); got != "DSSEv1 29 http://example.com/HelloWorld 11 hello world" {
		t.Errorf("got %q", got)
	}
	data, err := json.Marshal(signed{"t", []byte{0xfb, 0xff}, nil})
	if err != nil || !strings.Contains(string(data), base64.StdEncoding.EncodeToString([]byte{0xfb, 0xff})) {
		t.Errorf("%s, %v", data, err)
	}
}

func TestKeysThatAreNone(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"empty": nil, "not PEM": []byte("key"), "RSA": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		"damaged": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der[:20]})} {
		if _, err := ParseKey(data); err == nil {
			t.Errorf("%s: is a signing key", name)
		}
		if _, err := ParseKeys(name, data); err == nil {
			t.Errorf("%s: is a trusted key", name)
		}
	}
	if _, err := (Keys{}).Verify(context.Background(), "x", nil, nil); err == nil {
		t.Error("nobody is trusted")
	}
}

func TestSignedRule(t *testing.T) {
	built := Statement{Kind: Built, Subject: one, Outcome: Succeeded, Commit: "c", Author: "ann@example.com"}
	approval := approved(one, "prod", "bob", 1, Succeeded)
	by := func(s Statement, sig Signature) Statement { s.Signature = sig; return s }
	good, stranger := Signature{By: "ci.pub"}, Signature{Problem: "signed by key 1, which is not trusted"}
	p := Policy{Signed: true, Approvals: 1}
	for name, tt := range map[string]struct {
		history []Statement
		rules   []string
	}{
		"all signed":          {[]Statement{by(built, good), by(approval, good)}, nil},
		"approval is not":     {[]Statement{by(built, good), by(approval, Signature{Problem: unsigned})}, []string{"approval"}},
		"build is a stranger": {[]Statement{by(built, stranger), by(approval, good)}, []string{"signed"}},
		"approval is forged":  {[]Statement{by(built, good), by(approval, Signature{Forged: true, Problem: "x"})}, []string{"approval"}},
		"nobody checked":      {[]Statement{built, approval}, []string{"signed", "approval"}},
		"nothing is recorded": {nil, []string{"signed", "approval"}},
	} {
		var got []string
		for _, r := range CanPromote(Candidate{one, "prod"}, tt.history, p, at(5)) {
			got = append(got, r.Rule)
		}
		if !slices.Equal(got, tt.rules) {
			t.Errorf("%s: refused by %q, want %q", name, got, tt.rules)
		}
	}
	// Where signatures are not asked for, only what was changed does not count.
	if r := CanPromote(Candidate{one, "prod"}, []Statement{built, by(approval, stranger)}, Policy{Approvals: 1}, at(5)); len(r) != 0 {
		t.Errorf("refused: %v", r)
	}
}
