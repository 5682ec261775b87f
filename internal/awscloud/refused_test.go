package awscloud

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

// Where nothing listens on this machine, a command says so within seconds.
func TestRefusedIsGivenUpSoon(t *testing.T) {
	s := soon{retry.NewStandard()}
	refused := fmt.Errorf("sending: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	var all time.Duration
	for attempt := range 8 {
		d, err := s.RetryDelay(attempt, refused)
		if err != nil || d <= 0 || d > longestRefused {
			t.Errorf("attempt %d: %s, %v", attempt, d, err)
		}
		all += d
	}
	if all < 5*time.Second || all > 15*time.Second {
		t.Errorf("it is given up after %s", all)
	}
	if d, err := s.RetryDelay(8, errors.New("throttled")); err != nil || d == longestRefused {
		t.Errorf("other errors wait %s, %v", d, err)
	}
}
