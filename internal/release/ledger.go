package release

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ecs/slipway/internal/image"
)

// ArtifactType is the media type of a statement that is not signed; see SignedType.
const ArtifactType = "application/vnd.in-toto+json"

// Annotations on the stored statement, so that other tools can tell them apart without fetching.
const (
	AnnotationKind        = "io.github.slipway-ecs.kind"
	AnnotationEnvironment = "io.github.slipway-ecs.environment"
	AnnotationCreated     = "org.opencontainers.image.created"
)

// Images read at a time.
const parallel = 8

// Referrer is something stored beside an image.
type Referrer struct {
	Digest      image.Digest
	Annotations map[string]string
	Payload     []byte
}

// Referrers stores things beside images. Putting the same thing twice stores it once.
type Referrers interface {
	Put(ctx context.Context, repo string, subject image.Digest, artifactType string, annotations map[string]string, payload []byte) (image.Digest, error)
	List(ctx context.Context, repo string, subject image.Digest, artifactTypes ...string) ([]Referrer, error)
}

// Catalog lists the images of a repository: every digest that has a tag.
type Catalog interface {
	Digests(ctx context.Context, repo string) ([]image.Digest, error)
}

// Ledger reads and writes statements. Repo is the repository with its registry: host/name.
type Ledger struct {
	Referrers Referrers
	Catalog   Catalog
	Signer    Signer   // nil = statements are not signed
	Verifier  Verifier // nil = signatures are not checked
}

// Append stores a statement.
func (l Ledger) Append(ctx context.Context, repo string, s Statement) error {
	payload, err := s.Encode()
	if err != nil {
		return fmt.Errorf("recording in the ledger: %w", err)
	}
	artifactType := ArtifactType
	if l.Signer != nil {
		artifactType = SignedType
		if payload, err = sign(ctx, l.Signer, payload); err != nil {
			return fmt.Errorf("recording %s of %s in the ledger: %w", s.Kind, s.Subject.Short(), err)
		}
	}
	annotations := map[string]string{AnnotationKind: string(s.Kind), AnnotationCreated: s.At.UTC().Format(time.RFC3339Nano)}
	if s.Environment != "" {
		annotations[AnnotationEnvironment] = s.Environment
	}
	if _, err := l.Referrers.Put(ctx, repo, s.Subject, artifactType, annotations, payload); err != nil {
		return fmt.Errorf("recording %s of %s in the ledger: %w", s.Kind, s.Subject.Short(), err)
	}
	return nil
}

// Read is what is known of one digest, oldest first. Statements of other tools (a provenance, a
// signature) are passed over; damaged ones of ours come back as an error beside those that are good,
// because a ledger that cannot be read in part must still tell what it knows.
func (l Ledger) Read(ctx context.Context, repo string, d image.Digest) ([]Statement, error) {
	found, err := l.Referrers.List(ctx, repo, d, ArtifactType, SignedType)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger of %s: %w", d.Short(), err)
	}
	var out []Statement
	var bad []error
	for _, r := range found {
		if _, ours := r.Annotations[AnnotationKind]; !ours {
			continue
		}
		var s Statement
		payload, signature, err := open(ctx, l.Verifier, r.Payload)
		if err == nil {
			s, err = Decode(d, payload)
			s.Signature = signature
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("%s: %w", r.Digest.Short(), err))
			continue
		}
		out = append(out, s)
	}
	sortByTime(out)
	return out, errors.Join(bad...)
}

// Credible is the statements without those that somebody changed after a trusted key had signed them.
// With signed, it is only those that a trusted key signed.
func Credible(statements []Statement, signed bool) []Statement {
	var out []Statement
	for _, s := range statements {
		if !s.Signature.Forged && (!signed || s.Signature.By != "") {
			out = append(out, s)
		}
	}
	return out
}

// History is what is known of all images of a repository, oldest first.
func (l Ledger) History(ctx context.Context, repo string) ([]Statement, error) {
	digests, err := l.Catalog.Digests(ctx, repo)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger of %s: %w", repo, err)
	}
	found, bad := make([][]Statement, len(digests)), make([]error, len(digests))
	var g errgroup.Group
	g.SetLimit(parallel)
	for i, d := range digests {
		g.Go(func() error {
			found[i], bad[i] = l.Read(ctx, repo, d)
			return nil
		})
	}
	_ = g.Wait() // each says for itself what it could not read
	out := slices.Concat(found...)
	sortByTime(out)
	return out, errors.Join(bad...)
}

