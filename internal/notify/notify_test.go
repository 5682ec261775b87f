package notify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/notify"
	"github.com/slipway-ecs/slipway/internal/notify/notifytest"
	"github.com/slipway-ecs/slipway/internal/pipeline"
	"github.com/slipway-ecs/slipway/internal/service"
)

var waiting = pipeline.Event{Kind: "waiting", Stage: pipeline.Stage{Kind: pipeline.Approve, Environment: "prod"}, Reason: "0 of 1 approvals; say <yes> & go",
	Delivery: pipeline.Delivery{Service: "shop", Release: "v1.2", Commit: "c0ffee", Digest: "sha256:abc", BuildURL: "https://ci.example.com/7"}}

// teller is a notifier whose secrets are a map and whose pauses are noted, not made.
type teller struct {
	notify.Notifier
	mu     sync.Mutex
	pauses []time.Duration
	said   map[string]error
}

func newTeller(secrets map[string]string, notices ...service.Notice) *teller {
	t := &teller{said: map[string]error{}}
	for i := range notices {
		if notices[i].On == nil {
			notices[i].On = service.NoticeEvents
		}
	}
	t.Notices = notices
	t.Secret = func(_ context.Context, ref string) (string, error) {
		if v, ok := secrets[ref]; ok {
			return v, nil
		}
		return "", errors.New("it is not there")
	}
	t.Wait = func(ctx context.Context, d time.Duration) error {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.pauses = append(t.pauses, d)
		return ctx.Err()
	}
	t.Report = func(name, _ string, err error) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.said[name] = err
	}
	return t
}

func TestWebhooks(t *testing.T) {
	web := notifytest.StartWeb(t)
	n := newTeller(map[string]string{"env:CHAT": web.URL + "/chat/s3cret\n", "env:HOOK": web.URL + "/hook", "env:TOKEN": "t0ken"},
		service.Notice{Name: "chat", Slack: "env:CHAT"}, service.Notice{Name: "hook", Webhook: "env:HOOK", Token: "env:TOKEN", Template: "{{.Stage}} of {{.Service}}"},
		service.Notice{Name: "later", Slack: "env:CHAT", On: []string{"delivered"}})
	n.Notify(t.Context(), waiting)
	posts := map[string]notifytest.Post{}
	for _, p := range web.Posts() {
		posts[p.Path] = p
	}
	if len(posts) != 2 || len(web.Posts()) != 2 {
		t.Fatalf("received %+v", web.Posts())
	}
	var chat struct{ Text string }
	if err := json.Unmarshal([]byte(posts["/chat/s3cret"].Body), &chat); err != nil {
		t.Fatal(err)
	}
	if want := "shop v1.2: waits for approval for prod\n0 of 1 approvals; say &lt;yes&gt; &amp; go\nhttps://ci.example.com/7"; chat.Text != want {
		t.Errorf("chat got %q, want %q", chat.Text, want)
	}
	hook := posts["/hook"]
	var got map[string]string
	if err := json.Unmarshal([]byte(hook.Body), &got); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"event": "waiting", "service": "shop", "environment": "prod", "stage": "approve-prod", "release": "v1.2", "commit": "c0ffee", "digest": "sha256:abc",
		"reason": "0 of 1 approvals; say <yes> & go", "buildUrl": "https://ci.example.com/7", "text": "approve-prod of shop"} {
		if got[k] != want {
			t.Errorf("hook's %s is %q, want %q", k, got[k], want)
		}
	}
	if hook.Header.Get("Authorization") != "Bearer t0ken" || hook.Header.Get("Idempotency-Key") != got["id"] || got["id"] == "" {
		t.Errorf("hook's headers are %v", hook.Header)
	}
	n.Notify(t.Context(), waiting)
	if again := web.Posts()[3]; again.Path == "/hook" && again.Header.Get("Idempotency-Key") != got["id"] {
		t.Error("the same event has another id the second time")
	}
}

func TestWebhookRetries(t *testing.T) {
	for name, tt := range map[string]struct {
		answers []int
		taken   int
		fault   string
		pauses  int
	}{
		"busy for a while": {[]int{503, 429, 500}, 1, "", 3},
		"busy for good":    {[]int{503, 503, 503, 503, 503}, 0, "after 5 tries: posting to 127.0.0.1: it answered 503", 4},
		"refused":          {[]int{404}, 0, "posting to 127.0.0.1: it answered 404", 0},
		"moved":            {[]int{302}, 0, "it answered 302", 0},
	} {
		t.Run(name, func(t *testing.T) {
			web := notifytest.StartWeb(t)
			web.Answer(tt.answers...)
			n := newTeller(map[string]string{"env:CHAT": web.URL + "/s3cret"}, service.Notice{Name: "chat", Slack: "env:CHAT"})
			n.Notify(t.Context(), waiting)
			err := n.said["chat"]
			if len(web.Posts()) != tt.taken || len(n.pauses) != tt.pauses || (err == nil) != (tt.fault == "") || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("taken %d, pauses %v, error %v", len(web.Posts()), n.pauses, err)
			}
			for i, p := range n.pauses {
				if want := time.Second << i; p != want {
					t.Errorf("pause %d is %s, want %s", i, p, want)
				}
			}
		})
	}
}

