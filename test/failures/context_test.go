package failures

import "context"

// opKey carries the operation of a request to its answer.
type opKey struct{}

func withOp(ctx context.Context, op string) context.Context {
	return context.WithValue(ctx, opKey{}, op)
}
