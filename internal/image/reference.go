// Package image knows image references, digests and which tags an image gets. Tags are for people;
// what is deployed is a digest.
package image

import (
	"fmt"
	"regexp"
	"strings"
)

// Digest is a content address, "sha256:" and 64 lower-case hexadecimal digits.
type Digest string

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// ParseDigest refuses what is not a SHA-256 digest: ECR knows no other.
func ParseDigest(s string) (Digest, error) {
	if !digestForm.MatchString(s) {
		return "", fmt.Errorf("%q is not a digest: it must be sha256: and 64 lower-case hexadecimal digits", s)
	}
	return Digest(s), nil
}

// Short is the digest as people read it: its first 12 digits.
func (d Digest) Short() string {
	if len(d) < len("sha256:")+12 {
		return string(d)
	}
	return string(d[:len("sha256:")+12])
}

// Hex is the digest without its algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// Reference names an image: [registry/]repository[:tag][@digest].
type Reference struct {
	Registry   string // host[:port]; empty = not said
	Repository string
	Tag        string
	Digest     Digest
}

var repositoryForm = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)

// ParseReference reads a reference. A first part is a registry only if it looks like a host, as
// Docker decides it: it has a dot or a port, or is "localhost".
func ParseReference(s string) (Reference, error) {
	var r Reference
	rest := s
	if name, digest, ok := strings.Cut(rest, "@"); ok {
		d, err := ParseDigest(digest)
		if err != nil {
			return Reference{}, fmt.Errorf("image %q: %w", s, err)
		}
		r.Digest, rest = d, name
	}
	if first, after, ok := strings.Cut(rest, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		r.Registry, rest = first, after
	}
	if name, tag, ok := strings.Cut(rest, ":"); ok {
		if err := CheckTag(tag); err != nil {
			return Reference{}, fmt.Errorf("image %q: %w", s, err)
		}
		r.Tag, rest = tag, name
	}
	if !repositoryForm.MatchString(rest) || len(rest) > 255 {
		return Reference{}, fmt.Errorf("image %q: %q is not a repository name: lower-case letters and digits, separated by one of . _ - /, at most 255", s, rest)
	}
	r.Repository = rest
	return r, nil
}

// Name is the reference without tag and digest.
func (r Reference) Name() string {
	if r.Registry == "" {
		return r.Repository
	}
	return r.Registry + "/" + r.Repository
}

func (r Reference) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// Pinned is the reference by digest alone, which is how it is deployed.
func (r Reference) Pinned(d Digest) Reference {
	return Reference{Registry: r.Registry, Repository: r.Repository, Digest: d}
}

// Tagged is the reference by tag alone.
func (r Reference) Tagged(tag string) Reference {
	return Reference{Registry: r.Registry, Repository: r.Repository, Tag: tag}
}

// https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
var ecrForm = regexp.MustCompile(`^([0-9]{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)$`)

// ECR is the account and region of an Amazon ECR registry.
func ECR(registry string) (account, region string, ok bool) {
	m := ecrForm.FindStringSubmatch(registry)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}
