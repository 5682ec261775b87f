package awscloud

import (
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// text is nil for an empty string: most members must not be empty when they are given.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return aws.String(s)
}

func flag(b bool) *bool {
	if !b {
		return nil
	}
	return aws.Bool(true)
}

func itoa(n int) string { return strconv.Itoa(n) }

// number reads a number AWS gives as text; 0 when it is none.
func number(s *string) int {
	n, err := strconv.Atoi(aws.ToString(s))
	if err != nil {
		return 0
	}
	return n
}
