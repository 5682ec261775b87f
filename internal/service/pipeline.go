package service

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Pipeline says how the service is delivered stage by stage.
type Pipeline struct {
	Environments []string // in the order of delivery: each after the one it is promoted from
	Paths        []string // beside its own folder, what a change of concerns it; slash-separated, from that folder
	JUnit        []string // files the tests write, as patterns; none = the result is told by the command's end
	ScanTimeout  time.Duration
}

// DefaultScanTimeout is how long a scan's findings are waited for. ECR scans most images in seconds,
// and gives up large ones by itself.
const DefaultScanTimeout = 5 * time.Minute

// Notice is somebody who is told how deliveries go. Exactly one of Slack, Webhook and SMTP is set.
type Notice struct {
	Name     string
	Slack    string // reference of the address: env:NAME, ssm:NAME, secretsmanager:NAME
	Webhook  string // the same
	SMTP     string // host:port
	From     string
	To       []string
	User     string // references, as of Slack; empty = no login
	Password string
	TLS      string // starttls, implicit or none
	Token    string // of Webhook: reference of a bearer token; empty = none
	On       []string
	Subject  string // templates; empty = the default text
	Template string
}

// NoticeEvents are the events a delivery can be told of.
var NoticeEvents = []string{"started", "waiting", "delivered", "failed", "rejected", "superseded"}

type pipelineConfig struct {
	Environments []string `yaml:"environments" short:"true" jsonschema_description:"Environments it delivers to; default: all, in the order of promotion"`
	Paths        []string `yaml:"paths" jsonschema_description:"Beside the service's folder, files and folders whose change delivers it, relative to slipway.yaml; with * and ?"`
	JUnit        []string `yaml:"junit" jsonschema_description:"JUnit files the tests write, relative to slipway.yaml; with * and ?"`
	ScanTimeout  duration `yaml:"scan_timeout" jsonschema_description:"How long the scan's findings are waited for; default: 5m"`
}

type noticeConfig struct {
	Slack    string   `yaml:"slack" jsonschema:"pattern=^(env|ssm|secretsmanager):.+$" jsonschema_description:"Where the address of a Slack-compatible webhook is kept: env:NAME, ssm:NAME or secretsmanager:NAME"`
	Webhook  string   `yaml:"webhook" jsonschema:"pattern=^(env|ssm|secretsmanager):.+$" jsonschema_description:"Where the address of a webhook is kept that takes the event as JSON"`
	Token    string   `yaml:"token" jsonschema:"pattern=^(env|ssm|secretsmanager):.+$" jsonschema_description:"Webhook only: where its bearer token is kept"`
	SMTP     string   `yaml:"smtp" jsonschema:"pattern=^[^ :/]+(:[0-9]+)?$" jsonschema_description:"Mail server, host:port; default port: 587"`
	From     string   `yaml:"from" jsonschema_description:"SMTP only: the sender"`
	To       []string `yaml:"to" jsonschema_description:"SMTP only: the recipients"`
	User     string   `yaml:"user" jsonschema:"pattern=^(env|ssm|secretsmanager):.+$" jsonschema_description:"SMTP only: where the user's name is kept"`
	Password string   `yaml:"password" jsonschema:"pattern=^(env|ssm|secretsmanager):.+$" jsonschema_description:"SMTP only: where the password is kept"`
	TLS      string   `yaml:"tls" jsonschema:"enum=starttls,enum=implicit,enum=none" jsonschema_description:"SMTP only; default: starttls"`
	On       []string `yaml:"on" jsonschema:"enum=started,enum=waiting,enum=delivered,enum=failed,enum=rejected,enum=superseded" jsonschema_description:"What is told; default: all but started"`
	Subject  string   `yaml:"subject" jsonschema_description:"SMTP only: template of the subject"`
	Template string   `yaml:"template" jsonschema_description:"Template of the text, in Go's text/template: .Event, .Service, .Environment, .Stage, .Release, .Commit, .Digest, .By, .Reason, .BuildURL, .URL"`
}

var mailAddress = regexp.MustCompile(`^[^@\s]+@[^@\s]+$|^[^<>]+<[^@\s<>]+@[^@\s<>]+>$`)

