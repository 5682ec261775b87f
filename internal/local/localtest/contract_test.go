package localtest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
)

// code is the AWS error code of err; empty if it has none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

// refused fails the test unless err has the AWS error code.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("error code %q, want %q (%v)", got, want, err)
	}
}

// ok is the answer of a call that must succeed.
func ok[T any](t *testing.T) func(out *T, err error) *T {
	return func(out *T, err error) *T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

func str(s *string) string { return aws.ToString(s) }

func contains(t *testing.T, what, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("%s = %q, want it to contain %q", what, got, want)
	}
}
