package awscloud

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Options choose the account and region. All may be empty: then the SDK's environment variables and
// files decide.
type Options struct {
	Region   string
	Endpoint string // e.g. http://127.0.0.1:4566; on loopback, missing credentials are replaced by dummy ones
	Profile  string
	HTTP     aws.HTTPClient // nil: the SDK's
}

// Cloud is one account and region.
type Cloud struct {
	cfg   aws.Config
	Clock Clock
	hosts sync.Map // see ecsPort

	tokens registryTokens
}

// Open reads the configuration; it makes no call.
func Open(ctx context.Context, o Options) (*Cloud, error) {
	here := loopback(cmp.Or(o.Endpoint, os.Getenv("AWS_ENDPOINT_URL")))
	load := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer {
			adaptive := retry.NewAdaptiveMode(func(a *retry.AdaptiveModeOptions) {
				a.StandardOptions = append(a.StandardOptions, func(s *retry.StandardOptions) {
					s.MaxAttempts = 8
					s.Retryables = append(s.Retryables, retry.IsErrorRetryableFunc(cutOff))
				})
			})
			if here {
				return soon{adaptive}
			}
			return adaptive
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
	clock := Clock{skew: new(atomic.Int64)}
	load = append(load, config.WithAPIOptions([]func(*middleware.Stack) error{clock.follow}))
	// The SDK would write its own remarks between a command's lines; errors are returned all the same.
	load = append(load, config.WithLogger(logging.Nop{}))
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, fmt.Errorf("reading the AWS configuration: %w", err)
	}
	if o.HTTP != nil {
		cfg.HTTPClient = o.HTTP
	}
	if here && o.Profile == "" && os.Getenv("AWS_PROFILE") == "" && os.Getenv("AWS_ACCESS_KEY_ID") == "" {
		// The local AWS takes any; asking an absent metadata service for real ones would take seconds.
		cfg.Credentials = credentials.NewStaticCredentialsProvider("local", "local", "")
	}
	return &Cloud{cfg: cfg, Clock: clock}, nil
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

// Clock is AWS's clock, for the engines: the machine's, put right by the times AWS answers with. What AWS
// dates (a registration, the end of a protection) is compared with AWS's time.
type Clock struct{ skew *atomic.Int64 }

// tolerated is how far the machine's clock may be off before it is put right: AWS tells whole seconds.
const tolerated = 2 * time.Second

// Now is the time.
func (c Clock) Now() time.Time {
	now := time.Now()
	if c.skew != nil {
		now = now.Add(time.Duration(c.skew.Load()))
	}
	return now
}

// follow makes each answer set the clock.
func (c Clock) follow(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("slipwayClock", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, meta, err := next.HandleDeserialize(ctx, in)
		if resp, ok := out.RawResponse.(*smithyhttp.Response); ok && resp != nil {
			if at, bad := http.ParseTime(resp.Header.Get("Date")); bad == nil {
				skew := time.Until(at)
				if skew.Abs() < tolerated {
					skew = 0
				}
				c.skew.Store(int64(skew))
			}
		}
		return out, meta, err
	}), middleware.Before)
}

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