// fillPipeline comes after fillPromotion, which gives the order.
func (f *File) fillPipeline(cfg *fileConfig, d *decoder) {
	at := func(p string) pos { return lookup(d.at, p, pos{1, 1}) }
	f.Pipeline = Pipeline{Paths: cfg.Pipeline.Paths, JUnit: cfg.Pipeline.JUnit, ScanTimeout: time.Duration(cfg.Pipeline.ScanTimeout)}
	if f.Pipeline.ScanTimeout == 0 {
		f.Pipeline.ScanTimeout = DefaultScanTimeout
	}
	for _, m := range within("pipeline.scan_timeout", f.Pipeline.ScanTimeout, time.Second, time.Hour) {
		d.report(at("pipeline.scan_timeout"), m)
	}
	for key, patterns := range map[string][]string{"paths": cfg.Pipeline.Paths, "junit": cfg.Pipeline.JUnit} {
		for i, p := range patterns {
			where := fmt.Sprintf("pipeline.%s[%d]", key, i)
			if _, err := path.Match(p, ""); err != nil || p == "" || strings.HasPrefix(p, "/") {
				d.report(at(where), fmt.Sprintf("%s: %q is not a relative path, with * and ? at most", where, p))
			}
		}
	}
	given := cfg.Pipeline.Environments
	for i, env := range given {
		where := fmt.Sprintf("pipeline.environments[%d]", i)
		f.checkEnvironment(d, where, env)
		if slices.Index(given, env) != i {
			d.report(at(where), fmt.Sprintf("%s: %q is there twice", where, env))
		}
		if from := f.Promotion[env].From; from != "" && !slices.Contains(given[:i], from) {
			d.report(at(where), fmt.Sprintf("%s: %q is promoted from %q, which must come before it", where, env, from))
		}
	}
	if f.Pipeline.Environments = given; len(given) == 0 {
		var circle []string
		if f.Pipeline.Environments, circle = f.promotionOrder(); len(circle) > 0 {
			d.report(at("promotion."+circle[0]), "promotion: environments come from each other: "+strings.Join(circle, ", "))
		}
	}
	f.fillNotify(cfg, d)
}

// promotionOrder is the order of the file, but every environment after the one it is promoted from.
func (f *File) promotionOrder() (order, circle []string) {
	for left := f.Environments(); len(left) > 0; {
		i := slices.IndexFunc(left, func(env string) bool {
			from := f.Promotion[env].From
			return from == "" || !slices.Contains(left, from)
		})
		if i < 0 {
			return append(order, left...), left
		}
		order = append(order, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return order, nil
}

func (f *File) fillNotify(cfg *fileConfig, d *decoder) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Notify)) {
		c, where := cfg.Notify[name], "notify."+name
		fault := func(key, format string, args ...any) {
			at := where
			if key != "" {
				at += "." + key
			}
			d.report(lookup(d.at, at, pos{1, 1}), at+": "+fmt.Sprintf(format, args...))
		}
		n := Notice{Name: name, Slack: c.Slack, Webhook: c.Webhook, Token: c.Token, SMTP: c.SMTP, From: c.From, To: c.To, User: c.User, Password: c.Password,
			TLS: c.TLS, On: c.On, Subject: c.Subject, Template: c.Template}
		if count(c.Slack != "", c.Webhook != "", c.SMTP != "") != 1 {
			fault("", "exactly one of slack, webhook and smtp is needed")
		}
		for _, k := range []struct {
			key  string
			set  bool
			kind string
		}{{"from", c.From != "", "smtp"}, {"to", len(c.To) > 0, "smtp"}, {"user", c.User != "", "smtp"}, {"password", c.Password != "", "smtp"}, {"tls", c.TLS != "", "smtp"},
			{"subject", c.Subject != "", "smtp"}, {"token", c.Token != "", "webhook"}} {
			if k.set && (k.kind == "smtp" && c.SMTP == "" || k.kind == "webhook" && c.Webhook == "") {
				fault(k.key, "this is of %s only", k.kind)
			}
		}
		if c.SMTP != "" {
			if !strings.Contains(n.SMTP, ":") {
				n.SMTP += ":587"
			}
			if n.TLS == "" {
				n.TLS = "starttls"
			}
			switch {
			case c.From == "" || len(c.To) == 0:
				fault("smtp", "a mail needs from and to")
			case !mailAddress.MatchString(c.From):
				fault("from", "%q is not a mail address", c.From)
			}
			for i, to := range c.To {
				if !mailAddress.MatchString(to) {
					fault(fmt.Sprintf("to[%d]", i), "%q is not a mail address", to)
				}
			}
			if (c.User == "") != (c.Password == "") {
				fault("smtp", "user and password are needed together")
			}
			if n.TLS == "none" && c.Password != "" {
				fault("tls", "a password is not sent without encryption")
			}
		}
		if n.On == nil {
			n.On = NoticeEvents[1:]
		}
		f.Notify = append(f.Notify, n)
	}
}
