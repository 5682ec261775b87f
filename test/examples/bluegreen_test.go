package examples

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// The traffic moves from one version to the other, whole and without a failed request; one that does
// not come up gets none of it.
func bluegreen(t *testing.T, s *stage) {
	e := s.example(t, "bluegreen")
	version := func(v string) { e.target.Spec.Containers[0].Env = map[string]string{"VERSION": v} }
	version("blue")
	out := e.apply()
	if code, body := request(t, "GET", out.URL, ""); code != 200 || body != "blue\n" {
		t.Fatalf("%s answers %d %q", out.URL, code, body)
	}
	stop, answers := make(chan struct{}), make(chan []string)
	go func() { // every change of the answer
		var seen []string
		for {
			select {
			case <-stop:
				answers <- seen
				return
			case <-time.After(5 * time.Millisecond):
			}
			said := ""
			if resp, err := http.Get(out.URL); err != nil {
				said = err.Error()
			} else {
				text := make([]byte, 100)
				n, _ := resp.Body.Read(text) // a few bytes, in one read
				said = strings.TrimSpace(string(text[:n]))
				resp.Body.Close()
			}
			if len(seen) == 0 || seen[len(seen)-1] != said {
				seen = append(seen, said)
			}
		}
	}()
	version("green")
	e.apply()
	version("blue")
	e.apply()
	close(stop)
	if seen := <-answers; strings.Join(seen, " ") != "blue green blue" {
		t.Errorf("the answers were %q", seen)
	}
	o, err := s.cloud.Deploy().Read(t.Context(), e.target.Ref())
	if err != nil || o.Spec.Deployment.Strategy != "BLUE_GREEN" || o.Spec.Deployment.BakeTime != time.Minute || o.Rule == nil {
		t.Errorf("read: %+v, %v", o.Spec.Deployment, err)
	}
	good := e.target.Image
	e.target.Image = good[:strings.Index(good, "@")] + "@sha256:" + strings.Repeat("0", 64)
	_, err = s.cloud.Deploy().Apply(t.Context(), e.target, e.report)
	if f, ok := err.(*deploy.Failure); !ok || !f.RolledBack || f.Diagnosis.Cause != deploy.CauseImageMissing {
		t.Errorf("a missing image: %v", err)
	}
	if code, body := request(t, "GET", out.URL, ""); code != 200 || body != "blue\n" {
		t.Errorf("after the rollback it answers %d %q", code, body)
	}
	e.target.Image = good
	e.delete()
}
