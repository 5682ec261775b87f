package service

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
)

// DefaultEnvironment is the one environment of a file that declares none.
const DefaultEnvironment = "default"

// File is a slipway.yaml whose every environment has been found good.
type File struct {
	Path         string
	Service      string
	Team         string
	Repository   string // name of the image repository
	Build        Build
	Test         Test
	ImageTags    ImageTags
	RequiredTags []string
	Signing      Signing
	Promotion    map[string]Promotion // by environment; no entry = nothing is asked
	Pipeline     Pipeline
	Notify       []Notice // by name

	environments []string // in the order of the file
	specs        map[string]Spec
	targets      map[string]Target
}

// Build says how the main container's image comes to be. Exactly one of Ko, Dockerfile and Image is set.
type Build struct {
	Ko         string // import path or folder of a Go main package
	Dockerfile string // its path
	Image      string // a reference to copy
	Context    string
	Target     string
	Args       map[string]string
	Secrets    map[string]string // of a Dockerfile: id → file, or env:NAME
	LDFlags    []string
	Base       string
	Platform   string   // linux/amd64 or linux/arm64: that of the tasks
	Platforms  []string // all of the image's, Platform among them
}

// Test is the command that must pass before an image is built.
type Test struct {
	Command []string // empty = none
	Folder  string
	Timeout time.Duration
}

// ImageTags says which tags an image gets. Tags are for people: deployments use digests.
type ImageTags struct {
	HashLength int // of the commit, 7–40
	Latest     bool
	Branches   []string // that set latest; none = main and master
	GitTags    bool
	Prefixes   map[string]string // environment → prefix of the tag written when deployed there
}

// Signing says with what statements about images are signed, and whose signatures are trusted.
type Signing struct {
	Key     string   // file of a private key
	KMS     string   // a key of KMS, instead of Key
	Trusted []string // files of public keys
}

// Promotion is what a digest must have before it is deployed to an environment.
type Promotion struct {
	From      string // deployed there before; empty = nowhere
	Approvals int
	Approvers []string // empty = anybody
	NotAuthor bool     // an approval by the commit's author does not count
	Tests     bool
	Signed    bool          // only statements that a trusted key signed count
	Soak      time.Duration // how long it must have run in From
	Severity  string        // worst finding let through: INFORMATIONAL … CRITICAL; empty = no scan is asked for
	Freezes   []Freeze
}

// Freeze is a time in which nothing is deployed to an environment: once, from Start to End, or on
// Days of every week, from From to To of the clock in Location.
type Freeze struct {
	Name       string
	Start, End time.Time
	Days       []time.Weekday
	From, To   time.Duration // since midnight, at most 24h
	Location   *time.Location
}

// Target is where an environment is: what Terraform's root module needs beside the Spec.
type Target struct {
	Region string // empty = that of the AWS configuration
	// Repository is the image repository it is deployed from, with its registry or without.
	Repository string
	State      *State // nil = a local file
}

// State is a Terraform state in S3, locked by a file beside it.
type State struct{ Bucket, Key, Region, KMSKey string }

// Environments are the names of the environments, in the order of the file.
func (f *File) Environments() []string { return slices.Clone(f.environments) }

// Spec is the service in one environment.
func (f *File) Spec(env string) (Spec, Diagnostics) {
	s, ok := f.specs[env]
	if !ok {
		return Spec{}, Diagnostics{f.unknown(env)}
	}
	return s, nil
}

// Target is where one environment is.
func (f *File) Target(env string) (Target, Diagnostics) {
	t, ok := f.targets[env]
	if !ok {
		return Target{}, Diagnostics{f.unknown(env)}
	}
	return t, nil
}

func (f *File) unknown(env string) Diagnostic {
	return Diagnostic{File: f.Path, Line: 1, Column: 1, Message: fmt.Sprintf("no environment %q%s; there are: %v", env, didYouMean(env, f.environments), f.environments)}
}

// Parse reads a slipway.yaml: all of it, for every environment, so that every fault is reported at
// once and at its place. The File is nil if there are any.
func Parse(file string, data []byte) (*File, Diagnostics) {
	var faults Diagnostics
	report := func(p pos, message string) {
		faults = append(faults, Diagnostic{File: file, Line: p.line, Column: p.column, Message: message})
	}
	root := parseYAML(data, report)
	if root == nil {
		return nil, faults.sorted()
	}
	if root.kind != mapNode {
		report(root.pos, "the file must be a mapping such as \"service: NAME\"")
		return nil, faults.sorted()
	}
	root = expand(root, reflect.TypeFor[fileConfig]())

	var cfg fileConfig
	d := &decoder{report: report, at: map[string]pos{}, missing: func(at pos, path string) {
		if !strings.Contains(path, ".") { // the rest may be in another environment: see below
			report(at, path+" is missing")
		}
	}}
	d.decode(root, reflect.ValueOf(&cfg).Elem(), "", "")

	f := &File{Path: file, Service: cfg.Service, Team: cfg.Team, specs: map[string]Spec{}, targets: map[string]Target{}}
	envs := root.get("environments")
	if envs != nil && envs.kind == mapNode {
		for _, e := range envs.fields {
			f.environments = append(f.environments, e.key)
			if !environmentName.MatchString(e.key) || len(e.key) > 20 {
				report(e.pos, fmt.Sprintf("environment %q: a name has at most 20 characters, lower-case letters, digits and hyphens, a letter first", e.key))
			}
		}
	}
	if len(f.environments) == 0 {
		f.environments = []string{DefaultEnvironment}
	}
	f.fill(&cfg, d)
	faults = append(faults, f.readEnvironments(root, envs, &cfg)...)
	if faults = faults.sorted(); len(faults) > 0 {
		return nil, faults
	}
	return f, nil
}

