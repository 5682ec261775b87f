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
	"github.com/slipway-ecs/slipway/internal/service"
)

// Variables of signing, which go before slipway.yaml: the key is a secret of the CI system.
const (
	signingKeyVariable      = "SLIPWAY_SIGNING_KEY" // a file, or the key itself
	signingPasswordVariable = "SLIPWAY_SIGNING_PASSWORD"
	cosignPasswordVariable  = "COSIGN_PASSWORD"
)

// signing is what signs and whose signatures are trusted; either may be nil.
type signing struct {
	signer   release.Signer
	verifier release.Verifier
}

// openSigning finds the keys of a definition in its folder. Where no trusted keys are named, the key that
// signs is; one of KMS always is. A key file that slipway.yaml names may be absent: only who signs needs it.
func openSigning(s service.Signing, dir string, getenv func(string) string, cloud *awscloud.Cloud) (signing, error) {
	var out signing
	var trusted release.Verifiers
	keys := release.Keys{}
	for _, file := range s.Trusted {
		data, err := os.ReadFile(inFolder(dir, file))
		if err != nil {
			return out, badInput("reading a trusted key: %w", err)
		}
		more, err := release.ParseKeys(filepath.Base(file), data)
		if err != nil {
			return out, exitWith(ExitBadInput, err)
		}
		maps.Copy(keys, more)
	}
	name, key, err := signingKey(s.Key, dir, getenv)
	switch {
	case err != nil:
		return out, err
	case key != nil:
		out.signer = key
		if len(s.Trusted) == 0 {
			maps.Copy(keys, key.Trusts(name))
		}
	case s.KMS != "":
		kept := cloud.SigningKey(s.KMS)
		out.signer = kept
		trusted = append(trusted, &kmsVerifier{key: kept, name: "KMS " + s.KMS})
	}
	if len(keys) > 0 {
		trusted = append(release.Verifiers{keys}, trusted...)
	}
	if len(trusted) > 0 {
		out.verifier = trusted
	}
	return out, nil
}

func inFolder(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// signingKey is the key of the environment, or else the file slipway.yaml names; nil if there is neither.
func signingKey(file, dir string, getenv func(string) string) (name string, key *release.Key, err error) {
	text, name := getenv(signingKeyVariable), signingKeyVariable
	if !strings.Contains(text, "-----BEGIN ") {
		path := text
		if path == "" {
			if file == "" {
				return "", nil, nil
			}
			path = inFolder(dir, file)
			if _, err := os.Stat(path); err != nil {
				return "", nil, nil
			}
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return "", nil, badInput("reading the signing key: %w", err)
		}
		text, name = string(data), filepath.Base(path)
	}
	key, err = parseSigningKey([]byte(text), cmp.Or(getenv(signingPasswordVariable), getenv(cosignPasswordVariable)))
	if err != nil {
		return "", nil, badInput("%s: %w", name, err)
	}
	return name, key, nil
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
