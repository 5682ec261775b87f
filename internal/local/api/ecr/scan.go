package ecr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

// The file of findings is a JSON object. Its keys are "repository@digest", "repository" or
// "*", of which the first that is there counts; its values are lists of ImageScanFinding as the API writes them. An image without a key has no findings.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageScanFinding.html
func (s *service) scanOf(repository string, im *registry.Image) registry.Scan {
	data, err := os.ReadFile(s.ScanFindings)
	if s.ScanFindings == "" || errors.Is(err, fs.ErrNotExist) {
		return registry.Scan{Status: "FAILED", Description: "not supported: the local AWS has no vulnerability scanner; a file says what it should find"}
	}
	var file map[string][]ecrapi.ImageScanFinding
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		return registry.Scan{Status: "FAILED", Description: fmt.Sprintf("the file of findings cannot be read: %v", err)}
	}
	scan := registry.Scan{Status: "COMPLETE", Description: "The scan was completed successfully."}
	for _, key := range []string{repository + "@" + im.Digest, repository, "*"} {
		found, ok := file[key]
		if !ok {
			continue
		}
		for _, f := range found {
			r := registry.Finding{Name: wire.Value(f.Name), Severity: wire.Value(f.Severity), Description: wire.Value(f.Description), URI: wire.Value(f.Uri), Attributes: map[string]string{}}
			for _, a := range f.Attributes {
				r.Attributes[wire.Value(a.Key)] = wire.Value(a.Value)
			}
			scan.Findings = append(scan.Findings, r)
		}
		break
	}
	return scan
}

func (s *service) startScan(ctx context.Context, in *ecrapi.StartImageScanInput) (*ecrapi.StartImageScanOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "StartImageScan")
	if err != nil {
		return nil, err
	}
	id := idOf(*in.ImageId)
	im, err := s.find(r.Name, id)
	if err != nil {
		return nil, err
	}
	switch {
	case im.Status != registry.StatusActive:
		return nil, wire.Errorf("ImageArchivedException", "The image with digest '%s' is archived", im.Digest)
	case wire.Value(s.scanning().ScanType) == "ENHANCED":
		return nil, wire.Errorf("ValidationException", "This feature is disabled: with enhanced scanning images are not scanned on request")
	}
	scan := s.scanOf(r.Name, im)
	if err := s.Store.Scanned(r.Name, im.Digest, scan); err != nil {
		return nil, err
	}
	id.Digest = im.Digest
	return &ecrapi.StartImageScanOutput{ImageId: wire.Ptr(apiID(id)), RegistryId: &s.Account, RepositoryName: &r.Name,
		ImageScanStatus: &ecrapi.ImageScanStatus{Status: &scan.Status, Description: &scan.Description}}, nil
}

func (s *service) findings(ctx context.Context, in *ecrapi.DescribeImageScanFindingsInput) (*ecrapi.DescribeImageScanFindingsOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "DescribeImageScanFindings")
	if err != nil {
		return nil, err
	}
	id := idOf(*in.ImageId)
	im, err := s.find(r.Name, id)
	if err != nil {
		return nil, err
	}
	if im.Scan == nil {
		return nil, wire.Errorf("ScanNotFoundException", "Image scan does not exist for the image with '{imageDigest:%s, imageTag:%s}' in the repository with name '%s' in the registry with id '%s'",
			im.Digest, id.Tag, r.Name, s.Account)
	}
	id.Digest = im.Digest
	out := &ecrapi.DescribeImageScanFindingsOutput{ImageId: wire.Ptr(apiID(id)), RegistryId: &s.Account, RepositoryName: &r.Name,
		ImageScanStatus: &ecrapi.ImageScanStatus{Status: &im.Scan.Status, Description: wire.String(im.Scan.Description + " (" + im.Scan.At.Format(time.RFC3339) + ")")}}
	if im.Scan.Status == "COMPLETE" {
		out.ImageScanFindings = &ecrapi.ImageScanFindings{ImageScanCompletedAt: wire.Timestamp(im.Scan.At), VulnerabilitySourceUpdatedAt: wire.Timestamp(im.Scan.At), FindingSeverityCounts: map[string]int32{}}
		for _, f := range im.Scan.Findings {
			out.ImageScanFindings.FindingSeverityCounts[f.Severity]++
			x := ecrapi.ImageScanFinding{Name: wire.NonEmpty(f.Name), Severity: wire.NonEmpty(f.Severity), Description: wire.NonEmpty(f.Description), Uri: wire.NonEmpty(f.URI)}
			for _, k := range slices.Sorted(maps.Keys(f.Attributes)) {
				x.Attributes = append(x.Attributes, ecrapi.Attribute{Key: wire.Ptr(k), Value: wire.Ptr(f.Attributes[k])})
			}
			out.ImageScanFindings.Findings = append(out.ImageScanFindings.Findings, x)
		}
	}
	return out, nil
}

