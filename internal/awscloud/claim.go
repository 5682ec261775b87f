package awscloud

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// Claim says who changes an environment now: a parameter of Systems Manager,
// /slipway/<service>/<environment>/claim. A name without a claim is free.
type Claim struct {
	By    string    `json:"by"`   // a person or a CI job
	Doing string    `json:"what"` // for people
	Owner string    `json:"owner"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"` // renewed while its holder lives
}

// ClaimName is the parameter of a service's environment.
func ClaimName(service, environment string) string {
	return "/slipway/" + service + "/" + environment + "/claim"
}

// HeldError is a claim that somebody else has.
type HeldError struct {
	Claim   Claim
	Version int64 // grows with every renewal
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s (%s) since %s", e.Claim.Doing, e.Claim.By, e.Claim.Since.UTC().Format(time.RFC3339))
}

// Held is a claim that we have.
type Held struct {
	ssm     *ssm.Client
	name    string
	claim   Claim
	version int64
	// Before is the claim that we took over because its holder is gone; nil if the name was free.
	Before *Claim
}

// Claim takes a claim, or returns *HeldError with the one there is. One whose term has ended, or whose
// holder gone says is no more, is taken over.
//
// Creating a parameter that exists fails, and each write answers with the version it made: who writes over
// an ended term and does not get the next version has been overtaken, and does not hold it.
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
func (c *Cloud) Claim(ctx context.Context, name string, want Claim, now time.Time, gone func(Claim) bool) (*Held, error) {
	h := &Held{ssm: ssm.NewFromConfig(c.cfg), name: name, claim: want}
	have, version, err := h.read(ctx)
	if err != nil {
		return nil, err
	}
	if have != nil {
		if now.Before(have.Until) && !gone(*have) {
			return nil, &HeldError{*have, version}
		}
		h.Before = have
	}
	got, err := h.write(ctx, want, have != nil)
	switch {
	case is(err, "ParameterAlreadyExists"):
	case err != nil:
		return nil, fmt.Errorf("claiming %s: %w", name, err)
	case have == nil || got == version+1:
		h.version = got
		return h, nil
	}
	// Somebody was faster.
	if have, version, err = h.read(ctx); err != nil {
		return nil, err
	}
	if have == nil {
		have = &Claim{Doing: "another run"}
	}
	return nil, &HeldError{*have, version}
}

func (h *Held) read(ctx context.Context) (*Claim, int64, error) {
	out, err := h.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &h.name})
	if is(err, "ParameterNotFound") {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading the claim %s: %w", h.name, err)
	}
	var c Claim
	// What cannot be read is nobody's: it has no term.
	_ = json.Unmarshal([]byte(aws.ToString(out.Parameter.Value)), &c)
	return &c, out.Parameter.Version, nil
}

func (h *Held) write(ctx context.Context, c Claim, over bool) (int64, error) {
	value, err := json.Marshal(c)
	if err != nil {
		return 0, err
	}
	out, err := h.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: &h.name, Type: types.ParameterTypeString, Value: aws.String(string(value)), Overwrite: &over})
	if err != nil {
		return 0, err
	}
	return out.Version, nil
}

// Renew moves the end of the term. *HeldError: another took it, because the term had ended.
func (h *Held) Renew(ctx context.Context, until time.Time) error {
	have, version, err := h.read(ctx)
	if err != nil {
		return err
	}
	if have == nil || version != h.version || have.Owner != h.claim.Owner {
		if have == nil {
			have = &Claim{Doing: "another run, which has ended"}
		}
		return &HeldError{*have, version}
	}
	h.claim.Until = until
	got, err := h.write(ctx, h.claim, true)
	switch {
	case err != nil:
		return fmt.Errorf("renewing the claim %s: %w", h.name, err)
	case got != h.version+1:
		return &HeldError{*have, got}
	}
	h.version = got
	return nil
}

// Release ends the claim. One that is another's by now is left.
func (h *Held) Release(ctx context.Context) error {
	have, _, err := h.read(ctx)
	if err != nil || have == nil || have.Owner != h.claim.Owner {
		return err
	}
	_, err = h.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &h.name})
	if err != nil && !is(err, "ParameterNotFound") {
		return fmt.Errorf("releasing the claim %s: %w", h.name, err)
	}
	return nil
}
