package ecs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// clientToken remembers what a request with a client token made. Key: operation/cluster/token.
type clientToken struct {
	Hash string   // of the request
	ARNs []string // of what it made
	At   time.Time
}

const tokenLife = 24 * time.Hour // https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html

// seen returns what an earlier request with the same token made. A different request with the same
// token is a conflict.
func (a *API) seen(tx *state.Tx, key string, in any) ([]string, bool, error) {
	t, ok := a.tokens.Get(tx, key)
	if !ok || a.Clock.Now().Sub(t.At) > tokenLife {
		return nil, false, nil
	}
	if t.Hash != hashOf(in) {
		e := wire.Errorf("ConflictException", "The request parameters differ from those of an earlier request with the same client token.")
		e.Fields = map[string]any{"resourceIds": t.ARNs}
		return nil, false, e
	}
	return t.ARNs, true, nil
}

// sweepEvery is after how many tokens the old ones are looked for.
const sweepEvery = 256

func (a *API) remember(tx *state.Tx, key string, in any, arns []string) {
	now := a.Clock.Now()
	if a.tokens.Len(tx)%sweepEvery == sweepEvery-1 {
		var old []string
		for k, t := range a.tokens.All(tx) {
			if now.Sub(t.At) > tokenLife {
				old = append(old, k)
			}
		}
		for _, k := range old {
			a.tokens.Delete(tx, k)
		}
	}
	a.tokens.Put(tx, key, &clientToken{Hash: hashOf(in), ARNs: arns, At: now})
}

func hashOf(in any) string {
	data, err := json.Marshal(in)
	if err != nil { // inputs came as JSON
		panic(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
