package ecs

import (
	"encoding/base64"
	"iter"
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
	return pageOf(slices.Values(keys), token, maxResults, limit, descending)
}

// pageOf is page of a sequence of keys in order; it takes no more of them than it needs.
func pageOf(keys iter.Seq[string], token *string, maxResults *int32, limit int, descending bool) (part []string, next *string, err error) {
	n := limit
	if maxResults != nil {
		n = int(*maxResults)
		if n < 1 || n > limit {
			return nil, nil, invalid("Max results should be between 1 and %d", limit)
		}
	}
	last := after(token)
	if last == "" && wire.Value(token) != "" {
		return nil, nil, invalid("Invalid token in request")
	}
	part = []string{}
	for k := range keys {
		if last != "" && (k == last || (k < last) != descending) {
			continue
		}
		if len(part) == n {
			return part, wire.Ptr(base64.RawURLEncoding.EncodeToString([]byte("after:" + part[n-1]))), nil
		}
		part = append(part, k)
	}
	return part, nil, nil
}

// after is the last key of the page before the one that token asks for; empty for the first page, and of
// what is no token.
func after(token *string) string {
	raw, err := base64.RawURLEncoding.DecodeString(wire.Value(token))
	key, ok := strings.CutPrefix(string(raw), "after:")
	if err != nil || !ok {
		return ""
	}
	return key
}