// What is secret must not be in an error: it is printed, and CI keeps what is printed.
func TestSecretsStaySecret(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	_ = l.Close()
	for name, secret := range map[string]string{"nobody listens": "http://" + closed + "/s3cret", "no address": "s3cret", "no scheme": "ftp://host/s3cret", "control characters": "http://s3cret\x7f/"} {
		n := newTeller(map[string]string{"env:CHAT": secret}, service.Notice{Name: "chat", Slack: "env:CHAT"})
		n.Notify(t.Context(), waiting)
		if err := n.said["chat"]; err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	n := newTeller(nil, service.Notice{Name: "chat", Slack: "env:CHAT"})
	n.Notify(t.Context(), waiting)
	if err := n.said["chat"]; err == nil || !strings.Contains(err.Error(), "env:CHAT: it is not there") {
		t.Errorf("without the secret: %v", err)
	}
}

func TestMail(t *testing.T) {
	s := notifytest.StartMail(t, nil, "")
	s.Fail("451 4.3.0 later")
	n := newTeller(nil, service.Notice{Name: "mail", SMTP: s.Address, From: "Shop <shop@example.com>", To: []string{"qa@example.com", "Ann <ann@example.com>"}, TLS: "none"})
	e := waiting
	e.Reason = "wartet auf Prüfung\n.\nSubject: not a header"
	n.Notify(t.Context(), e)
	if err := n.said["mail"]; err != nil || len(s.Mails()) != 1 || len(n.pauses) != 1 {
		t.Fatalf("%v, pauses %v, mails %+v", err, n.pauses, s.Mails())
	}
	m := s.Mails()[0]
	if m.From != "shop@example.com" || strings.Join(m.To, " ") != "qa@example.com ann@example.com" || m.Subject != "shop v1.2: waits for approval for prod" || m.User != "" || m.TLS {
		t.Errorf("received %+v", m)
	}
	if want := "shop v1.2: waits for approval for prod\nwartet auf Prüfung\n.\nSubject: not a header\nhttps://ci.example.com/7"; strings.TrimSpace(m.Body) != want {
		t.Errorf("body %q, want %q", m.Body, want)
	}
	n.Notify(t.Context(), e)
	if ids := s.Mails(); ids[1].ID != m.ID || !strings.HasSuffix(m.ID, "@example.com>") {
		t.Errorf("ids %s and %s", m.ID, ids[1].ID)
	}
}

func TestMailRefused(t *testing.T) {
	s := notifytest.StartMail(t, nil, "")
	s.Fail("550 5.7.1 not from you")
	n := newTeller(nil, service.Notice{Name: "mail", SMTP: s.Address, From: "shop@example.com", To: []string{"qa@example.com"}, TLS: "none", On: []string{"waiting"}},
		service.Notice{Name: "safe", SMTP: s.Address, From: "shop@example.com", To: []string{"qa@example.com"}, TLS: "starttls", On: []string{"failed"}})
	n.Notify(t.Context(), waiting)
	if err := n.said["mail"]; err == nil || !strings.Contains(err.Error(), "550") || !strings.Contains(err.Error(), "not from you") || len(n.pauses) != 0 {
		t.Errorf("%v after pauses %v", err, n.pauses)
	}
	// A server without STARTTLS gets nothing where encryption is wanted.
	e := waiting
	e.Kind = "failed"
	n.Notify(t.Context(), e)
	if err := n.said["safe"]; err == nil || len(s.Mails()) != 0 {
		t.Errorf("%v, mails %+v", err, s.Mails())
	}
}

func TestMailWithLogin(t *testing.T) {
	cfg, roots := certificate(t)
	s := notifytest.StartMail(t, cfg, "shop\x00pa55")
	notice := service.Notice{Name: "mail", SMTP: s.Address, From: "shop@example.com", To: []string{"qa@example.com"}, TLS: "starttls", User: "env:USER", Password: "env:PASSWORD"}
	n := newTeller(map[string]string{"env:USER": "shop", "env:PASSWORD": "pa55"}, notice)
	n.TLS = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	n.Notify(t.Context(), waiting)
	if got := s.Mails(); n.said["mail"] != nil || len(got) != 1 || got[0].User != "shop" || !got[0].TLS {
		t.Fatalf("%v, mails %+v", n.said["mail"], got)
	}
	wrong := newTeller(map[string]string{"env:USER": "shop", "env:PASSWORD": "wr0ng"}, notice)
	wrong.TLS = n.TLS
	wrong.Notify(t.Context(), waiting)
	if err := wrong.said["mail"]; err == nil || strings.Contains(err.Error(), "wr0ng") || len(s.Mails()) != 1 {
		t.Errorf("with a wrong password: %v", err)
	}
	// A certificate of nobody we trust.
	n.TLS = nil
	n.Notify(t.Context(), waiting)
	if err := n.said["mail"]; err == nil || !strings.Contains(err.Error(), "certificate") || len(s.Mails()) != 1 {
		t.Errorf("with a strange certificate: %v", err)
	}
}

func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}, roots
}

func TestTemplates(t *testing.T) {
	for text, fault := range map[string]string{"{{.Service}} {{.Event}}": "", "{{.Nope}}": "can't evaluate field Nope", "{{": "unclosed action"} {
		if err := notify.CheckTemplate(text); (err == nil) != (fault == "") || err != nil && !strings.Contains(err.Error(), fault) {
			t.Errorf("%q: %v, want %q", text, err, fault)
		}
	}
}
