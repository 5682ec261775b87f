package connect

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"time"
)

// What the proxy does with requests where the port mapping's appProtocol says that it carries some.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect-concepts-deploy.html
const (
	attempts          = 2 // the second avoids the task of the first
	defaultPerRequest = 15 * time.Second
	defaultIdle       = 5 * time.Minute
	defaultIdleTCP    = time.Hour
)

// settings are how a port passes on what comes.
type settings struct {
	protocol   string        // http, http2 or grpc; empty: TCP
	perRequest time.Duration // 0: no limit
	idle       time.Duration // 0: no limit
}

// errNotReached is that no task accepted a connection: nothing was sent.
var errNotReached = errors.New("no task accepts a connection")

// handler balances requests, not connections: a client that keeps its connection reaches all tasks.
func (p *port) handler(s settings) http.Handler {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(s.protocol == "http")
	protocols.SetUnencryptedHTTP2(s.protocol != "http")
	transport := &http.Transport{Protocols: protocols, DisableCompression: true, IdleConnTimeout: s.idle,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, errors.Join(errNotReached, err)
			}
			return c, nil
		}}
	proxy := &httputil.ReverseProxy{
		Transport:     roundTripper(func(r *http.Request) (*http.Response, error) { return p.send(r, transport) }),
		FlushInterval: -1, // streams go on as they come
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "task", r.In.Host
			for _, h := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if v, ok := r.In.Header[h]; ok { // it is no edge: what was said stays
					r.Out.Header[h] = v
				}
			}
		},
		// The texts are Envoy's, which the proxy is.
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			status, text := http.StatusServiceUnavailable, "upstream connect error or disconnect/reset before headers"
			switch {
			case errors.Is(err, errNobody):
				text = "no healthy upstream"
			case errors.Is(err, context.DeadlineExceeded):
				status, text = http.StatusGatewayTimeout, "upstream request timeout"
			case errors.Is(err, errNotReached):
				text += ". reset reason: connection failure"
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text) // the client may have gone
			p.m.Log.Debug("a request by Service Connect failed", "at", r.Host, "status", status, "reason", err)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.perRequest > 0 && r.Header.Get("Upgrade") == "" {
			ctx, cancel := context.WithTimeout(r.Context(), s.perRequest)
			defer cancel()
			r = r.WithContext(ctx)
		}
		proxy.ServeHTTP(w, r)
	})
}

// send gives the request to the next task; where that does not accept a connection, to another one.
func (p *port) send(r *http.Request, transport http.RoundTripper) (*http.Response, error) {
	targets := p.next()
	if len(targets) == 0 {
		return nil, errNobody
	}
	var err error
	for _, target := range targets[:min(attempts, len(targets))] {
		out := r.Clone(r.Context())
		out.URL.Host = target
		if r.Body != nil && r.Body != http.NoBody {
			out.Body = io.NopCloser(r.Body) // whoever is reached reads it; its end is the proxy's
		}
		var resp *http.Response
		if resp, err = transport.RoundTrip(out); err == nil || !errors.Is(err, errNotReached) {
			return resp, err
		}
		p.hosts.failed(target, time.Now())
	}
	return nil, err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// feed is a listener whose connections are those it is given: what is accepted becomes HTTP by them.
type feed struct {
	at    net.Addr
	conns chan net.Conn
	done  chan struct{}
}

func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.done:
		return nil, net.ErrClosed
	}
}

func (f *feed) Close() error   { return nil }
func (f *feed) Addr() net.Addr { return f.at }
