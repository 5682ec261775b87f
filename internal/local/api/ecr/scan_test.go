package ecr

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
)

// What scans find comes from a file: the image's own entry before the repository's before everybody's.
func TestScanFindings(t *testing.T) {
	f := start(t)
	f.create(t, "shop")
	f.create(t, "other")
	bad, good, other := f.push(t, "shop:1", nil), f.push(t, "shop:2", nil), f.push(t, "other:1", nil)
	scan := func(repository, digest string) *ecr.DescribeImageScanFindingsOutput {
		t.Helper()
		id := &types.ImageIdentifier{ImageDigest: &digest}
		if _, err := f.DescribeImageScanFindings(t.Context(), &ecr.DescribeImageScanFindingsInput{RepositoryName: &repository, ImageId: id}); err != nil && code(err) != "ScanNotFoundException" {
			t.Fatal(err)
		}
		if _, err := f.StartImageScan(t.Context(), &ecr.StartImageScanInput{RepositoryName: &repository, ImageId: id}); err != nil {
			t.Fatal(err)
		}
		out, err := f.DescribeImageScanFindings(t.Context(), &ecr.DescribeImageScanFindingsInput{RepositoryName: &repository, ImageId: id})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := scan("shop", bad); out.ImageScanStatus.Status != "FAILED" || out.ImageScanFindings != nil {
		t.Errorf("without a file: %+v", out.ImageScanStatus)
	}
	text := fmt.Sprintf(`{"shop@%s": [{"name": "CVE-1", "severity": "HIGH", "uri": "https://cve.example.com/1", "description": "bad",
		"attributes": [{"key": "package_name", "value": "zlib"}, {"key": "package_version", "value": "1.2"}]}, {"name": "CVE-2", "severity": "LOW"}],
		"shop": [], "*": [{"name": "CVE-3", "severity": "MEDIUM"}]}`, bad)
	if err := os.WriteFile(f.scans, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got := scan("shop", bad)
	found := got.ImageScanFindings
	if got.ImageScanStatus.Status != "COMPLETE" || len(found.Findings) != 2 || found.FindingSeverityCounts["HIGH"] != 1 || found.FindingSeverityCounts["LOW"] != 1 || found.ImageScanCompletedAt == nil {
		t.Fatalf("%+v", found)
	}
	if one := found.Findings[0]; aws.ToString(one.Name) != "CVE-1" || one.Severity != "HIGH" || aws.ToString(one.Uri) != "https://cve.example.com/1" || len(one.Attributes) != 2 || aws.ToString(one.Attributes[0].Value) != "zlib" {
		t.Errorf("%+v", one)
	}
	if out := scan("shop", good); out.ImageScanStatus.Status != "COMPLETE" || len(out.ImageScanFindings.Findings) != 0 {
		t.Errorf("the repository's entry: %+v", out.ImageScanFindings)
	}
	if out := scan("other", other); len(out.ImageScanFindings.Findings) != 1 {
		t.Errorf("everybody's entry: %+v", out.ImageScanFindings)
	}
	if err := os.WriteFile(f.scans, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := scan("other", other); out.ImageScanStatus.Status != "FAILED" || !strings.Contains(aws.ToString(out.ImageScanStatus.Description), "cannot be read") {
		t.Errorf("a broken file: %+v", out.ImageScanStatus)
	}
}
