package wire

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Keys returns the secret of an access key; ok is false if there is no such key.
type Keys func(accessKey string) (secret string, ok bool)

// WithKeys makes the server answer only requests for AWS services that are signed with one of the
// keys (Signature Version 4, in a header or presigned). Fallbacks check what is sent to them
// themselves.
func WithKeys(keys Keys) ServerOption { return func(s *Server) { s.keys = keys } }

// TokenState is what is to be said of a session token.
type TokenState int

// The states of a token.
const (
	TokenGood TokenState = iota
	TokenBad
	TokenExpired
)

// WithTokens sets what checks the session token that comes with a key; it is "" where none came.
func WithTokens(check func(accessKey, token string) TokenState) ServerOption {
	return func(s *Server) { s.tokens = check }
}

// denial is why a signature was refused; each protocol family has its own names for them.
type denial struct{ json, query, message string }

func (d *denial) Error() string { return d.message }

// shown is the error as clients of the protocol see it.
func (d *denial) shown(p protocol) *Error {
	e := &Error{Code: d.json, Message: d.message, Status: http.StatusForbidden}
	if p == awsQuery || p == ec2Query {
		e.Code = d.query
	}
	if p == ec2Query && d == errUnknownKey {
		e.Code, e.Status = "AuthFailure", http.StatusUnauthorized
	}
	if p == jsonRPC {
		e.Status = http.StatusBadRequest
	}
	return e
}

var (
	errUnsigned   = &denial{"MissingAuthenticationTokenException", "MissingAuthenticationToken", "Request is missing Authentication Token"}
	errUnknownKey = &denial{"UnrecognizedClientException", "InvalidClientTokenId", "The security token included in the request is invalid."}
	errSignature  = &denial{"InvalidSignatureException", "SignatureDoesNotMatch",
		"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."}
	errOldToken   = &denial{"ExpiredTokenException", "ExpiredToken", "The security token included in the request is expired"}
	errExpired    = &denial{"InvalidSignatureException", "SignatureDoesNotMatch", "Signature expired or not yet current."}
	errIncomplete = &denial{"IncompleteSignatureException", "IncompleteSignature", "The Authorization header or its parameters are not complete."}
)

// maxSkew is how far a client's clock may be off.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
const maxSkew = 5 * time.Minute

const algorithm = "AWS4-HMAC-SHA256"

// signature is what a request says of its own signature.
type signature struct {
	accessKey, scope string // scope: date/region/service/aws4_request
	headers          []string
	value            string
	date             string // 20060102T150405Z
	expires          time.Duration
	presigned        bool
}

// unread is a limit that leaves the body alone, as S3 does.
const unread = -1

// verify checks the signature of r. It reads the body, at most limit bytes, and puts it back.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func verify(r *http.Request, keys Keys, now time.Time, limit int64) error {
	sig, err := readSignature(r)
	if err != nil {
		return err
	}
	secret, ok := keys(sig.accessKey)
	if !ok {
		return errUnknownKey
	}
	at, err := time.Parse("20060102T150405Z", sig.date)
	if err != nil || !strings.HasPrefix(sig.scope, sig.date[:8]+"/") {
		return errIncomplete
	}
	if at.After(now.Add(maxSkew)) || now.After(at.Add(max(maxSkew, sig.expires))) {
		return errExpired
	}
	path, payload := escape(r.URL.EscapedPath(), true), ""
	if limit == unread {
		// S3 escapes paths once, and takes the client's word for the body, which is held against it as it
		// is read: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
		path = escape(r.URL.Path, true)
		if payload = r.Header.Get("X-Amz-Content-Sha256"); payload == "" {
			if payload = r.URL.Query().Get("X-Amz-Content-Sha256"); payload == "" && sig.presigned {
				payload = "UNSIGNED-PAYLOAD"
			}
		}
	} else {
		body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
		if err != nil {
			return fmt.Errorf("reading the body: %w", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if int64(len(body)) > limit {
			return nil // refused for its size later on
		}
		sum := sha256.Sum256(body)
		payload = hex.EncodeToString(sum[:])
		if claimed := r.Header.Get("X-Amz-Content-Sha256"); claimed != "" && claimed != payload {
			return errSignature
		}
	}
	canonical, err := canonicalRequest(r, sig, path, payload)
	if err != nil {
		return err
	}
	hash := sha256.Sum256([]byte(canonical))
	toSign := algorithm + "\n" + sig.date + "\n" + sig.scope + "\n" + hex.EncodeToString(hash[:])
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(sig.scope, "/") {
		key = sign(key, part)
	}
	if !hmac.Equal([]byte(hex.EncodeToString(sign(key, toSign))), []byte(sig.value)) {
		return errSignature
	}
	return nil
}

func sign(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}

func readSignature(r *http.Request) (signature, error) {
	var sig signature
	credential := ""
	if auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm); ok {
		for part := range strings.SplitSeq(auth, ",") {
			k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch k {
			case "Credential":
				credential = v
			case "SignedHeaders":
				sig.headers = strings.Split(v, ";")
			case "Signature":
				sig.value = v
			}
		}
		sig.date = r.Header.Get("X-Amz-Date")
	} else if q := r.URL.Query(); q.Get("X-Amz-Algorithm") == algorithm {
		credential, sig.value, sig.date = q.Get("X-Amz-Credential"), q.Get("X-Amz-Signature"), q.Get("X-Amz-Date")
		sig.headers, sig.presigned = strings.Split(q.Get("X-Amz-SignedHeaders"), ";"), true
		if n, err := strconv.Atoi(q.Get("X-Amz-Expires")); err == nil && n > 0 && n <= 7*24*3600 {
			sig.expires = time.Duration(n) * time.Second
		}
	} else {
		return sig, errUnsigned
	}
	key, scope, ok := strings.Cut(credential, "/")
	if !ok || sig.value == "" || len(sig.date) < 8 || strings.Count(scope, "/") != 3 || !strings.HasSuffix(scope, "/aws4_request") || !slices.Contains(sig.headers, "host") {
		return sig, errIncomplete
	}
	sig.accessKey, sig.scope = key, scope
	return sig, nil
}

