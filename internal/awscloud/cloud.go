package awscloud

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// Options choose the account and region. All may be empty: then the SDK's environment variables and
// files decide.
type Options struct {
	Region   string
	Endpoint string // e.g. http://127.0.0.1:4566; on loopback, missing credentials are replaced by dummy ones
	Profile  string
}

// Cloud is one account and region.
type Cloud struct {
	cfg   aws.Config
	Clock Clock
	hosts sync.Map // see ecsPort
}

// Open reads the configuration; it makes no call.
func Open(ctx context.Context, o Options) (*Cloud, error) {
	load := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer {
			return retry.NewAdaptiveMode(func(a *retry.AdaptiveModeOptions) {
				a.StandardOptions = append(a.StandardOptions, func(s *retry.StandardOptions) { s.MaxAttempts = 8 })
			})
		}),
		config.WithDefaultRegion("us-east-1"),
	}
	if o.Region != "" {
		load = append(load, config.WithRegion(o.Region))
	}
	if o.Profile != "" {
		load = append(load, config.WithSharedConfigProfile(o.Profile))
	}
	if o.Endpoint != "" {
		load = append(load, config.WithBaseEndpoint(o.Endpoint))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	if loopback(cmp.Or(o.Endpoint, os.Getenv("AWS_ENDPOINT_URL"))) && o.Profile == "" && os.Getenv("AWS_PROFILE") == "" && os.Getenv("AWS_ACCESS_KEY_ID") == "" {
		// The local AWS takes any; asking an absent metadata service for real ones would take seconds.
		cfg.Credentials = credentials.NewStaticCredentialsProvider("local", "local", "")
	}
	return &Cloud{cfg: cfg}, nil
}

func loopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// Region is the region the cloud talks to.
func (c *Cloud) Region() string { return c.cfg.Region }

// Clock is the machine's clock, for the engines.
type Clock struct{}

// Now is the time.
func (Clock) Now() time.Time { return time.Now() }

// Wait waits for d or the end of the context.
func (Clock) Wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
