package registry

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// TokenLifetime is how long a token is good: 12 hours.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_AuthorizationData.html
const TokenLifetime = 12 * time.Hour

// urlLifetime is how long the address of a layer is good: an hour.
const urlLifetime = time.Hour

var (
	errNoToken = errors.New("no token, or none of this registry's")
	errExpired = errors.New("the token has expired")
)

// Tokens makes and checks authorization tokens. They carry the account they were given to, and nothing
// of them is stored but the key that signs them.
type Tokens struct {
	key []byte
	now func() time.Time
}

// NewTokens makes Tokens that expire by now and are good as long as the process.
func NewTokens(now func() time.Time) *Tokens {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return &Tokens{key, now}
}

// OpenTokens is NewTokens with the key in a file, which is made if it is missing: who has logged in
// stays so when the registry starts again.
func OpenTokens(file string, now func() time.Time) (*Tokens, error) {
	key, err := os.ReadFile(file)
	if err == nil && len(key) == 32 {
		return &Tokens{key, now}, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the key of the registry's tokens: %w", err)
	}
	t := NewTokens(now)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("keeping the key of the registry's tokens: %w", err)
	}
	if err := os.WriteFile(file, t.key, 0o600); err != nil {
		return nil, fmt.Errorf("keeping the key of the registry's tokens: %w", err)
	}
	return t, nil
}

// Issue returns a password for the user AWS and when it expires.
func (t *Tokens) Issue(account string) (password string, expires time.Time) {
	return t.IssueTo(Caller{Account: account})
}

// IssueTo is Issue for a user or role of an account.
func (t *Tokens) IssueTo(c Caller) (password string, expires time.Time) {
	expires = t.now().Add(TokenLifetime).Truncate(time.Millisecond)
	text := c.Account + ":" + strconv.FormatInt(expires.Unix(), 10) + ":" + base64.RawURLEncoding.EncodeToString([]byte(c.Principal+" "+c.Key))
	return base64.RawURLEncoding.EncodeToString([]byte(text + ":" + t.sign(text))), expires
}

func (t *Tokens) sign(text string) string {
	m := hmac.New(sha256.New, t.key)
	m.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// check returns who a password was issued to.
func (t *Tokens) check(password string) (Caller, error) {
	raw, err := base64.RawURLEncoding.DecodeString(password)
	if err != nil {
		return Caller{}, errNoToken
	}
	text, mac, ok := cutLast(string(raw))
	parts := strings.Split(text, ":")
	if !ok || len(parts) != 3 || !hmac.Equal([]byte(mac), []byte(t.sign(text))) {
		return Caller{}, errNoToken
	}
	sec, err := strconv.ParseInt(parts[1], 10, 64)
	principal, err2 := base64.RawURLEncoding.DecodeString(parts[2])
	switch {
	case err != nil || err2 != nil:
		return Caller{}, errNoToken
	case t.now().Unix() >= sec:
		return Caller{}, errExpired
	}
	arn, key, _ := strings.Cut(string(principal), " ") // neither holds a space
	return Caller{Account: parts[0], Principal: arn, Key: key}, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

const (
	queryExpires   = "X-Amz-Expires"
	querySignature = "X-Amz-Signature"
)

// SignPath is path with a query that lets anybody read it for an hour.
func (t *Tokens) SignPath(path string) string {
	expires := strconv.FormatInt(t.now().Add(urlLifetime).Unix(), 10)
	return path + "?" + url.Values{queryExpires: {expires}, querySignature: {t.sign("GET " + path + " " + expires)}}.Encode()
}

// signedPath tells whether a request is for an address that SignPath made.
func (t *Tokens) signedPath(r *http.Request) bool {
	q := r.URL.Query()
	expires := q.Get(queryExpires)
	sec, err := strconv.ParseInt(expires, 10, 64)
	return err == nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) && t.now().Unix() < sec &&
		hmac.Equal([]byte(q.Get(querySignature)), []byte(t.sign("GET "+r.URL.Path+" "+expires)))
}
