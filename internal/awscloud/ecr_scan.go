package awscloud

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// ScanFinding is a weakness ECR or Inspector found in an image.
type ScanFinding struct{ Name, Severity, Description, URI, Package string }

// ScanFailedError is a scan that gave no result.
type ScanFailedError struct{ Status, Description string }

func (e *ScanFailedError) Error() string {
	if e.Description == "" {
		return "the scan ended as " + e.Status
	}
	return fmt.Sprintf("the scan ended as %s: %s", e.Status, e.Description)
}

// How often a scan that goes on is looked at.
const scanLook = 2 * time.Second

// Scan is what is found in an image. One that was not scanned is scanned now; a scan that goes on is
// waited for until the context ends. Enhanced scanning starts by itself, so there it is only waited for.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_StartImageScan.html
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImageScanFindings.html
func (c *Cloud) Scan(ctx context.Context, repository, digest string) ([]ScanFinding, error) {
	api := ecr.NewFromConfig(c.cfg)
	id := &types.ImageIdentifier{ImageDigest: &digest}
	for started := false; ; {
		findings, status, err := scanned(ctx, api, repository, id)
		switch {
		case is(err, "ScanNotFoundException"):
			if !started {
				_, err := api.StartImageScan(ctx, &ecr.StartImageScanInput{RepositoryName: &repository, ImageId: id})
				// Basic scanning scans an image once a day, and enhanced scanning when it wants to: both
				// say LimitExceeded or Validation, and what they find is to be waited for.
				if err != nil && !is(err, "LimitExceededException") && !is(err, "ValidationException") {
					return nil, fmt.Errorf("starting the scan: %w", err)
				}
				started = true
			}
		case err != nil:
			return nil, fmt.Errorf("reading the scan's findings: %w", err)
		default:
			switch status.Status {
			case types.ScanStatusComplete, types.ScanStatusActive:
				return findings, nil
			case types.ScanStatusInProgress, types.ScanStatusPending:
			default:
				return nil, &ScanFailedError{string(status.Status), aws.ToString(status.Description)}
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the scan: %w", context.Cause(ctx))
		case <-time.After(scanLook):
		}
	}
}

func scanned(ctx context.Context, api *ecr.Client, repository string, id *types.ImageIdentifier) (out []ScanFinding, status types.ImageScanStatus, err error) {
	pages := ecr.NewDescribeImageScanFindingsPaginator(api, &ecr.DescribeImageScanFindingsInput{RepositoryName: &repository, ImageId: id, MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, status, err
		}
		if page.ImageScanStatus != nil {
			status = *page.ImageScanStatus
		}
		if page.ImageScanFindings == nil {
			continue
		}
		for _, f := range page.ImageScanFindings.Findings {
			s := ScanFinding{Name: aws.ToString(f.Name), Severity: string(f.Severity), Description: aws.ToString(f.Description), URI: aws.ToString(f.Uri)}
			of := map[string]string{}
			for _, a := range f.Attributes {
				of[aws.ToString(a.Key)] = aws.ToString(a.Value)
			}
			s.Package = strings.TrimSpace(of["package_name"] + " " + of["package_version"])
			out = append(out, s)
		}
		for _, f := range page.ImageScanFindings.EnhancedFindings {
			out = append(out, enhanced(f))
		}
	}
	return out, status, nil
}

// enhanced reads a finding of Inspector, whose severity UNTRIAGED is one ECR calls UNDEFINED.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_EnhancedImageScanFinding.html
func enhanced(f types.EnhancedImageScanFinding) ScanFinding {
	s := ScanFinding{Name: aws.ToString(f.Title), Severity: strings.ToUpper(aws.ToString(f.Severity)), Description: aws.ToString(f.Description)}
	if s.Severity == "UNTRIAGED" || s.Severity == "" {
		s.Severity = "UNDEFINED"
	}
	if d := f.PackageVulnerabilityDetails; d != nil {
		if d.VulnerabilityId != nil {
			s.Name = *d.VulnerabilityId
		}
		s.URI = aws.ToString(d.SourceUrl)
		var names []string
		for _, p := range d.VulnerablePackages {
			names = append(names, strings.TrimSpace(aws.ToString(p.Name)+" "+aws.ToString(p.Version)))
		}
		s.Package = strings.Join(names, ", ")
	}
	return s
}
