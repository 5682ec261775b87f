package wire

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
)

// Identity is who calls, from where, and the id of the request.
type Identity struct {
	Account   string // 12 digits
	Region    string
	Partition string // "aws"
	AccessKey string // empty: not signed
	SourceIP  string // of the client; empty for the local AWS itself
	RequestID string
}

type identityKey struct{}

// Caller is the identity of the request that ctx belongs to.
func Caller(ctx context.Context) Identity {
	id, _ := ctx.Value(identityKey{}).(Identity)
	return id
}

// WithCaller returns a context of a request by id, for work the local AWS does on its own behalf.
func WithCaller(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// scope is the credential scope of a SigV4 signature.
type scope struct{ accessKey, region, service string }

// credentialScope reads the scope from the Authorization header or a presigned query. Nothing is
// verified here.
func credentialScope(h http.Header, query url.Values) scope {
	cred := ""
	if auth := h.Get("Authorization"); strings.HasPrefix(auth, "AWS4-") {
		_, rest, _ := strings.Cut(auth, "Credential=")
		cred, _, _ = strings.Cut(rest, ",")
	} else if query != nil {
		cred = query.Get("X-Amz-Credential")
	}
	parts := strings.Split(strings.TrimSpace(cred), "/")
	if len(parts) < 5 {
		return scope{}
	}
	n := len(parts) // the access key may hold slashes
	if strings.HasPrefix(h.Get("Authorization"), "AWS4-ECDSA") {
		return scope{accessKey: strings.Join(parts[:n-3], "/"), service: parts[n-2]}
	}
	return scope{accessKey: strings.Join(parts[:n-4], "/"), region: parts[n-3], service: parts[n-2]}
}

func requestID() string {
	const hex = "0123456789abcdef"
	var b [36]byte
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range b {
		switch i {
		case 8, 13, 18, 23:
			b[i] = '-'
			continue
		}
		b[i] = hex[hi&15]
		hi = hi>>4 | lo<<60
		lo >>= 4
	}
	b[14] = '4'
	b[19] = "89ab"[b[19]&3]
	return string(b[:])
}
