package wire

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

var (
	cborIn  = must(cbor.DecOptions{MaxNestedLevels: maxDepth * 2, UTF8: cbor.UTF8RejectInvalid}.DecMode())
	cborOut = must(cbor.EncOptions{}.EncMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// decodeCBOR reads a body of rpcv2Cbor; an empty body is an empty map. The members' names are those
// of the json tags.
func decodeCBOR(body []byte, in any) error {
	if len(body) == 0 {
		return nil
	}
	if err := cborIn.Unmarshal(body, in); err != nil {
		return fmt.Errorf("the body is not CBOR of the operation's input: %w", err)
	}
	return nil
}
