package awscloud

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/release"
)

// keeper is as much of KMS as signing needs, over its own protocol.
func keeper(t *testing.T, algorithms ...string) *Cloud {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			KeyId, MessageType, SigningAlgorithm string
			Message                              []byte
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.KeyId != "alias/ledger" {
			http.Error(w, `{"__type":"NotFoundException"}`, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		switch _, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); op {
		case "GetPublicKey":
			_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": in.KeyId, "PublicKey": public, "KeySpec": "ECC_NIST_P256", "SigningAlgorithms": algorithms})
		case "Sign":
			if in.MessageType != "DIGEST" || in.SigningAlgorithm != "ECDSA_SHA_256" || len(in.Message) != 32 {
				http.Error(w, `{"__type":"ValidationException"}`, http.StatusBadRequest)
				return
			}
			sig, err := ecdsa.SignASN1(rand.Reader, private, in.Message)
			if err != nil {
				t.Error(err)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"KeyId": in.KeyId, "Signature": sig})
		}
	}))
	t.Cleanup(server.Close)
	c, err := Open(t.Context(), Options{Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKMSSigns(t *testing.T) {
	c, ctx := keeper(t, "ECDSA_SHA_256"), t.Context()
	key := c.SigningKey("alias/ledger")
	id, sig, err := key.Sign(ctx, []byte("a statement"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.Public(ctx)
	if err != nil {
		t.Fatal(err)
	}
	keys := release.Keys{}
	if err := keys.Add("KMS", public); err != nil {
		t.Fatal(err)
	}
	if by, err := keys.Verify(ctx, id, []byte("a statement"), sig); err != nil || by != "KMS" {
		t.Errorf("%q, %v", by, err)
	}
	if _, err := keys.Verify(ctx, id, []byte("another"), sig); err == nil {
		t.Error("it fits another statement")
	}
}

func TestKMSKeysThatDoNotSign(t *testing.T) {
	if _, _, err := keeper(t, "RSASSA_PSS_SHA_256").SigningKey("alias/ledger").Sign(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "not supported") {
		t.Errorf("RSA: %v", err)
	}
	if _, _, err := keeper(t).SigningKey("alias/none").Sign(t.Context(), nil); err == nil {
		t.Error("a key that is not there signs")
	}
}
