package release

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
)

// Signer signs statements: a key, or a service that keeps one.
type Signer interface {
	Sign(ctx context.Context, data []byte) (keyID string, signature []byte, err error)
}

// Verifier knows the keys that are trusted, and the name of each for people. It returns an error for a
// signature of any other.
type Verifier interface {
	Verify(ctx context.Context, keyID string, data, signature []byte) (name string, err error)
}

// SignedType is the media type of a signed statement.
// https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md
const SignedType = "application/vnd.dsse.envelope.v1+json"

type signed struct {
	PayloadType string      `json:"payloadType"`
	Payload     []byte      `json:"payload"` // JSON makes base64 of it, as the envelope wants
	Signatures  []signature `json:"signatures"`
}

type signature struct {
	KeyID string `json:"keyid"`
	Sig   []byte `json:"sig"`
}

// signedBytes is what is signed: the type goes in, so that a signature of one kind of thing is none of another.
// https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
func signedBytes(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

func sign(ctx context.Context, s Signer, payload []byte) ([]byte, error) {
	id, sig, err := s.Sign(ctx, signedBytes(ArtifactType, payload))
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return json.Marshal(signed{ArtifactType, payload, []signature{{id, sig}}})
}

// Signature is what was found of a statement's signature when it was read.
type Signature struct {
	// By is the name of the trusted key that signed it; empty if none did, or nobody checked.
	By string
	// Problem is why it has no By: it is not signed, or by a key that is not trusted. Empty if nobody checked.
	Problem string
	// Forged says that a trusted key is named and its signature does not fit: somebody changed it.
	Forged bool
}

func (s Signature) String() string {
	switch {
	case s.Forged:
		return "INVALID signature: " + s.Problem
	case s.By != "":
		return "signed by " + s.By
	}
	return s.Problem
}

// errForged is a signature of a trusted key that does not fit.
var errForged = errors.New("its signature does not match: it was changed")

const unsigned = "not signed"

// open takes a statement out of its envelope, and says what its signature is worth. Without a verifier
// that is not checked.
func open(ctx context.Context, v Verifier, stored []byte) ([]byte, Signature, error) {
	var e signed
	if err := json.Unmarshal(stored, &e); err != nil {
		return nil, Signature{}, err
	}
	if e.PayloadType == "" {
		if v == nil {
			return stored, Signature{}, nil
		}
		return stored, Signature{Problem: unsigned}, nil
	}
	if e.PayloadType != ArtifactType {
		return nil, Signature{}, fmt.Errorf("its payload is %q", e.PayloadType)
	}
	if v == nil {
		return e.Payload, Signature{}, nil
	}
	out := Signature{Problem: unsigned}
	for _, s := range e.Signatures { // one that is trusted is enough
		by, err := v.Verify(ctx, s.KeyID, signedBytes(e.PayloadType, e.Payload), s.Sig)
		if err == nil {
			return e.Payload, Signature{By: by}, nil
		}
		out = Signature{Problem: err.Error(), Forged: out.Forged || errors.Is(err, errForged)}
	}
	return e.Payload, out, nil
}

// Verifiers trusts what any of them trusts.
type Verifiers []Verifier

// Verify implements Verifier.
func (v Verifiers) Verify(ctx context.Context, id string, data, sig []byte) (string, error) {
	err := errors.New("no key is trusted")
	for _, one := range v {
		by, e := one.Verify(ctx, id, data, sig)
		if e == nil {
			return by, nil
		}
		if !errors.Is(err, errForged) {
			err = e
		}
	}
	return "", err
}

// Key signs with a private key: Ed25519, or ECDSA over SHA-256 as KMS and cosign do.
type Key struct {
	private crypto.Signer
	id      string
}

// ParseKey reads a private key in PEM, PKCS #8 or SEC 1. It is not encrypted: keep it where secrets are kept.
func ParseKey(data []byte) (*Key, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("reading the signing key: it is not PEM")
	}
	var key any
	var err error
	if block.Type == "EC PRIVATE KEY" {
		key, err = x509.ParseECPrivateKey(block.Bytes)
	} else {
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %w", err)
	}
	switch k := key.(type) {
	case ed25519.PrivateKey, *ecdsa.PrivateKey:
		private := k.(crypto.Signer)
		id, err := keyID(private.Public())
		if err != nil {
			return nil, fmt.Errorf("reading the signing key: %w", err)
		}
		return &Key{private, id}, nil
	}
	return nil, fmt.Errorf("not supported: a signing key of type %T; Ed25519 and ECDSA are", key)
}

// keyID names a key by the hash of its public half.
func keyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	h := sha256.Sum256(der)
	return hex.EncodeToString(h[:]), nil
}

// Sign implements Signer.
func (k *Key) Sign(_ context.Context, data []byte) (string, []byte, error) {
	if _, ok := k.private.(ed25519.PrivateKey); ok {
		sig, err := k.private.Sign(nil, data, crypto.Hash(0))
		return k.id, sig, err
	}
	h := sha256.Sum256(data)
	sig, err := k.private.Sign(rand.Reader, h[:], crypto.SHA256)
	return k.id, sig, err
}

// ID names the key: the SHA-256 of its public half in PKIX form.
func (k *Key) ID() string { return k.id }

// Trusts is the public half of the key as one that is trusted, under a name for people.
func (k *Key) Trusts(name string) Keys { return Keys{k.id: {name, k.private.Public()}} }

// Keys are the public keys that are trusted, by id.
type Keys map[string]TrustedKey

// TrustedKey is a public key with a name for people.
type TrustedKey struct {
	Name   string
	Public crypto.PublicKey
}

// ParseKeys reads public keys in PEM, any number of them, under a name for people.
func ParseKeys(name string, data []byte) (Keys, error) {
	keys := Keys{}
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if err := keys.Add(name, block.Bytes); err != nil {
			return nil, fmt.Errorf("reading trusted key %d of %s: %w", len(keys)+1, name, err)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("reading the trusted keys of %s: there is none; public keys in PEM are expected", name)
	}
	return keys, nil
}

// Add trusts a public key in PKIX form.
func (k Keys) Add(name string, der []byte) error {
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return err
	}
	switch key.(type) {
	case ed25519.PublicKey, *ecdsa.PublicKey:
	default:
		return fmt.Errorf("not supported: a trusted key of type %T; Ed25519 and ECDSA are", key)
	}
	id, err := keyID(key)
	if err != nil {
		return err
	}
	k[id] = TrustedKey{name, key}
	return nil
}

// Verify implements Verifier.
func (k Keys) Verify(_ context.Context, id string, data, sig []byte) (string, error) {
	trusted, known := k[id]
	ok := false
	switch key := trusted.Public.(type) {
	case nil:
		return "", fmt.Errorf("signed by key %.16s, which is not trusted", id)
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, data, sig)
	case *ecdsa.PublicKey:
		h := sha256.Sum256(data)
		ok = ecdsa.VerifyASN1(key, h[:], sig)
	}
	if !ok || !known {
		return "", errForged
	}
	return trusted.Name, nil
}