// Current is what an environment runs, by the ledger. AWS has the last word on what runs.
func (l Ledger) Current(ctx context.Context, repo, env string) (Running, bool, error) {
	history, err := l.History(ctx, repo)
	if err != nil {
		return Running{}, false, err
	}
	r, ok := Current(history, env)
	return r, ok, nil
}

// Distinct is the statements without those that are there twice, oldest first: an image that is copied
// takes its statements with it.
func Distinct(statements []Statement) []Statement {
	seen := map[string]bool{}
	var out []Statement
	for _, s := range statements {
		text, err := s.Encode()
		if key := fmt.Sprint(string(text), s.Signature); err == nil && !seen[key] {
			seen[key] = true
			out = append(out, s)
		}
	}
	sortByTime(out)
	return out
}

func sortByTime(s []Statement) {
	slices.SortStableFunc(s, func(a, b Statement) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Environment, b.Environment))
	})
}

// Running is what an environment runs and since when.
type Running struct {
	Digest image.Digest
	Since  time.Time
	By     Statement // the deployment or rollback that brought it
}

// Current is what an environment runs after these statements, in any order.
func Current(statements []Statement, env string) (Running, bool) {
	now, _ := timeline(statements, env)
	return now, now.Digest != ""
}

// Previous is what the environment ran successfully before what it runs now: where a rollback goes.
func Previous(statements []Statement, env string) (Running, bool) {
	now, before := timeline(statements, env)
	for _, r := range slices.Backward(before) {
		if r.Digest != now.Digest {
			return r, true
		}
	}
	return Running{}, false
}

// timeline is what runs and what ran before it, oldest first. What was rolled back from is not in it:
// nobody wants to go back there.
func timeline(statements []Statement, env string) (now Running, before []Running) {
	sorted := slices.Clone(statements)
	sortByTime(sorted)
	for _, s := range sorted {
		if s.Environment != env || s.Outcome != Succeeded {
			continue // a failed deployment leaves what ran before
		}
		switch s.Kind {
		case DeployedTo:
			if s.Subject == now.Digest {
				continue // again: it runs since the first time
			}
			if now.Digest != "" {
				before = append(before, now)
			}
			if s.Instead != "" {
				before = slices.DeleteFunc(before, func(r Running) bool { return r.Digest == s.Instead })
			}
			now = Running{Digest: s.Subject, Since: s.At, By: s}
		case RolledBack:
			before = slices.DeleteFunc(before, func(r Running) bool { return r.Digest == s.Subject })
			if s.Subject == now.Digest || s.To != "" {
				now = Running{Digest: s.To, Since: s.At, By: s}
			}
		}
	}
	return now, before
}

// UnfinishedRollback is the statement that an interrupted rollback of the environment has not made yet:
// what it replaced is not said to be rolled back.
func UnfinishedRollback(statements []Statement, env string) (Statement, bool) {
	sorted := slices.Clone(statements)
	sortByTime(sorted)
	var last Statement
	for _, s := range sorted {
		if s.Environment == env && s.Outcome == Succeeded && (s.Kind == DeployedTo || s.Kind == RolledBack) {
			last = s
		}
	}
	if last.Kind != DeployedTo || last.Instead == "" {
		return Statement{}, false
	}
	return Statement{Kind: RolledBack, Subject: last.Instead, Environment: env, Outcome: Succeeded, To: last.Subject}, true
}

// About is the part of the statements that is about one digest.
func About(statements []Statement, d image.Digest) []Statement {
	var out []Statement
	for _, s := range statements {
		if s.Subject == d {
			out = append(out, s)
		}
	}
	sortByTime(out)
	return out
}

// Last is the latest statement of a kind; environment "" matches any.
func Last(statements []Statement, k Kind, env string) (Statement, bool) {
	var last Statement
	for _, s := range statements {
		if s.Kind == k && (env == "" || s.Environment == env) && !s.At.Before(last.At) {
			last = s
		}
	}
	return last, last.Kind == k
}
