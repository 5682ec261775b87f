package report

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Finding is a weakness a scan found in an image.
type Finding struct {
	Name        string // CVE-2026-1234
	Severity    string // as ECR writes it: INFORMATIONAL … CRITICAL, UNDEFINED
	Description string
	URI         string
	Package     string // name and version of what has it; may be empty
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifRule struct {
	ID         string            `json:"id"`
	Short      sarifText         `json:"shortDescription"`
	Full       *sarifText        `json:"fullDescription,omitempty"`
	HelpURI    string            `json:"helpUri,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
}

type sarifResult struct {
	RuleID       string            `json:"ruleId"`
	RuleIndex    int               `json:"ruleIndex"`
	Level        string            `json:"level"`
	Message      sarifText         `json:"message"`
	Locations    []any             `json:"locations"`
	Fingerprints map[string]string `json:"partialFingerprints"`
}

// scores stand for severities where readers want a number from 0 to 10.
// https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning#reportingdescriptor-object
var scores = map[string]string{"CRITICAL": "9.5", "HIGH": "8.0", "MEDIUM": "5.5", "LOW": "2.0", "INFORMATIONAL": "0.0"}

// SARIF writes the findings of an image.
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
func SARIF(tool, version, repository, digest string, findings []Finding) ([]byte, error) {
	sorted := slices.Clone(findings)
	slices.SortStableFunc(sorted, func(a, b Finding) int { return compare(a, b) })
	rules, results := []sarifRule{}, []sarifResult{}
	index := map[string]int{}
	for _, f := range sorted {
		if _, known := index[f.Name]; !known {
			index[f.Name] = len(rules)
			r := sarifRule{ID: f.Name, Short: sarifText{f.Name}, HelpURI: f.URI}
			if f.Description != "" {
				r.Full = &sarifText{f.Description}
			}
			if s := scores[f.Severity]; s != "" {
				r.Properties = map[string]string{"security-severity": s}
			}
			rules = append(rules, r)
		}
		message := fmt.Sprintf("%s, %s", f.Name, f.Severity)
		if f.Package != "" {
			message += ", in " + f.Package
		}
		if f.Description != "" {
			message += ": " + f.Description
		}
		results = append(results, sarifResult{RuleID: f.Name, RuleIndex: index[f.Name], Level: level(f.Severity), Message: sarifText{message},
			Locations: []any{map[string]any{
				"physicalLocation": map[string]any{"artifactLocation": map[string]string{"uri": repository + "@" + digest}},
				"logicalLocations": []any{map[string]string{"fullyQualifiedName": repository + ":" + f.Package}},
			}},
			Fingerprints: map[string]string{"finding/v1": f.Name + "@" + f.Package}})
	}
	data, err := json.MarshalIndent(map[string]any{
		"$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		"version": "2.1.0",
		"runs":    []any{map[string]any{"tool": map[string]any{"driver": map[string]any{"name": tool, "version": version, "rules": rules}}, "results": results}},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing a SARIF report: %w", err)
	}
	return append(data, '\n'), nil
}

var worst = []string{"CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNDEFINED"}

func compare(a, b Finding) int {
	rank := func(s string) int {
		if i := slices.Index(worst, s); i >= 0 {
			return i
		}
		return len(worst)
	}
	if r := rank(a.Severity) - rank(b.Severity); r != 0 {
		return r
	}
	switch {
	case a.Name < b.Name:
		return -1
	case a.Name > b.Name:
		return 1
	}
	return 0
}

func level(severity string) string {
	switch severity {
	case "CRITICAL", "HIGH":
		return "error"
	case "MEDIUM":
		return "warning"
	}
	return "note"
}

// Worst is the worst severity of the findings; empty if there is none.
func Worst(findings []Finding) string {
	best := len(worst)
	for _, f := range findings {
		if i := slices.Index(worst, f.Severity); i >= 0 && i < best {
			best = i
		}
	}
	if best == len(worst) {
		return ""
	}
	return worst[best]
}
