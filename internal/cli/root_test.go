package cli

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
)

// Who has a local AWS's address in the environment, and no local AWS, is told what to do; whose service refuses is not.
func TestHint(t *testing.T) {
	refused := func(url string) error {
		return fmt.Errorf("reading service web: Post %q: %w", url, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED})
	}
	if got := hint(refused("http://127.0.0.1:4566/"), "http://127.0.0.1:4566"); !strings.Contains(got, "slipway local up") || !strings.Contains(got, "http://127.0.0.1:4566") {
		t.Errorf("%q", got)
	}
	for _, c := range []struct {
		err      error
		endpoint string
	}{{refused("http://127.66.0.1:8080/"), "http://127.0.0.1:4566"}, {refused("http://127.0.0.1:4566/"), ""}, {errors.New("127.0.0.1:4566: no"), "http://127.0.0.1:4566"}, {refused("x"), "::"}} {
		if got := hint(c.err, c.endpoint); got != "" {
			t.Errorf("%v at %q: %q", c.err, c.endpoint, got)
		}
	}
}
