package images

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/web"
)

// What waits for approval is seen and approved at the dashboard, by the program's own pages; then it may
// be promoted, and is not before.
func TestDashboard(t *testing.T) {
	w := newWorks(t)
	definition := strings.Replace(fmt.Sprintf(worksDefinition, w.uri), "approvals: 0", "approvals: 1", 1)
	if err := os.WriteFile(filepath.Join(w.dir, "slipway.yaml"), []byte(definition), 0o600); err != nil {
		t.Fatal(err)
	}
	d := w.release(commitA, "v1")
	w.slipway("deploy", "qa1", "--image", "v1")

	board := w.start("ann@example.com", "dashboard", "--port", "0", "--interval", "1s")
	defer board.kill()
	var address string
	localtest.Eventually(t, "the dashboard says where it is", func() bool {
		address = regexp.MustCompile(`http://\S+`).FindString(board.said.String())
		return address != ""
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	read := func(r *http.Response, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v\n%s", r.Status, err, body)
		}
		return string(body)
	}
	base, _, _ := strings.Cut(address, "/?key=")
	if home := read(browser.Get(address)); !strings.Contains(home, "waits for approval") {
		t.Errorf("the first page:\n%s", home)
	}
	picture := func() (p web.Picture) {
		t.Helper()
		if err := json.Unmarshal([]byte(read(browser.Get(base+"/picture.json"))), &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := picture()
	envs := map[string]web.Environment{}
	for _, e := range p.Services[0].Environments {
		envs[e.Name] = e
	}
	if qa := envs["qa1"]; qa.State != web.Serving || qa.Digest != string(d) || qa.Release != "aaaaaaa" || qa.Running != 1 || len(qa.Tasks) == 0 {
		t.Errorf("qa1 is shown as %+v", qa)
	}
	next := envs["prod"].Next
	if envs["prod"].State != web.Absent || next == nil || !next.Asks || next.Digest != string(d) {
		t.Fatalf("prod is shown as %+v", envs["prod"])
	}
	if len(p.Clusters) != 1 || len(p.Clusters[0].Instances) != 1 || p.Clusters[0].CPU.Used != 16 || p.Clusters[0].Problem != "" {
		t.Errorf("the cluster is shown as %+v", p.Clusters)
	}

	if r := w.start("ci@example.com", "promote", "--from", "qa1", "--to", "prod"); r.wait() != cli.ExitRefused {
		t.Errorf("promoted without approval:\n%s", r.said.String())
	}
	target := base + "/services/app/environments/prod/verdict"
	if r, err := browser.PostForm(target, url.Values{"verdict": {"approve"}, "digest": {"sha256:" + strings.Repeat("0", 64)}}); err != nil || r.StatusCode != http.StatusConflict {
		t.Errorf("an image nobody knows: %v %v", r.Status, err)
	}
	after := read(browser.PostForm(target, url.Values{"verdict": {"approve"}, "digest": {next.Digest}, "note": {"tested by hand"}}))
	for _, want := range []string{"approved-for <b>prod</b>", "ann@example.com", "tested by hand", "Nothing stands against it here"} {
		if !strings.Contains(after, want) {
			t.Errorf("after the approval the page does not say %q", want)
		}
	}
	w.slipway("promote", "--from", "qa1", "--to", "prod")
	w.settled(t, image.Digest(next.Digest), commitA)

	_ = syscall.Kill(board.cmd.Process.Pid, syscall.SIGINT)
	if code := board.wait(); code != cli.ExitOK {
		t.Errorf("after Ctrl-C it ends with %d:\n%s", code, board.said.String())
	}
}
