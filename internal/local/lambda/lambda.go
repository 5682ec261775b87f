// Package lambda calls Lambda functions for the local AWS, which has no Lambda of its own: at an
// endpoint somebody names, such as that of `sam local start-lambda`.
package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client invokes functions at an endpoint that speaks Lambda's Invoke.
//
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
type Client struct {
	Endpoint string // http://127.0.0.1:3001; "": there is none
	HTTP     *http.Client
}

const (
	longestCall   = 15 * time.Minute // Lambda's own limit
	largestAnswer = 6 << 20          // Lambda's own limit, bytes
	callBackDelay = 30 * time.Second
)

// Call invokes a lifecycle hook of a deployment and returns what the function says: SUCCEEDED,
// FAILED or IN_PROGRESS, and after how long an IN_PROGRESS one wants to be called again.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-lifecycle-hooks.html
func (c *Client) Call(ctx context.Context, function string, payload []byte) (status string, again time.Duration, err error) {
	if c.Endpoint == "" {
		return "", 0, fmt.Errorf("not supported: calling %s, as this local AWS has no Lambda; name an endpoint with AWS_ENDPOINT_URL_LAMBDA, or use a PAUSE hook", function)
	}
	name := function
	if _, rest, ok := strings.Cut(function, ":function:"); ok {
		name, _, _ = strings.Cut(rest, ":") // a version or alias follows
	}
	ctx, cancel := context.WithTimeout(ctx, longestCall)
	defer cancel()
	to := strings.TrimSuffix(c.Endpoint, "/") + "/2015-03-31/functions/" + url.PathEscape(name) + "/invocations"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(payload))
	if err != nil {
		return "", 0, fmt.Errorf("invoking %s: %w", name, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Amz-Invocation-Type", "RequestResponse")
	web := c.HTTP
	if web == nil {
		web = http.DefaultClient
	}
	resp, err := web.Do(req)
	if err != nil {
		return "", 0, fmt.Errorf("invoking %s: %w", name, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, largestAnswer))
	if err != nil {
		return "", 0, fmt.Errorf("reading the answer of %s: %w", name, err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Amz-Function-Error") != "" {
		return "", 0, fmt.Errorf("invoking %s: it answered %s %s", name, resp.Status, resp.Header.Get("X-Amz-Function-Error"))
	}
	var out struct {
		HookStatus    string   `json:"hookStatus"`
		CallBackDelay *float64 `json:"callBackDelay"` // seconds
	}
	if err := json.Unmarshal(body, &out); err != nil {
		return "", 0, fmt.Errorf("reading the answer of %s: %w", name, err)
	}
	switch out.HookStatus {
	case "SUCCEEDED", "FAILED", "IN_PROGRESS":
	default:
		return "", 0, fmt.Errorf("%s answered hookStatus %q: not SUCCEEDED, FAILED or IN_PROGRESS", name, out.HookStatus)
	}
	again = callBackDelay
	if out.CallBackDelay != nil {
		again = time.Duration(*out.CallBackDelay * float64(time.Second))
	}
	return out.HookStatus, again, nil
}
