package awscloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

// SigningKey signs with a key that KMS keeps: asymmetric, SIGN_VERIFY, ECC_NIST_P256.
// https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html
type SigningKey struct {
	api *kms.Client
	key string // id, ARN or alias

	once   sync.Once
	public []byte // PKIX
	err    error
}

// SigningKey is a key of KMS, by its id, ARN or alias. No call is made.
func (c *Cloud) SigningKey(key string) *SigningKey {
	return &SigningKey{api: kms.NewFromConfig(c.cfg), key: key}
}

// Public is the key's public half in PKIX form.
// https://docs.aws.amazon.com/kms/latest/APIReference/API_GetPublicKey.html
func (k *SigningKey) Public(ctx context.Context) ([]byte, error) {
	k.once.Do(func() {
		out, err := k.api.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: &k.key})
		switch {
		case err != nil:
			k.err = fmt.Errorf("reading the public half of KMS key %s: %w", k.key, err)
		case !slices.Contains(out.SigningAlgorithms, types.SigningAlgorithmSpecEcdsaSha256):
			k.err = fmt.Errorf("not supported: KMS key %s is %s; ECC_NIST_P256 for signing is", k.key, out.KeySpec)
		default:
			k.public = out.PublicKey
		}
	})
	return k.public, k.err
}

// Sign signs data. The key is named by the SHA-256 of its public half, as keys in files are, so that who
// has that in a file can check it without KMS.
// https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html
func (k *SigningKey) Sign(ctx context.Context, data []byte) (string, []byte, error) {
	public, err := k.Public(ctx)
	if err != nil {
		return "", nil, err
	}
	digest := sha256.Sum256(data)
	out, err := k.api.Sign(ctx, &kms.SignInput{KeyId: &k.key, Message: digest[:], MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256})
	if err != nil {
		return "", nil, fmt.Errorf("signing with KMS key %s: %w", k.key, err)
	}
	id := sha256.Sum256(public)
	return hex.EncodeToString(id[:]), out.Signature, nil
}
