// Package pipeline is the way of a commit to production as stages, which one run does all of or many
// runs, on different machines, one each. It knows the order, what ends a delivery and who is told;
// what a stage does is a port.
package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is what a stage does.
type Kind string

const (
	Test    Kind = "test"
	Build   Kind = "build"
	Push    Kind = "push"
	Scan    Kind = "scan"
	Approve Kind = "approve" // of an environment, as all below
	Deploy  Kind = "deploy"
	Smoke   Kind = "smoke"
	Verify  Kind = "verify"
)

// Stage is one step of a delivery.
type Stage struct {
	Kind        Kind
	Environment string // of approve, deploy, smoke and verify
}

// Name is the stage's name on the command line: "deploy-qa".
func (s Stage) Name() string {
	if s.Environment == "" {
		return string(s.Kind)
	}
	return string(s.Kind) + "-" + s.Environment
}

// Environment is one that is delivered to.
type Environment struct {
	Name     string
	From     string // the environment its images come from; empty = none
	Approved bool   // people are asked before
}

// Stages of a delivery to the environments, which come each after the one it is promoted from. What
// others are promoted from gets a smoke test; an environment at the end of the way is verified: it must
// run the very digest that was delivered.
func Stages(environments []Environment) []Stage {
	out := []Stage{{Kind: Test}, {Kind: Build}, {Kind: Push}, {Kind: Scan}}
	for _, e := range environments {
		if e.Approved {
			out = append(out, Stage{Approve, e.Name})
		}
		out = append(out, Stage{Deploy, e.Name})
		last := Smoke
		if !slices.ContainsFunc(environments, func(o Environment) bool { return o.From == e.Name }) {
			last = Verify
		}
		out = append(out, Stage{last, e.Name})
	}
	return out
}

// Selection is the part of the stages that a run does: one, or from one to another, each empty for the
// first and the last.
type Selection struct{ Stage, From, Until string }

// Of cuts the selection out of all stages.
func (s Selection) Of(all []Stage) ([]Stage, error) {
	if s.Stage != "" {
		if s.From != "" || s.Until != "" {
			return nil, fmt.Errorf("stage %s is one stage: it goes without from and until", s.Stage)
		}
		s.From, s.Until = s.Stage, s.Stage
	}
	first, last := 0, len(all)-1
	for name, to := range map[string]*int{s.From: &first, s.Until: &last} {
		if name == "" {
			continue
		}
		if *to = slices.IndexFunc(all, func(st Stage) bool { return st.Name() == name }); *to < 0 {
			return nil, fmt.Errorf("there is no stage %q; there are %s", name, strings.Join(Names(all), ", "))
		}
		if s.From == s.Until { // the map has one entry for both
			first, last = *to, *to
		}
	}
	if first > last {
		return nil, fmt.Errorf("stage %s comes after %s", s.From, s.Until)
	}
	return all[first : last+1], nil
}

// Names of stages.
func Names(stages []Stage) []string {
	var out []string
	for _, s := range stages {
		out = append(out, s.Name())
	}
	return out
}
