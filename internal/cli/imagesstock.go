package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/image"
	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
	"github.com/slipway-ecs/slipway/internal/registry"
	"github.com/slipway-ecs/slipway/internal/release"
	"github.com/slipway-ecs/slipway/internal/service"
)

// stockFlags choose a repository: by name, or the one of the service in this folder.
type stockFlags struct {
	repository string
	file       string
	keep       int
}

func (f *stockFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.repository, "repository", "r", "", "the ECR repository (default: the one slipway.yaml names)")
	cmd.Flags().StringVarP(&f.file, "file", "f", "slipway.yaml", "the service's definition")
	cmd.Flags().IntVar(&f.keep, "releases", release.DefaultKept, "how many of each environment's last successful releases count as in use")
}

// given says whether a repository was named, or is named by a definition that is there.
func (f *stockFlags) given(cmd *cobra.Command) bool {
	if cmd.Flags().Changed("repository") || cmd.Flags().Changed("file") {
		return true
	}
	_, err := os.Stat(f.file)
	return err == nil
}

// stock is a repository in AWS with those who use it.
type stock struct {
	name     string // without the registry
	uri      string // with it
	policy   string // lifecycle policy; empty if it has none
	cloud    *awscloud.Cloud
	registry registry.Client
	ledger   release.Ledger
	guard    release.Guard
}

func (f *stockFlags) open(ctx context.Context) (*stock, error) {
	name := f.repository
	var def *service.File
	if name == "" {
		var err error
		if def, err = readDefinition(f.file); err != nil {
			return nil, fmt.Errorf("no --repository is given: %w", err)
		}
		name = def.Repository
	}
	ref, err := image.ParseReference(name)
	if err != nil {
		return nil, badInput("%w", err)
	}
	if f.keep < 1 {
		return nil, badInput("--releases %d: at least one release of each environment is kept, the one that runs", f.keep)
	}
	cloud, err := awscloud.Open(ctx, awscloud.Options{})
	if err != nil {
		return nil, err
	}
	r, err := cloud.Repositories().Read(ctx, ref.Repository)
	if errors.Is(err, clusterinfra.ErrNotFound) {
		return nil, badInput("there is no repository %s in this account and region", ref.Repository)
	}
	if err != nil {
		return nil, err
	}
	client := registry.Client{Credentials: cloud.RegistryCredentials}
	ledger := release.Ledger{Referrers: client, Catalog: client}
	if def != nil { // which says whose signatures are trusted
		keys, err := openSigning(def.Signing, filepath.Dir(f.file), os.Getenv, cloud)
		if err != nil {
			return nil, err
		}
		ledger.Verifier = keys.verifier
	}
	return &stock{name: ref.Repository, uri: r.URI, policy: r.Lifecycle, cloud: cloud, registry: client, ledger: ledger,
		guard: release.Guard{Stock: cloud, Ledger: ledger, Kept: f.keep, Now: time.Now}}, nil
}

// preview evaluates a policy on the live repository.
func (f *stockFlags) preview(cmd *cobra.Command, policyFile, usesFile string, now time.Time, asJSON bool) error {
	s, err := f.open(cmd.Context())
	if err != nil {
		return err
	}
	policy, err := s.policyOr(cmd, policyFile, asJSON)
	if err != nil {
		return err
	}
	images, err := s.cloud.Images(cmd.Context(), s.name)
	if err != nil {
		return err
	}
	uses, err := s.guard.Uses(cmd.Context(), s.uri)
	if err != nil {
		return err
	}
	more, err := readUses(cmd.InOrStdin(), usesFile)
	if err != nil {
		return err
	}
	return showPreview(cmd, policy, images, append(uses, more...), now, asJSON)
}

// policyOr is the policy of the file, or the repository's own.
func (s *stock) policyOr(cmd *cobra.Command, file string, asJSON bool) (lifecycle.Policy, error) {
	if file != "" {
		return readPolicy(cmd, file, asJSON)
	}
	if s.policy == "" {
		return lifecycle.Policy{}, badInput("%s has no lifecycle policy; name one with --policy", s.name)
	}
	return parsePolicy(cmd, "the policy of "+s.name, s.policy, asJSON)
}

// holding is an image with those who need it.
type holding struct {
	awscloud.StoredImage
	By []string
}

// holdings reads everything in the repository, newest first.
func (s *stock) holdings(ctx context.Context) ([]holding, error) {
	images, err := s.cloud.StoredImages(ctx, s.name)
	if err != nil {
		return nil, err
	}
	uses, err := s.guard.Uses(ctx, s.uri)
	if err != nil {
		return nil, err
	}
	bare := make([]lifecycle.Image, len(images))
	out := make([]holding, len(images))
	for i, im := range images {
		bare[i], out[i] = im.Image, holding{StoredImage: im}
	}
	needed := lifecycle.Needed(bare, uses)
	for i := range out {
		out[i].By = needed[out[i].Digest]
	}
	slices.SortStableFunc(out, func(a, b holding) int { return b.PushedAt.Compare(a.PushedAt) })
	return out, nil
}

// kind is what an image is, in a word for people.
func (h holding) kind() string {
	switch {
	case h.StorageClass != lifecycle.Standard:
		return "archived image"
	case h.Subject != "":
		return "beside " + shortDigest(h.Subject)
	case len(h.Manifests) > 0:
		return "list"
	}
	return "image"
}

// find is the image a person names: a tag, a digest or its beginning, a reference.
func find(all []holding, ref string) (holding, error) {
	name := ref
	if _, d, ok := strings.Cut(ref, "@"); ok {
		name = d
	} else if r, err := image.ParseReference(ref); err == nil && r.Tag != "" {
		name = r.Tag
	}
	var found []holding
	for _, h := range all {
		if slices.Contains(h.Tags, name) || h.Digest == name {
			return h, nil
		}
		if len(name) >= 4 && (strings.HasPrefix(h.Digest, name) || strings.HasPrefix(h.Digest, "sha256:"+name)) {
			found = append(found, h)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return holding{}, badInput("there is no image %s in the repository", ref)
	}
	return holding{}, badInput("%s is the beginning of %d digests", ref, len(found))
}
