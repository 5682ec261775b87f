package failures

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/awscloud"
)

// between stands between a client and the local AWS. before returns AWS's error code that is answered
// instead, or ""; after is called when AWS has answered, and the client has not seen it yet.
type between struct {
	before func(op string) (code string)
	after  func(op string)
}

func (b between) start(t *testing.T, endpoint string) string {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ModifyResponse: func(r *http.Response) error {
			if b.after != nil {
				op, _ := r.Request.Context().Value(opKey{}).(string)
				b.after(op)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op := operation(r)
		if b.before != nil {
			if code := b.before(op); code != "" {
				refuse(w, r, code)
				return
			}
		}
		proxy.ServeHTTP(w, r.WithContext(withOp(r.Context(), op)))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// operation is what is asked for, in any of AWS's protocols.
func operation(r *http.Request) string {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		return target[strings.LastIndexByte(target, '.')+1:]
	}
	if _, op, ok := strings.Cut(r.URL.Path, "/operation/"); ok {
		return op
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return ""
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	return form.Get("Action")
}

func refuse(w http.ResponseWriter, r *http.Request, code string) {
	if r.Header.Get("X-Amz-Target") != "" {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":%q,"message":"%s, said on the way"}`, code, code)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(http.StatusBadRequest)
	fmt.Fprintf(w, `<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s, said on the way</Message></Error><RequestId>1</RequestId></ErrorResponse>`, code, code)
}

// writes says whether an operation changes something.
func writes(op string) bool {
	for _, read := range []string{"Describe", "List", "Get", "Filter", "BatchGet", "BatchCheck"} {
		if strings.HasPrefix(op, read) {
			return false
		}
	}
	return op != ""
}

// through reaches the local AWS by way of b.
func (s *stage) through(t *testing.T, b between) *awscloud.Cloud {
	t.Helper()
	c, err := awscloud.Open(t.Context(), awscloud.Options{Region: "us-east-1", Endpoint: b.start(t, s.aws.Endpoint)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
