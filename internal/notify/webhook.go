package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/pipeline"
	"github.com/slipway-ecs/slipway/internal/service"
)

// escapes are the three characters Slack's text gives a meaning to.
// https://docs.slack.dev/messaging/formatting-message-text#escaping
var escapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// slack sends {"text": …}, which Slack, Mattermost, Rocket.Chat and others take.
func (n *Notifier) slack(ctx context.Context, to service.Notice, e pipeline.Event) (func(context.Context) error, error) {
	m := messageOf(e)
	for v, i := reflect.ValueOf(&m).Elem(), 0; i < v.NumField(); i++ { // what is in the template may use Slack's forms
		v.Field(i).SetString(escapes.Replace(v.Field(i).String()))
	}
	text, err := render(to.Name, to.Template, defaultText, m)
	if err != nil {
		return nil, err
	}
	return n.post(ctx, to.Slack, "", "", map[string]string{"text": text})
}

// event is what a webhook gets. Fields are only ever added.
type event struct {
	ID          string `json:"id"` // the same for a notice that is sent again
	Event       string `json:"event"`
	Service     string `json:"service"`
	Environment string `json:"environment,omitempty"`
	Stage       string `json:"stage,omitempty"`
	Release     string `json:"release,omitempty"`
	Commit      string `json:"commit,omitempty"`
	Digest      string `json:"digest,omitempty"`
	Author      string `json:"author,omitempty"`
	By          string `json:"by,omitempty"`
	Reason      string `json:"reason,omitempty"`
	URL         string `json:"url,omitempty"`
	BuildURL    string `json:"buildUrl,omitempty"`
	Text        string `json:"text"`
}

func (n *Notifier) webhook(ctx context.Context, to service.Notice, e pipeline.Event) (func(context.Context) error, error) {
	m := messageOf(e)
	text, err := render(to.Name, to.Template, defaultText, m)
	if err != nil {
		return nil, err
	}
	return n.post(ctx, to.Webhook, to.Token, id(e), event{ID: id(e), Event: m.Event, Service: m.Service, Environment: m.Environment, Stage: m.Stage, Release: m.Release, Commit: m.Commit,
		Digest: m.Digest, Author: m.Author, By: m.By, Reason: m.Reason, URL: m.URL, BuildURL: m.BuildURL, Text: text})
}

// post reads where to and makes the request.
func (n *Notifier) post(ctx context.Context, address, token, key string, body any) (func(context.Context) error, error) {
	to, err := n.Secret(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("reading the address from %s: %w", address, err)
	}
	u, err := url.Parse(strings.TrimSpace(to))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, fmt.Errorf("what %s holds is not a web address", address) // it may be a secret: not shown
	}
	bearer := ""
	if token != "" {
		if bearer, err = n.Secret(ctx, token); err != nil {
			return nil, fmt.Errorf("reading the token from %s: %w", token, err)
		}
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("writing the notice: %w", err)
	}
	client := n.HTTP
	if client == nil {
		client = &http.Client{Timeout: 10 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(data))
		if err != nil {
			return fmt.Errorf("what %s holds is not a web address", address)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", "slipway")
		if bearer != "" {
			req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(bearer))
		}
		if key != "" {
			req.Header.Set("Idempotency-Key", key)
		}
		resp, err := client.Do(req)
		if err != nil {
			if shown := (*url.Error)(nil); errors.As(err, &shown) {
				err = shown.Err // without the address, which is a secret
			}
			return &retryError{err: fmt.Errorf("posting to %s: %w", u.Hostname(), err)}
		}
		defer func() { _ = resp.Body.Close() }()
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		if resp.StatusCode/100 == 2 {
			return nil
		}
		err = fmt.Errorf("posting to %s: it answered %s", u.Hostname(), resp.Status)
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
			seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
			return &retryError{err: err, after: time.Duration(min(max(seconds, 0), 30)) * time.Second}
		}
		return err
	}, nil
}
