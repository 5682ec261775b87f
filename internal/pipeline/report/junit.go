// Package report writes what stages found in the forms CI systems read: JUnit and SARIF.
package report

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
	"time"
)

// Suite is a group of tests.
type Suite struct {
	Name  string
	Cases []Case
}

// Case is one test.
type Case struct {
	Name    string
	Took    time.Duration
	Failure string // what it said on failing; empty = it did not, unless Failed
	Failed  bool
	Skipped bool
}

type xmlSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Suites   []xmlSuite `xml:"testsuite"`
}

type xmlSuite struct {
	Name     string    `xml:"name,attr"`
	Tests    int       `xml:"tests,attr"`
	Failures int       `xml:"failures,attr"`
	Errors   int       `xml:"errors,attr"`
	Skipped  int       `xml:"skipped,attr"`
	Time     string    `xml:"time,attr"`
	Cases    []xmlCase `xml:"testcase"`
}

type xmlCase struct {
	Class   string      `xml:"classname,attr"`
	Name    string      `xml:"name,attr"`
	Time    string      `xml:"time,attr"`
	Failure *xmlFailure `xml:"failure,omitempty"`
	Skipped *struct{}   `xml:"skipped,omitempty"`
}

type xmlFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit writes suites in the form Jenkins, GitLab and others read.
// https://github.com/testmoapp/junitxml
func JUnit(suites []Suite) ([]byte, error) {
	out := xmlSuites{}
	for _, s := range suites {
		x := xmlSuite{Name: clean(s.Name), Tests: len(s.Cases)}
		took := time.Duration(0)
		for _, c := range s.Cases {
			took += c.Took
			xc := xmlCase{Class: clean(s.Name), Name: clean(c.Name), Time: seconds(c.Took)}
			switch {
			case c.Failed || c.Failure != "":
				x.Failures++
				first, _, _ := strings.Cut(strings.TrimSpace(c.Failure), "\n")
				xc.Failure = &xmlFailure{clean(first), clean(c.Failure)}
			case c.Skipped:
				x.Skipped++
				xc.Skipped = &struct{}{}
			}
			x.Cases = append(x.Cases, xc)
		}
		x.Time = seconds(took)
		out.Tests, out.Failures = out.Tests+x.Tests, out.Failures+x.Failures
		out.Suites = append(out.Suites, x)
	}
	data, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing a JUnit report: %w", err)
	}
	return append([]byte(xml.Header), append(data, '\n')...), nil
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%.3f", math.Max(0, d.Seconds()))
}

// clean takes out what XML cannot say, such as the colours of a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, s)
}
