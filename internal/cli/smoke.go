package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

// smokeTest makes one request and checks the answer; it tells what it saw.
func smokeTest(ctx context.Context, url, host string, want service.Smoke) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	if host != "" {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	status := want.Status
	if status == 0 {
		status = http.StatusOK
	}
	if resp.StatusCode != status {
		return "", fmt.Errorf("GET %s answered %s, not %d", url, resp.Status, status)
	}
	if !strings.Contains(string(body), want.Contains) {
		return "", fmt.Errorf("the answer of GET %s does not contain %q", url, want.Contains)
	}
	return fmt.Sprintf("GET %s answered %s", url, resp.Status), nil
}