// readEnvironments builds the Spec of each environment from the top level with the environment's
// own settings laid over it.
func (f *File) readEnvironments(root, envs *node, cfg *fileConfig) Diagnostics {
	base := &node{pos: root.pos, kind: mapNode}
	for _, fl := range root.fields {
		if _, ok := fieldByKey(reflect.TypeFor[settings](), fl.key); ok {
			base.fields = append(base.fields, fl)
		}
	}
	var all Diagnostics
	for _, env := range f.environments {
		merged := base
		origin := root.pos
		if over := envs.get(env); over != nil && over.kind == mapNode {
			merged = merge(base, over)
		}
		if envs != nil {
			for _, e := range envs.fields {
				if e.key == env {
					origin = e.pos
				}
			}
		}
		var found Diagnostics
		report := func(p pos, message string) {
			found = append(found, Diagnostic{File: f.Path, Line: p.line, Column: p.column, Message: message})
		}
		quiet := &decoder{report: func(pos, string) {}, at: map[string]pos{}, missing: func(at pos, path string) {
			report(at, path+" is missing")
		}} // other faults are reported already
		var s settings
		quiet.decode(merged, reflect.ValueOf(&s).Elem(), "", "")
		b := &builder{file: f, env: env, at: quiet.at, origin: origin, report: report}
		f.specs[env] = b.spec(cfg, &s)
		f.targets[env] = b.target(&s)
		all = append(all, found...)
	}
	return all
}

// fill takes over what does not differ by environment, with its defaults.
func (f *File) fill(cfg *fileConfig, d *decoder) {
	at := func(path string) pos { return lookup(d.at, path, pos{1, 1}) }
	f.Repository = cfg.Repository
	if f.Repository == "" {
		f.Repository = cfg.Service
	}
	f.RequiredTags = cfg.RequiredTags

	f.Build = Build{Ko: "."}
	if b := cfg.Build; b != nil {
		f.Build = Build{Ko: b.Ko, Dockerfile: b.Dockerfile, Image: b.Image, Context: b.Context, Target: b.Target, Args: b.Args, Secrets: b.Secrets, LDFlags: b.LDFlags, Base: b.Base}
		if n := count(b.Ko != "", b.Dockerfile != "", b.Image != ""); n != 1 {
			d.report(at("build"), "build needs exactly one of ko, dockerfile and image")
		}
		for key, set := range map[string]bool{"context": b.Context != "", "target": b.Target != "", "args": len(b.Args) > 0, "secrets": len(b.Secrets) > 0} {
			if set && b.Dockerfile == "" {
				d.report(at("build."+key), "build."+key+" is for a Dockerfile only")
			}
		}
		for key, set := range map[string]bool{"ldflags": len(b.LDFlags) > 0, "base": b.Base != ""} {
			if set && b.Ko == "" {
				d.report(at("build."+key), "build."+key+" is for ko only")
			}
		}
	}
	f.Build.Platform = "linux/amd64"
	if cfg.Architecture == "arm64" {
		f.Build.Platform = "linux/arm64"
	}
	f.Build.Platforms = []string{f.Build.Platform}
	if b := cfg.Build; b != nil && len(b.Platforms) > 0 {
		f.Build.Platforms = b.Platforms
		if b.Image != "" {
			d.report(at("build.platforms"), "build.platforms is for what is built: an image has the platforms it has")
		}
		for i, p := range b.Platforms {
			if p != "linux/amd64" && p != "linux/arm64" || slices.Contains(b.Platforms[:i], p) {
				d.report(at("build.platforms"), fmt.Sprintf("build.platforms: %q is twice there, or none of linux/amd64 and linux/arm64", p))
			}
		}
		if !slices.Contains(b.Platforms, f.Build.Platform) {
			d.report(at("build.platforms"), "build.platforms lacks "+f.Build.Platform+", on which the tasks run (architecture)")
		}
	}
	for env, e := range cfg.Environments {
		if e.Architecture != "" && "linux/"+map[string]string{"x86_64": "amd64", "arm64": "arm64"}[e.Architecture] != f.Build.Platform {
			d.report(at("environments."+env+".architecture"), "an environment cannot have its own architecture: the image that passed one is deployed to the next")
		}
	}

	f.Test = Test{Command: []string{"go", "test", "./..."}, Timeout: 10 * time.Minute}
	if t := cfg.Test; t != nil {
		if t.Command != nil {
			f.Test.Command = t.Command
		}
		f.Test.Folder = t.Folder
		if t.Timeout > 0 {
			f.Test.Timeout = time.Duration(t.Timeout)
		}
	} else if f.Build.Ko == "" {
		f.Test.Command = nil // not known to be Go
	}

	f.ImageTags = ImageTags{HashLength: 7, Latest: true, GitTags: true, Prefixes: map[string]string{}}
	if slices.Contains(f.environments, "prod") {
		f.ImageTags.Prefixes["prod"] = "prod_"
	}
	set(&f.ImageTags.HashLength, cfg.ImageTags.HashLength)
	set(&f.ImageTags.Latest, cfg.ImageTags.Latest)
	f.ImageTags.Branches = cfg.ImageTags.Branches
	set(&f.ImageTags.GitTags, cfg.ImageTags.GitTags)
	maps.Copy(f.ImageTags.Prefixes, cfg.ImageTags.Prefixes)
	for _, env := range slices.Sorted(maps.Keys(cfg.ImageTags.Prefixes)) {
		f.checkEnvironment(d, "image_tags.prefixes."+env, env)
	}
	f.fillPromotion(cfg, d)
	f.Signing = Signing{Key: cfg.Signing.Key, KMS: cfg.Signing.KMS, Trusted: cfg.Signing.Trusted}
	if f.Signing.Key != "" && f.Signing.KMS != "" {
		d.report(at("signing"), "signing takes key or kms, not both")
	}
	f.fillPipeline(cfg, d)
}