func canonicalRequest(r *http.Request, sig signature, path, payload string) (string, error) {
	var b strings.Builder
	b.WriteString(r.Method + "\n")
	if path == "" {
		path = "/"
	}
	b.WriteString(path + "\n")
	var pairs []string
	for k, vs := range r.URL.Query() {
		if k == "X-Amz-Signature" {
			continue
		}
		for _, v := range vs {
			pairs = append(pairs, escape(k, false)+"="+escape(v, false))
		}
	}
	slices.Sort(pairs)
	b.WriteString(strings.Join(pairs, "&") + "\n")
	for _, h := range sig.headers {
		v := strings.Join(r.Header.Values(h), ",")
		switch h {
		case "host":
			v = r.Host
		case "content-length":
			v = strconv.FormatInt(r.ContentLength, 10)
		}
		if v == "" && len(r.Header.Values(h)) == 0 {
			return "", errSignature
		}
		b.WriteString(h + ":" + strings.Join(strings.Fields(v), " ") + "\n")
	}
	b.WriteString("\n" + strings.Join(sig.headers, ";") + "\n" + payload)
	return b.String(), nil
}

// escape is the URI encoding of Signature Version 4.
func escape(s string, slash bool) string {
	e := strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	if slash {
		e = strings.ReplaceAll(e, "%2F", "/")
	}
	return e
}

// authenticate is the verdict on a request, as its service shows it; nil if all is well.
func (s *Server) authenticate(r *http.Request) error { return s.authenticateUpTo(r, s.bodyLimit) }

// authenticateHTTP is authenticate for S3.
func (s *Server) authenticateHTTP(r *http.Request) error { return s.authenticateUpTo(r, unread) }

func (s *Server) authenticateUpTo(r *http.Request, limit int64) error {
	if s.keys == nil {
		return nil
	}
	err := verify(r, s.keys, time.Now().Add(s.clockSkew()), limit)
	var d *denial
	if err != nil && !errors.As(err, &d) {
		return errIncomplete
	}
	if err != nil || s.tokens == nil {
		return err
	}
	key, token := credentialScope(r.Header, r.URL.Query()).accessKey, r.Header.Get("X-Amz-Security-Token")
	if token == "" {
		token = r.URL.Query().Get("X-Amz-Security-Token")
	}
	switch s.tokens(key, token) {
	case TokenBad:
		return errUnknownKey
	case TokenExpired:
		return errOldToken
	}
	return nil
}

// WithSkew makes the server's clock wrong by what skew returns, as its clients see it: they are refused
// if they are off by more than five minutes, and can tell by the Date of the answer, as SDKs do.
func WithSkew(skew func() time.Duration) ServerOption { return func(s *Server) { s.skew = skew } }

func (s *Server) clockSkew() time.Duration {
	if s.skew == nil {
		return 0
	}
	return s.skew()
}

// skewed refuses a signed request whose time is too far from the server's.
func skewed(r *http.Request, now time.Time) error {
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse("20060102T150405Z", date)
	if err != nil {
		return nil // not signed, or in another form: with keys it is refused elsewhere
	}
	const form = "20060102T150405Z"
	code := func(message string) error {
		return &denial{"InvalidSignatureException", "SignatureDoesNotMatch", message}
	}
	now = now.UTC()
	switch {
	case now.Sub(at) > maxSkew:
		return code("Signature expired: " + date + " is now earlier than " + now.Add(-maxSkew).Format(form) + " (" + now.Format(form) + " - 5 min.)")
	case at.Sub(now) > maxSkew:
		return code("Signature not yet current: " + date + " is still later than " + now.Add(maxSkew).Format(form) + " (" + now.Format(form) + " + 5 min.)")
	}
	return nil
}
