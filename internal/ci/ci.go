// Package ci writes the definitions of CI systems that deliver a service: one stage of slipway.yaml is
// one stage there, each a command that finds what came before by itself.
//
// It is pure: the text follows from the stages.
package ci

import (
	"bytes"
	"embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed templates
var files embed.FS

var templates = template.Must(template.New("").Delims("[[", "]]").Funcs(template.FuncMap{"upper": upper, "others": others, "asking": asking, "join": strings.Join, "timeout": timeout}).ParseFS(files, "templates/*"))

// Stage is a stage of the delivery.
type Stage struct {
	Name        string   // deploy-qa
	Kind        string   // test, build, push, scan, approve, deploy, smoke, verify
	Environment string   // of the last four
	Approvals   int      // of approve: how many people are asked
	Approvers   []string // of approve: who may be asked; none: anybody who may build
}

// Delivery is what is delivered.
type Delivery struct {
	Service string
	Folder  string // of slipway.yaml in the repository; "." for its root
	Branch  string // whose commits are delivered
	Label   string // of the agents; empty: any. Jenkins only
	Stages  []Stage
}

// A System is a CI system.
type System struct {
	Name string // jenkins
	Path string // of the definition in the repository
}

// Systems are those there is a definition for.
var Systems = []System{{"jenkins", "Jenkinsfile"}, {"github", ".github/workflows/deliver.yml"}, {"gitlab", ".gitlab-ci.yml"}}

// Find returns the system of a name.
func Find(name string) (System, error) {
	var names []string
	for _, s := range Systems {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return System{}, fmt.Errorf("there is no CI system %q; known are %s", name, strings.Join(names, ", "))
}

// Definition is the text of the system's definition.
func (s System) Definition(d Delivery) ([]byte, error) {
	return execute(s.Name, d)
}

// Library is the Jenkins shared library's step slipwayPipeline, for vars/slipwayPipeline.groovy. It runs
// what "slipway pipeline stages" lists, so that it need not be written anew when slipway.yaml changes.
func Library() ([]byte, error) { return execute("slipwayPipeline.groovy", Delivery{}) }

func execute(name string, d Delivery) ([]byte, error) {
	var out bytes.Buffer
	if err := templates.ExecuteTemplate(&out, name, d); err != nil {
		return nil, fmt.Errorf("writing the definition for %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// Before says which stage comes before the i-th; empty for the first.
func (d Delivery) Before(i int) string {
	if i == 0 {
		return ""
	}
	return d.Stages[i-1].Name
}

// question is one approval of a stage.
type question struct {
	Delivery Delivery
	Stage    Stage
	Number   int
}

func asking(d Delivery, s Stage, number int) question { return question{d, s, number} }

// others numbers the approvals after the first.
func others(approvals int) []int {
	var out []int
	for n := 2; n <= approvals; n++ {
		out = append(out, n)
	}
	return out
}

func upper(s string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(s))
}

// timeout is the hours a stage may take, whatever it waits for.
func timeout(kind string) int {
	if kind == "deploy" {
		return 2
	}
	return 1
}
