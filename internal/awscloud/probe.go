package awscloud

import (
	"context"
	"io"
	"net/http"
	"time"
)

// Probe makes the requests of smoke tests.
type Probe struct{}

// probeTimeout bounds one request; probeBody is how much of the answer is looked at.
const (
	probeTimeout = 10 * time.Second
	probeBody    = 1 << 20
)

// Get asks url; host, where given, is the Host header.
func (Probe) Get(ctx context.Context, url, host string) (int, string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if host != "" {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, probeBody))
	return resp.StatusCode, string(body), err
}
