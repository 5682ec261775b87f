// Package release is the ledger of what was built, tested, approved and deployed, and the rules of
// promotion over it. Statements are stored beside the image they are about, as referrers of its
// digest: there is no database to run, and an approval of one digest says nothing about another.
package release

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/image"
)

// Kind is what a statement says of its subject.
type Kind string

const (
	Built       Kind = "built"
	Tested      Kind = "tested"
	Scanned     Kind = "scanned"
	DeployedTo  Kind = "deployed-to"
	ApprovedFor Kind = "approved-for"
	RolledBack  Kind = "rolled-back"
)

// Outcome of what was done.
type Outcome string

const (
	Succeeded Outcome = "succeeded"
	Failed    Outcome = "failed"
	Withdrawn Outcome = "withdrawn" // of an approval: it no longer counts
)

// Statement is one thing that happened to one digest.
type Statement struct {
	Kind        Kind
	Repository  string // name of the repository, for people
	Subject     image.Digest
	Environment string // of DeployedTo, ApprovedFor, RolledBack
	Outcome     Outcome
	At          time.Time
	By          string // who or what did it
	BuildURL    string // of the CI run; may be empty

	Commit   string       // of Built: full hash
	GitTags  []string     // of Built
	Author   string       // of Built: e-mail address of the commit's author
	Dirty    bool         // of Built: from files in no commit
	Revision string       // of DeployedTo: what runs it, such as the task definition's ARN
	Severity Severity     // of Scanned: the worst finding
	To       image.Digest // of RolledBack: what runs instead
	Instead  image.Digest // of DeployedTo by a rollback: what it replaces

	Details map[string]string // free; no secrets

	// Signature is what was found when it was read; it is no part of the statement.
	Signature Signature
}

// Severity of a finding, as ECR and Inspector name it.
type Severity string

// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageScanFinding.html, mildest first.
var severities = []Severity{"", "UNDEFINED", "INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"}

func (s Severity) rank() int { return slices.Index(severities, s) }

// Check refuses a statement that could not be relied upon.
func (s Statement) Check() error {
	if _, err := image.ParseDigest(string(s.Subject)); err != nil {
		return fmt.Errorf("statement %q: subject: %w", s.Kind, err)
	}
	if s.At.IsZero() {
		return fmt.Errorf("statement %q has no time", s.Kind)
	}
	switch s.Kind {
	case Built, Tested:
	case Scanned:
		if s.Severity.rank() < 0 {
			return fmt.Errorf("statement %q: no severity %q; there are %q", s.Kind, s.Severity, severities[1:])
		}
	case DeployedTo, ApprovedFor, RolledBack:
		if s.Environment == "" {
			return fmt.Errorf("statement %q names no environment", s.Kind)
		}
		if s.Kind == ApprovedFor && strings.TrimSpace(s.By) == "" {
			return fmt.Errorf("statement %q does not say by whom", s.Kind)
		}
		if s.Kind == RolledBack && s.To != "" {
			if _, err := image.ParseDigest(string(s.To)); err != nil {
				return fmt.Errorf("statement %q: to: %w", s.Kind, err)
			}
		}
	default:
		return fmt.Errorf("no statement %q; there are %q", s.Kind, []Kind{Built, Tested, Scanned, DeployedTo, ApprovedFor, RolledBack})
	}
	switch s.Outcome {
	case Succeeded, Failed:
	case Withdrawn:
		if s.Kind != ApprovedFor {
			return fmt.Errorf("statement %q: only an approval can be withdrawn", s.Kind)
		}
	default:
		return fmt.Errorf("statement %q: no outcome %q; there are %q", s.Kind, s.Outcome, []Outcome{Succeeded, Failed, Withdrawn})
	}
	return nil
}

const (
	// https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
	statementType   = "https://in-toto.io/Statement/v1"
	predicatePrefix = "https://slipway-ecs.github.io/release/"
	predicateSuffix = "/v1"
)

type envelope struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     predicate `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"`
}

type predicate struct {
	At          time.Time         `json:"at"`
	By          string            `json:"by,omitempty"`
	Environment string            `json:"environment,omitempty"`
	Outcome     Outcome           `json:"outcome"`
	BuildURL    string            `json:"buildUrl,omitempty"`
	Commit      string            `json:"commit,omitempty"`
	GitTags     []string          `json:"gitTags,omitempty"`
	Author      string            `json:"author,omitempty"`
	Dirty       bool              `json:"dirty,omitempty"`
	Revision    string            `json:"revision,omitempty"`
	Severity    Severity          `json:"severity,omitempty"`
	To          image.Digest      `json:"to,omitempty"`
	Instead     image.Digest      `json:"instead,omitempty"`
	Details     map[string]string `json:"details,omitempty"`
}

// Encode writes the statement in the shape of in-toto. The same statement gives the same bytes.
func (s Statement) Encode() ([]byte, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	return json.Marshal(envelope{
		Type:          statementType,
		Subject:       []subject{{Name: s.Repository, Digest: map[string]string{"sha256": s.Subject.Hex()}}},
		PredicateType: predicatePrefix + string(s.Kind) + predicateSuffix,
		Predicate: predicate{At: s.At.UTC(), By: s.By, Environment: s.Environment, Outcome: s.Outcome, BuildURL: s.BuildURL,
			Commit: s.Commit, GitTags: s.GitTags, Author: s.Author, Dirty: s.Dirty, Revision: s.Revision, Severity: s.Severity, To: s.To, Instead: s.Instead, Details: s.Details},
	})
}

// Decode reads a statement that was found on a digest. A statement that says it is about another
// digest is refused: copying a file is not an approval.
func Decode(on image.Digest, payload []byte) (Statement, error) {
	var e envelope
	if err := json.Unmarshal(payload, &e); err != nil {
		return Statement{}, fmt.Errorf("reading a statement on %s: %w", on.Short(), err)
	}
	kind, ok := strings.CutPrefix(e.PredicateType, predicatePrefix)
	kind, ok2 := strings.CutSuffix(kind, predicateSuffix)
	if e.Type != statementType || !ok || !ok2 {
		return Statement{}, fmt.Errorf("reading a statement on %s: %q with predicate %q is none of ours", on.Short(), e.Type, e.PredicateType)
	}
	if len(e.Subject) != 1 || "sha256:"+e.Subject[0].Digest["sha256"] != string(on) {
		return Statement{}, fmt.Errorf("reading a statement on %s: it is about another image", on.Short())
	}
	p := e.Predicate
	s := Statement{Kind: Kind(kind), Repository: e.Subject[0].Name, Subject: on, Environment: p.Environment, Outcome: p.Outcome,
		At: p.At, By: p.By, BuildURL: p.BuildURL, Commit: p.Commit, GitTags: p.GitTags, Author: p.Author, Dirty: p.Dirty,
		Revision: p.Revision, Severity: p.Severity, To: p.To, Instead: p.Instead, Details: p.Details}
	if err := s.Check(); err != nil {
		return Statement{}, err
	}
	return s, nil
}
