package cli

import (
	"cmp"
	"context"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/release"
)

// Variables of signing, which go before slipway.yaml: the key is a secret of the CI system.
const (
	signingKeyVariable      = "SLIPWAY_SIGNING_KEY" // a file, or the key itself
	signingPasswordVariable = "SLIPWAY_SIGNING_PASSWORD"
	cosignPasswordVariable  = "COSIGN_PASSWORD"
)

// openSigning gives the ledger the key that signs, and those that are trusted. Where no trusted keys are
// named, the key that signs is; one of KMS always is. A key file that slipway.yaml names may be absent:
// only who signs needs it.
func (pr *project) openSigning(_ context.Context) error {
	s := pr.file.Signing
	var trusted release.Verifiers
	keys := release.Keys{}
	for _, file := range s.Trusted {
		data, err := os.ReadFile(pr.path(file))
		if err != nil {
			return badInput("reading a trusted key: %w", err)
		}
		more, err := release.ParseKeys(filepath.Base(file), data)
		if err != nil {
			return exitWith(ExitBadInput, err)
		}
		maps.Copy(keys, more)
	}
	key, err := pr.signingKey()
	switch {
	case err != nil:
		return err
	case key.signer != nil:
		pr.ledger.Signer = key.signer
		if len(s.Trusted) == 0 {
			maps.Copy(keys, key.signer.Trusts(key.name))
		}
	case s.KMS != "":
		in := pr.cloud.SigningKey(s.KMS)
		pr.ledger.Signer = in
		trusted = append(trusted, &kmsVerifier{key: in, name: "KMS " + s.KMS})
	}
	if len(keys) > 0 {
		trusted = append(release.Verifiers{keys}, trusted...)
	}
	if len(trusted) > 0 {
		pr.ledger.Verifier = trusted
	}
	return nil
}

type namedKey struct {
	name   string
	signer *release.Key
}

// signingKey is the key of the environment, or else the file slipway.yaml names; none if there is neither.
func (pr *project) signingKey() (namedKey, error) {
	text, name := pr.getenv(signingKeyVariable), signingKeyVariable
	if !strings.Contains(text, "-----BEGIN ") {
		file := text
		if file == "" {
			if pr.file.Signing.Key == "" {
				return namedKey{}, nil
			}
			file = pr.path(pr.file.Signing.Key)
			if _, err := os.Stat(file); err != nil {
				return namedKey{}, nil
			}
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return namedKey{}, badInput("reading the signing key: %w", err)
		}
		text, name = string(data), filepath.Base(file)
	}
	key, err := parseSigningKey([]byte(text), cmp.Or(pr.getenv(signingPasswordVariable), pr.getenv(cosignPasswordVariable)))
	if err != nil {
		return namedKey{}, badInput("%s: %w", name, err)
	}
	return namedKey{name, key}, nil
}

// parseSigningKey reads a private key: PEM, or encrypted as cosign writes it.
func parseSigningKey(data []byte, password string) (*release.Key, error) {
	block, _ := pem.Decode(data)
	if block != nil && (block.Type == "ENCRYPTED SIGSTORE PRIVATE KEY" || block.Type == "ENCRYPTED COSIGN PRIVATE KEY") {
		der, err := encrypted.Decrypt(block.Bytes, []byte(password))
		if err != nil {
			return nil, fmt.Errorf("it is encrypted, and %s or %s does not open it", signingPasswordVariable, cosignPasswordVariable)
		}
		data = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	return release.ParseKey(data)
}

// kmsVerifier trusts one key of KMS. Its public half is asked for when the first signature is checked.
type kmsVerifier struct {
	key  *awscloud.SigningKey
	name string
}

// Verify implements release.Verifier.
func (v *kmsVerifier) Verify(ctx context.Context, id string, data, sig []byte) (string, error) {
	public, err := v.key.Public(ctx)
	if err != nil {
		return "", err
	}
	keys := release.Keys{}
	if err := keys.Add(v.name, public); err != nil {
		return "", err
	}
	return keys.Verify(ctx, id, data, sig)
}