// find returns an image of a repository, or the error that AWS answers for one that is not there.
func (s *service) find(repository string, id registry.ImageID) (*registry.Image, error) {
	im, fail, err := s.Store.Image(repository, id)
	if err != nil {
		return nil, shown(err)
	}
	if fail != nil {
		return nil, s.notFound(id, repository)
	}
	return im, nil
}

// Limits of a registry's scanning configuration, and how often each type can scan.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_RegistryScanningRule.html
const (
	maxScanRules   = 2
	maxScanFilters = 100
)

var frequencies = map[string][]string{"BASIC": {"SCAN_ON_PUSH", "MANUAL"}, "ENHANCED": {"SCAN_ON_PUSH", "CONTINUOUS_SCAN", "MANUAL"}}

func checkScanRules(kind string, rules []ecrapi.RegistryScanningRule) error {
	if len(rules) > maxScanRules {
		return invalid("rules", "Member must have length less than or equal to 2")
	}
	for _, r := range rules {
		if !slices.Contains(frequencies[kind], wire.Value(r.ScanFrequency)) {
			return invalid("rules.scanFrequency", "The frequency "+wire.Value(r.ScanFrequency)+" does not go with "+kind+" scanning")
		}
		if len(r.RepositoryFilters) > maxScanFilters {
			return invalid("rules.repositoryFilters", "Member must have length less than or equal to 100")
		}
		for _, f := range r.RepositoryFilters {
			if wire.Value(f.FilterType) != "WILDCARD" || wire.Value(f.Filter) == "" {
				return invalid("rules.repositoryFilters", "A filter is a pattern with the type WILDCARD")
			}
		}
	}
	return nil
}

// scanPushed scans an image that was just pushed, if its repository or a rule of the registry says so.
func (s *service) scanPushed(im *registry.Image) {
	r, err := s.Store.Repository(im.Repository)
	if err != nil || len(im.Manifests) > 0 { // gone meanwhile; of a list its manifests are scanned
		return
	}
	if on := s.scannedOnPush(r); !wire.Value(on.ScanOnPush) {
		return
	}
	if err := s.Store.Scanned(r.Name, im.Digest, s.scanOf(r.Name, im)); err != nil {
		slog.Error("scanning an image", "repository", r.Name, "image", im.Digest, "error", err)
	}
}

// scannedOnPush is how a repository is scanned by its own configuration and the registry's rules.
func (s *service) scannedOnPush(r *registry.Repository) ecrapi.RepositoryScanningConfiguration {
	c := ecrapi.RepositoryScanningConfiguration{RepositoryArn: &r.ARN, RepositoryName: &r.Name, ScanOnPush: wire.Bool(r.ScanOnPush),
		ScanFrequency: wire.String("MANUAL"), AppliedScanFilters: []ecrapi.ScanningRepositoryFilter{}}
	if r.ScanOnPush {
		c.ScanFrequency = wire.String("SCAN_ON_PUSH")
	}
	for _, rule := range s.scanning().Rules {
		for _, f := range rule.RepositoryFilters {
			if lifecycle.MatchPattern(wire.Value(f.Filter), r.Name) {
				c.AppliedScanFilters = append(c.AppliedScanFilters, f)
				c.ScanFrequency = rule.ScanFrequency
				c.ScanOnPush = wire.Bool(wire.Value(rule.ScanFrequency) != "MANUAL")
			}
		}
	}
	return c
}
