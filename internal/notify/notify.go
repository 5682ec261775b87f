// Package notify tells people how deliveries go: by Slack-compatible webhooks, webhooks that take JSON,
// and mail. Addresses and passwords are read where they are kept, when they are needed, and are never
// part of an error.
package notify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"text/template"
	"time"

	"crypto/tls"

	"github.com/slipway-ecs/slipway/internal/pipeline"
	"github.com/slipway-ecs/slipway/internal/service"
)

// Secret reads what a reference such as env:CHAT_URL stands for.
type Secret func(ctx context.Context, reference string) (string, error)

// Tries of each notice and the longest time they take together: a pipeline does not stand still because
// a chat does not answer.
const (
	Tries   = 5
	Longest = time.Minute
)

// Notifier tells an event to everyone who wants to know. It implements pipeline.Notifier.
type Notifier struct {
	Notices []service.Notice
	Secret  Secret
	HTTP    *http.Client // nil = a client that follows no redirect
	TLS     *tls.Config  // of mail servers; nil = the system's roots
	// Wait is the pause between tries; nil = until the context ends at most.
	Wait func(ctx context.Context, d time.Duration) error
	// Report is told what was sent and what could not be.
	Report func(notice, event string, err error)
}

var _ pipeline.Notifier = (*Notifier)(nil)

// Notify implements pipeline.Notifier. All are told at the same time.
func (n *Notifier) Notify(ctx context.Context, e pipeline.Event) {
	ctx, cancel := context.WithTimeout(ctx, Longest)
	defer cancel()
	var all sync.WaitGroup
	for _, to := range n.Notices {
		if !slices.Contains(to.On, e.Kind) {
			continue
		}
		all.Go(func() {
			err := n.deliver(ctx, to, e)
			if n.Report != nil {
				n.Report(to.Name, e.Kind, err)
			}
		})
	}
	all.Wait()
}

func (n *Notifier) deliver(ctx context.Context, to service.Notice, e pipeline.Event) error {
	send, err := n.sender(ctx, to, e)
	if err != nil {
		return err
	}
	pause := time.Second
	for try := 1; ; try++ {
		err := send(ctx)
		var again *retryError
		if err == nil || !errors.As(err, &again) || try == Tries {
			if err != nil && try > 1 {
				err = fmt.Errorf("after %d tries: %w", try, err)
			}
			return err
		}
		if waited := n.wait(ctx, max(pause, again.after)); waited != nil {
			return fmt.Errorf("after %d tries: %w", try, err)
		}
		pause *= 2
	}
}

func (n *Notifier) wait(ctx context.Context, d time.Duration) error {
	if n.Wait != nil {
		return n.Wait(ctx, d)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// retryError is a failure that may pass.
type retryError struct {
	err   error
	after time.Duration // not before; 0 = as we like
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

func (n *Notifier) sender(ctx context.Context, to service.Notice, e pipeline.Event) (func(context.Context) error, error) {
	switch {
	case to.SMTP != "":
		return n.mail(ctx, to, e)
	case to.Slack != "":
		return n.slack(ctx, to, e)
	}
	return n.webhook(ctx, to, e)
}

// message is what templates see.
type message struct {
	Event, Service, Environment, Stage, Release, Commit, Digest, By, Reason, BuildURL, URL, Author string
}

func messageOf(e pipeline.Event) message {
	return message{Event: e.Kind, Service: e.Service, Environment: e.Stage.Environment, Stage: e.Stage.Name(), Release: e.Release, Commit: e.Commit, Digest: e.Digest,
		By: e.By, Reason: e.Reason, BuildURL: e.BuildURL, URL: e.URL, Author: e.Author}
}

const defaultSubject = `{{.Service}} {{.Release}}: {{if eq .Event "waiting"}}waits for approval for {{.Environment}}{{else if eq .Event "failed"}}{{.Stage}} failed{{else}}{{.Event}}{{end}}`

const defaultText = defaultSubject + `{{with .By}} by {{.}}{{end}}{{with .Reason}}
{{.}}{{end}}{{with .URL}}
{{.}}{{end}}{{with .BuildURL}}
{{.}}{{end}}`

func render(name, text, standard string, m message) (string, error) {
	if text == "" {
		text = standard
	}
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err != nil {
		return "", fmt.Errorf("reading the template: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, m); err != nil {
		return "", fmt.Errorf("filling in the template: %w", err)
	}
	return strings.TrimSpace(b.String()), nil
}

// CheckTemplate says what is wrong with a notice's templates.
func CheckTemplate(text string) error {
	_, err := render("notice", text, "", message{})
	return err
}

// id is the same for the same event of the same delivery, so that receivers can tell a second notice
// of it: a run that is killed and started again tells again.
func id(e pipeline.Event) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{e.Service, e.Commit, e.Kind, e.Stage.Name(), e.By}, "\x00")))
	return hex.EncodeToString(sum[:16])
}
