package ecs

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// page returns the part of the sorted keys that follows token, at most max (bounds 1–limit, limit
// if nil) of them, and the token of the next page. A token names the last key that was returned, so
// keys that come and go between pages do not shift the others.
func page(keys []string, token *string, maxResults *int32, limit int) (part []string, next *string, err error) {
	return pageOrdered(keys, token, maxResults, limit, false)
}

// pageOrdered is page; descending turns the sorted keys around first.
func pageOrdered(keys []string, token *string, maxResults *int32, limit int, descending bool) (part []string, next *string, err error) {
	if descending {
		slices.Reverse(keys)
	}
	n := limit
	if maxResults != nil {
		n = int(*maxResults)
		if n < 1 || n > limit {
			return nil, nil, invalid("Max results should be between 1 and %d", limit)
		}
	}
	if wire.Value(token) != "" {
		raw, err := base64.RawURLEncoding.DecodeString(*token)
		last, ok := strings.CutPrefix(string(raw), "after:")
		if err != nil || !ok {
			return nil, nil, invalid("Invalid token in request")
		}
		i, found := slices.BinarySearchFunc(keys, last, func(a, b string) int {
			if descending {
				a, b = b, a
			}
			return strings.Compare(a, b)
		})
		if found {
			i++
		}
		keys = keys[i:]
	}
	if len(keys) > n {
		keys = keys[:n]
		next = wire.Ptr(base64.RawURLEncoding.EncodeToString([]byte("after:" + keys[n-1])))
	}
	return orEmpty(keys), next, nil
}
