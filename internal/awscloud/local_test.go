package awscloud

import (
	"context"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/local"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
)

// open reaches the endpoint of SLIPWAY_TEST_ENDPOINT, or a local AWS of the test's own:
//
//	SLIPWAY_TEST_ENDPOINT=http://127.0.0.1:4566 go test ./internal/awscloud
func open(t *testing.T) *Cloud {
	t.Helper()
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	url := os.Getenv("SLIPWAY_TEST_ENDPOINT")
	if url == "" {
		url = startLocalWith(t, "virtual", 30)
	}
	return openAt(t, url)
}

func openAt(t *testing.T, url string) *Cloud {
	t.Helper()
	c, err := Open(context.Background(), Options{Region: "us-east-1", Endpoint: url})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// startLocalWith runs a local AWS until the test ends.
func startLocalWith(t *testing.T, runtime string, speed float64) string {
	t.Helper()
	return startLocalOf(t, local.Config{Runtime: runtime, Speed: speed})
}

func startLocalOf(t *testing.T, cfg local.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	aws, err := local.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	server, ended := &http.Server{Handler: aws, ReadHeaderTimeout: time.Minute}, make(chan error, 1)
	go func() { ended <- aws.Run(ctx) }()
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the local AWS ended with %v", err)
		}
		_ = server.Close()
	})
	return "http://" + l.Addr().String()
}

func TestMain(m *testing.M) {
	sandbox.MaybeInit() // does not return in a container's first process
	os.Exit(m.Run())
}
