// Package web is the dashboard: pages that show where each version of each service is, what it waits
// for, and how the tasks lie on the instances; and the one thing people do there, approving. It draws
// what a Source tells it and decides nothing.
package web

import (
	"context"
	"time"
)

// Source is where the dashboard's picture comes from, and where a verdict goes. It is asked one thing at a time.
type Source interface {
	// Look is the present state of everything that is shown. What could not be read is said in the
	// place where it would be (Problem); an error is for when there is nothing to show.
	Look(ctx context.Context) (*Picture, error)
	// Decide records a person's verdict on a digest, and on no other.
	Decide(ctx context.Context, v Verdict) error
}

// Verdict is what somebody says of an image.
type Verdict struct {
	Service, Environment string
	Digest               string // sha256:…
	Approve              bool   // false: it is rejected
	Note                 string
}

// Picture is what there is at one moment.
type Picture struct {
	At       time.Time `json:"at"`
	Account  string    `json:"account,omitempty"`
	Region   string    `json:"region,omitempty"`
	You      string    `json:"you,omitempty"` // whose verdicts are recorded; empty: they are not taken
	Services []Service `json:"services"`
	Clusters []Cluster `json:"clusters"`
}

// Service is one slipway.yaml.
type Service struct {
	Name         string        `json:"name"`
	Team         string        `json:"team,omitempty"`
	Repository   string        `json:"repository,omitempty"`
	Problem      string        `json:"problem,omitempty"`
	Environments []Environment `json:"environments"`
	History      []Event       `json:"history,omitempty"` // newest first
}

// State of an environment, in a word.
type State string

const (
	Serving     State = "serving"
	Deploying   State = "deploying"
	RollingBack State = "rolling back"
	RolledBack  State = "rolled back" // the last deployment failed; what ran before runs
	Failed      State = "failed"      // the last deployment failed
	Degraded    State = "degraded"    // fewer tasks than asked for
	OnDemand    State = "on demand"   // a job
	Absent      State = "not deployed"
	Unknown     State = "unknown"
)

// Environment of a service.
type Environment struct {
	Name        string       `json:"name"`
	State       State        `json:"state"`
	Says        string       `json:"says,omitempty"` // why it is in that state
	Cluster     string       `json:"cluster,omitempty"`
	URL         string       `json:"url,omitempty"`
	Release     string       `json:"release,omitempty"` // a git tag or a short commit hash
	Digest      string       `json:"digest,omitempty"`
	Since       time.Time    `json:"since,omitzero"`
	Why         string       `json:"why,omitempty"`
	Running     int          `json:"running"`
	Desired     int          `json:"desired"`
	Tasks       []Task       `json:"tasks,omitempty"`
	Targets     []Target     `json:"targets,omitempty"`
	Deployments []Deployment `json:"deployments,omitempty"`
	Next        *Candidate   `json:"next,omitempty"`
}

// Candidate is what could go to an environment: what runs in the one before.
type Candidate struct {
	From     string    `json:"from"`
	Release  string    `json:"release,omitempty"`
	Digest   string    `json:"digest"`
	Refusals []Refusal `json:"refusals"` // what stands against it; none: it may be promoted
	Asks     bool      `json:"asks"`     // an approval is asked for, and not there
	Command  string    `json:"command"`  // that promotes it
}

// Refusal is a rule that is not met.
type Refusal struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
	Remedy string `json:"remedy"`
}

// Task that runs, or has stopped a short time ago.
type Task struct {
	ID     string    `json:"id"`
	Status string    `json:"status"`
	Health string    `json:"health,omitempty"`
	Zone   string    `json:"zone,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Reason string    `json:"reason,omitempty"` // why it stopped
}

// Target of its target group.
type Target struct {
	Name   string `json:"name"`
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// Deployment of the service, as ECS tells it.
type Deployment struct {
	Status string    `json:"status"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Event is a statement of the ledger.
type Event struct {
	At          time.Time `json:"at"`
	What        string    `json:"what"`
	Environment string    `json:"environment,omitempty"`
	Release     string    `json:"release,omitempty"`
	Digest      string    `json:"digest"`
	Outcome     string    `json:"outcome"`
	By          string    `json:"by"`
	Note        string    `json:"note,omitempty"`
	Link        string    `json:"link,omitempty"` // of the CI run
	Signed      string    `json:"signed,omitempty"`
}

// Cluster is its instances with the tasks packed on them.
type Cluster struct {
	Name      string     `json:"name"`
	Problem   string     `json:"problem,omitempty"`
	CPU       Amount     `json:"cpu"`    // CPU units
	Memory    Amount     `json:"memory"` // MiB
	Instances []Instance `json:"instances"`
	Groups    []string   `json:"groups,omitempty"` // of tasks, service:NAME or family:NAME
	Notices   []string   `json:"notices,omitempty"`
}

// Amount of something that is there, and how much of it tasks have reserved.
type Amount struct {
	Used  int `json:"used"`
	Whole int `json:"whole"`
}

// Percent that is used, 0 where there is none.
func (a Amount) Percent() int {
	if a.Whole <= 0 {
		return 0
	}
	return min((a.Used*100+a.Whole/2)/a.Whole, 100)
}

// Instance of a cluster.
type Instance struct {
	ID     string  `json:"id"`
	Type   string  `json:"type,omitempty"`
	Zone   string  `json:"zone,omitempty"`
	State  string  `json:"state"`
	CPU    Amount  `json:"cpu"`
	Memory Amount  `json:"memory"`
	Shares []Share `json:"shares,omitempty"`
}

// Share is what the tasks of one group take of an instance.
type Share struct {
	Group  string `json:"group"`
	Tasks  int    `json:"tasks"`
	CPU    int    `json:"cpu"`
	Memory int    `json:"memory"`
}