// fillPromotion: production asks for the environment before it and one approval, unless the file
// says otherwise.
func (f *File) fillPromotion(cfg *fileConfig, d *decoder) {
	f.Promotion = map[string]Promotion{}
	for i, env := range f.environments {
		if i > 0 && (env == "prod" || env == "production") {
			f.Promotion[env] = Promotion{From: f.environments[i-1], Approvals: 1, Tests: true}
		}
	}
	for _, env := range slices.Sorted(maps.Keys(cfg.Promotion)) {
		c, path := cfg.Promotion[env], "promotion."+env
		p := Promotion{From: c.From, Approvals: 1, Approvers: c.Approvers, Tests: true, Soak: time.Duration(c.Soak), Severity: strings.ToUpper(c.Severity)}
		set(&p.NotAuthor, c.NotAuthor)
		for _, name := range slices.Sorted(maps.Keys(c.Freezes)) {
			freeze, err := c.Freezes[name].freeze(name)
			if err != nil {
				at := path + ".freezes." + name
				d.report(lookup(d.at, at, pos{1, 1}), at+": "+err.Error())
			}
			p.Freezes = append(p.Freezes, freeze)
		}
		set(&p.Approvals, c.Approvals)
		set(&p.Tests, c.Tests)
		set(&p.Signed, c.Signed)
		f.Promotion[env] = p
		f.checkEnvironment(d, path, env)
		if c.From != "" {
			f.checkEnvironment(d, path+".from", c.From)
		}
		if c.From == env {
			d.report(lookup(d.at, path+".from", pos{1, 1}), fmt.Sprintf("%s.from: an environment cannot come from itself", path))
		}
		if n := len(c.Approvers); n > 0 && p.Approvals > n {
			d.report(lookup(d.at, path+".approvals", pos{1, 1}), fmt.Sprintf("%s.approvals is %d, but approvers lists %d", path, p.Approvals, n))
		}
	}
}

var weekdays = map[string]time.Weekday{"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}

func (c freezeConfig) freeze(name string) (Freeze, error) {
	f := Freeze{Name: name, To: 24 * time.Hour, Location: time.UTC}
	once := c.Start != "" || c.End != ""
	switch {
	case once == (len(c.Days) > 0):
		return f, errors.New("needs days of the week, or start and end")
	case once:
		var err, err2 error
		f.Start, err = time.Parse(time.RFC3339, c.Start)
		f.End, err2 = time.Parse(time.RFC3339, c.End)
		if err != nil || err2 != nil {
			return f, errors.New("start and end are both needed, written 2026-12-20T00:00:00Z")
		}
		if !f.Start.Before(f.End) {
			return f, errors.New("start is not before end")
		}
		return f, nil
	}
	for _, day := range c.Days {
		f.Days = append(f.Days, weekdays[day])
	}
	if c.Timezone != "" {
		loc, err := time.LoadLocation(c.Timezone)
		if err != nil {
			return f, fmt.Errorf("timezone %q is not known", c.Timezone)
		}
		f.Location = loc
	}
	ofDay(c.From, &f.From)
	ofDay(c.To, &f.To)
	return f, nil
}

// ofDay reads 20:00; what is not given leaves to as it is.
func ofDay(text string, to *time.Duration) {
	var h, m int
	if _, err := fmt.Sscanf(text, "%d:%d", &h, &m); err == nil {
		*to = time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
	}
}

func (f *File) checkEnvironment(d *decoder, path, env string) {
	if !slices.Contains(f.environments, env) {
		d.report(lookup(d.at, path, pos{1, 1}), fmt.Sprintf("%s: no environment %q%s", path, env, didYouMean(env, f.environments)))
	}
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func count(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}
