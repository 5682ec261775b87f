package awscloud

import (
	"errors"
	"strings"

	"github.com/aws/smithy-go"
)

// code is AWS's error code, without what some protocols append to it.
func code(err error) string {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return ""
	}
	return strings.TrimSuffix(api.ErrorCode(), "Exception")
}

func is(err error, codes ...string) bool {
	c := code(err)
	for _, want := range codes {
		if c != "" && c == strings.TrimSuffix(want, "Exception") {
			return true
		}
	}
	return false
}

func says(err error, text string) bool {
	return err != nil && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(text))
}
