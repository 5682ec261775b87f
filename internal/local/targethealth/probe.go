package targethealth

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
)

// Probe checks addr once; nil is a pass. The deadline of ctx is the check's time-out.
func Probe(ctx context.Context, c *Check, addr string) *Failure {
	if addr == "" {
		return &failed
	}
	if c.Protocol == "TCP" {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return failure(err)
		}
		_ = conn.Close() // nothing was said on it
		return nil
	}
	return c.http(ctx, addr)
}

func (c *Check) http(ctx context.Context, addr string) *Failure {
	tr := &http.Transport{DisableKeepAlives: true, Protocols: new(http.Protocols)}
	defer tr.CloseIdleConnections()
	scheme, grpc := "http", c.ProtocolVersion == "GRPC"
	switch {
	case c.Protocol == "HTTPS":
		// A load balancer does not check the certificates of its targets.
		tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
		scheme = "https"
		tr.Protocols.SetHTTP1(!grpc)
		tr.Protocols.SetHTTP2(c.ProtocolVersion == "HTTP2" || grpc)
	case c.ProtocolVersion == "HTTP2" || grpc:
		tr.Protocols.SetUnencryptedHTTP2(true)
	default:
		tr.Protocols.SetHTTP1(true)
	}
	method, body := http.MethodGet, io.Reader(nil)
	if grpc { // one empty message
		method, body = http.MethodPost, bytes.NewReader(make([]byte, 5))
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+addr+c.Path, body)
	if err != nil {
		return &failed
	}
	req.Header.Set("User-Agent", "ELB-HealthChecker/2.0")
	if grpc {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
	} else {
		req.Header.Set("Accept-Encoding", "gzip, compressed")
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return failure(err)
	}
	defer resp.Body.Close()
	code := resp.StatusCode
	if grpc && code == http.StatusOK {
		if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil {
			return failure(err)
		}
		text := resp.Trailer.Get("Grpc-Status")
		if text == "" {
			text = resp.Header.Get("Grpc-Status")
		}
		if code, err = strconv.Atoi(text); err != nil {
			return &failed
		}
	}
	if c.Match == nil || !c.Match(code) {
		return &Failure{"Target.ResponseCodeMismatch", fmt.Sprintf("Health checks failed with these codes: [%d]", code)}
	}
	return nil
}

var (
	failed   = Failure{"Target.FailedHealthChecks", "Health checks failed"}
	timedOut = Failure{"Target.Timeout", "Request timed out"}
)

func failure(err error) *Failure {
	var ne net.Error
	if errors.Is(err, syscall.ECONNREFUSED) {
		return &failed
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout() {
		return &timedOut
	}
	return &failed
}
