package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func runImages(t *testing.T, stdin string, args ...string) (code int, out string, err error) {
	t.Helper()
	var buf bytes.Buffer
	cmd := newImagesCommand()
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&buf)
	cmd.SetErr(&buf)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.Execute()
	return exitCode(err), buf.String(), err
}

func policyFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const previewImages = `{"imageDetails":[
 {"imageDigest":"sha256:a","imageTags":["v1"],"imagePushedAt":"2026-01-01T00:00:00Z"},
 {"imageDigest":"sha256:b","imageTags":["v2"],"imagePushedAt":1769000000}]}`

func TestImagesPreview(t *testing.T) {
	policy := policyFile(t, "policy.json", `{"rules":[{"rulePriority":7,"description":"newest","selection":{"tagStatus":"tagged","tagPrefixList":["v"],"countType":"imageCountMoreThan","countNumber":1},"action":{"type":"expire"}}]}`)
	code, out, err := runImages(t, previewImages, "preview", "--policy", policy, "--images", "-", "--now", "2026-01-31T00:00:00Z", "--json")
	if code != 0 {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(out)); err != nil {
		t.Fatal(err)
	}
	const want = `{"expired":[{"imageDigest":"sha256:a","imageTags":["v1"],"rulePriority":7}],"transitioned":[],` +
		`"kept":[{"imageDigest":"sha256:b","why":"rule 7 matches it and keeps it: newest 1 of 2 matched, 1 stay"}],"refused":[]}`
	if compact.String() != want {
		t.Errorf("got  %s\nwant %s", compact.String(), want)
	}
	if code, out, err := runImages(t, previewImages, "preview", "--policy", policy, "--images", "-"); code != 0 || !strings.Contains(out, "1 expire") || !strings.Contains(out, "rule 7: newest 2 of 2 matched, 1 stay") {
		t.Error(code, out, err)
	}
	uses := policyFile(t, "uses.json", `[{"image":"127.0.0.1:4566/app@sha256:a","by":"service prod/app"},{"image":"v2","by":"service qa/app"}]`)
	if code, _, err := runImages(t, previewImages, "preview", "--policy", policy, "--images", "-", "--in-use", uses); code != ExitRefused ||
		!strings.Contains(err.Error(), "sha256:a (v1) would be expired by rule 7; used by service prod/app") || strings.Contains(err.Error(), "qa/app") {
		t.Errorf("%d, %v", code, err)
	}
	for _, args := range [][]string{{"preview"}, {"preview", "--policy", policy}, {"preview", "--policy", "/none", "--images", "-"}, {"preview", "--policy", policy, "--images", "-", "--now", "today"}} {
		if code, _, err := runImages(t, previewImages, args...); code != ExitBadInput {
			t.Errorf("%v: %d, %v", args, code, err)
		}
	}
}

func TestImagesPreviewOfAnInvalidPolicyListsEveryViolation(t *testing.T) {
	policy := policyFile(t, "policy.json", `{"rules":[{"rulePriority":3,"selection":{"tagStatus":"any","countType":"imageCountMoreThan","countUnit":"days","countNumber":0},"action":{"type":"expire"}}]}`)
	code, out, err := runImages(t, previewImages, "preview", "--policy", policy, "--images", "-", "--json")
	if code != ExitBadInput || strings.Count(err.Error(), "rule 1 (rulePriority 3): ") != 2 {
		t.Errorf("%d, %v", code, err)
	}
	var got struct {
		Violations []struct {
			RulePriority int
			Field        string
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Violations) != 2 || got.Violations[0].RulePriority != 3 || got.Violations[0].Field == "" {
		t.Errorf("%s: %v", out, err)
	}
}

func TestImagesLint(t *testing.T) {
	policy := policyFile(t, "policy.json", `{"rules":[{"rulePriority":1,"description":"the talk's","selection":{"tagStatus":"tagged","tagPrefixList":["prod","v","latest"],"countType":"imageCountMoreThan","countNumber":100},"action":{"type":"expire"}}]}`)
	if code, out, _ := runImages(t, "", "lint", "--policy", policy); code != ExitFailed || !strings.Contains(out, "rule 1: selects only images that match all of") {
		t.Errorf("%d, %s", code, out)
	}
	good := policyFile(t, "good.json", `{"rules":[{"rulePriority":1,"description":"prod","selection":{"tagStatus":"tagged","tagPrefixList":["prod_"],"countType":"imageCountMoreThan","countNumber":100},"action":{"type":"expire"}}]}`)
	if code, out, err := runImages(t, "", "lint", "--policy", good, "--json"); code != 0 || !strings.Contains(out, `"findings": []`) {
		t.Errorf("%d, %s, %v", code, out, err)
	}
}
