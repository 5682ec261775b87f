package awscloud

import (
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// soon is the SDK's retryer for an endpoint on this machine: where nothing listens, somebody is starting it again
// this moment, or nobody is. So it is tried again soon, and given up after some ten seconds instead of a minute.
type soon struct{ aws.RetryerV2 }

// longestRefused bounds the wait after a refused connection.
const longestRefused = 2 * time.Second

func (s soon) RetryDelay(attempt int, err error) (time.Duration, error) {
	d, giveUp := s.RetryerV2.RetryDelay(attempt, err)
	if giveUp == nil && errors.Is(err, syscall.ECONNREFUSED) {
		d = min(250*time.Millisecond<<min(attempt, 4), longestRefused)
	}
	return d, giveUp
}

// cutOff has an answer that ended in its middle asked for again, as the SDK does where none came at all: what
// lies between broke the connection.
func cutOff(err error) aws.Ternary {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}
