package elbv2

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/balancer"
)

// FilesPath is where ServeHTTP is to be found on the local AWS's address.
const FilesPath = "/_slipway/truststores/"

// locationLifetime is how long a location is good: ten minutes.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_GetTrustStoreCaCertificatesBundle.html
const locationLifetime = 10 * time.Minute

// files makes and checks the locations of trust stores' files.
type files struct {
	address string // host:port
	key     []byte
	now     func() time.Time
}

func newFiles(address string, now func() time.Time) files {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return files{address, key, now}
}

func (f files) signature(arn, file, expires string) string {
	m := hmac.New(sha256.New, f.key)
	m.Write([]byte(arn + "\x00" + file + "\x00" + expires))
	return hex.EncodeToString(m.Sum(nil))
}

func (f files) sign(arn, file string) string {
	expires := strconv.FormatInt(f.now().Add(locationLifetime).Unix(), 10)
	return "http://" + f.address + FilesPath + "?" + url.Values{"arn": {arn}, "file": {file}, "X-Amz-Expires": {expires}, "X-Amz-Signature": {f.signature(arn, file, expires)}}.Encode()
}

func (f files) open(r *http.Request) (arn, file string, ok bool) {
	q := r.URL.Query()
	arn, file = q.Get("arn"), q.Get("file")
	expires, err := strconv.ParseInt(q.Get("X-Amz-Expires"), 10, 64)
	ok = err == nil && r.Method == http.MethodGet && f.now().Unix() < expires &&
		hmac.Equal([]byte(q.Get("X-Amz-Signature")), []byte(f.signature(arn, file, q.Get("X-Amz-Expires"))))
	return arn, file, ok
}

// trusted keeps trust stores read: a record is read once, not with every change of a target.
type trusted struct {
	mu   sync.Mutex
	read map[*TrustStore]*balancer.Clients
}

func (t *trusted) of(rec *TrustStore) *balancer.Clients {
	if c := t.read[rec]; c != nil {
		return c
	}
	if t.read == nil || len(t.read) > mostTrustStores { // records are replaced when they change
		t.read = map[*TrustStore]*balancer.Clients{}
	}
	c := rec.clients()
	t.read[rec] = c
	return c
}
