package lambda

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestCall(t *testing.T) {
	answer, code, failed := `{"hookStatus":"SUCCEEDED"}`, 200, ""
	var path, body string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		path, body = r.URL.Path, string(b)
		if failed != "" {
			w.Header().Set("X-Amz-Function-Error", failed)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, answer)
	}))
	defer srv.Close()
	c := &Client{Endpoint: srv.URL}
	const function = "arn:aws:lambda:us-east-1:000000000000:function:approve:7"
	status, _, err := c.Call(t.Context(), function, []byte(`{"a":1}`))
	if err != nil || status != "SUCCEEDED" || path != "/2015-03-31/functions/approve/invocations" || body != `{"a":1}` {
		t.Errorf("%s %v, path %s, body %s", status, err, path, body)
	}
	answer = `{"hookStatus":"IN_PROGRESS","callBackDelay":5}`
	if status, again, err := c.Call(t.Context(), function, nil); status != "IN_PROGRESS" || again != 5*time.Second || err != nil {
		t.Errorf("%s %v %v", status, again, err)
	}
	for _, x := range []struct {
		answer, failed, want string
		code                 int
	}{
		{`{}`, "", "not SUCCEEDED", 200},
		{`{"hookStatus":"SUCCEEDED"}`, "Unhandled", "Unhandled", 200},
		{``, "", "404", 404},
		{`no`, "", "reading the answer", 200},
	} {
		answer, code, failed = x.answer, x.code, x.failed
		if _, _, err := c.Call(t.Context(), function, nil); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v: %v", x, err)
		}
	}
	if _, _, err := (&Client{}).Call(t.Context(), function, nil); err == nil || !strings.Contains(err.Error(), "AWS_ENDPOINT_URL_LAMBDA") {
		t.Errorf("without an endpoint: %v", err)
	}
}
