package service

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestPipeline(t *testing.T) {
	f, faults := Parse("slipway.yaml", []byte(`service: shop
cluster: main
container: { port: 8080 }
promotion:
  qa: { from: dev, approvals: 0 }
  prod: { from: qa }
environments: { prod: {}, dev: {}, qa: {} }
pipeline:
  paths: [../lib, ../go.*]
  junit: [build/*.xml]
notify:
  chat: { slack: "env:CHAT_URL", on: [waiting] }
  mail: { smtp: mail.example.com, from: "Shop <shop@example.com>", to: [qa@example.com], user: "env:SMTP_USER", password: "ssm:/mail/password" }
`))
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	want := Pipeline{Environments: []string{"dev", "qa", "prod"}, Paths: []string{"../lib", "../go.*"}, JUnit: []string{"build/*.xml"}, ScanTimeout: 5 * time.Minute}
	if !reflect.DeepEqual(f.Pipeline, want) {
		t.Errorf("got %+v, want %+v", f.Pipeline, want)
	}
	notices := []Notice{{Name: "chat", Slack: "env:CHAT_URL", On: []string{"waiting"}},
		{Name: "mail", SMTP: "mail.example.com:587", From: "Shop <shop@example.com>", To: []string{"qa@example.com"}, User: "env:SMTP_USER", Password: "ssm:/mail/password",
			TLS: "starttls", On: []string{"waiting", "delivered", "failed", "rejected", "superseded"}}}
	if !reflect.DeepEqual(f.Notify, notices) {
		t.Errorf("got %+v,\nwant %+v", f.Notify, notices)
	}
}

func TestPipelineFaults(t *testing.T) {
	const head = "service: shop\ncluster: main\ncontainer: { port: 8080 }\nenvironments: { qa: {}, prod: {} }\n"
	for name, tt := range map[string]struct{ text, want string }{
		"unknown environment":  {"pipeline:\n  environments: [qa, prud]", `slipway.yaml:6:22: pipeline.environments[1]: no environment "prud"; did you mean "prod"?`},
		"before its source":    {"pipeline:\n  environments: [prod, qa]", `6:18: pipeline.environments[0]: "prod" is promoted from "qa", which must come before it`},
		"twice":                {"pipeline: [qa, prod, qa]", `5:22: pipeline.environments[2]: "qa" is there twice`},
		"circle":               {"promotion:\n  qa: { from: prod }\n  prod: { from: qa }", `6:3: promotion: environments come from each other: qa, prod`},
		"absolute path":        {"pipeline:\n  paths: [/lib]", `6:11: pipeline.paths[0]: "/lib" is not a relative path`},
		"a secret in the file": {"notify:\n  chat: { slack: \"https://hooks.example.com/T0/secret\" }", "6:18: notify.chat.slack"},
		"two kinds":            {"notify:\n  chat: { slack: \"env:A\", webhook: \"env:B\" }", "6:3: notify.chat: exactly one of slack, webhook and smtp is needed"},
		"mail without to":      {"notify:\n  mail: { smtp: \"m:25\", from: a@b.c }", "6:17: notify.mail.smtp: a mail needs from and to"},
		"no address":           {"notify:\n  mail: { smtp: \"m:25\", from: a@b.c, to: [bob] }", `6:43: notify.mail.to[0]: "bob" is not a mail address`},
		"open password":        {"notify:\n  mail: { smtp: \"m:25\", from: a@b.c, to: [b@c.d], tls: none, user: \"env:U\", password: \"env:P\" }", "notify.mail.tls: a password is not sent without encryption"},
		"unknown event":        {"notify:\n  chat: { slack: \"env:A\", on: [deliverd] }", `"deliverd" is not one of started, waiting, delivered, failed, rejected, superseded; did you mean "delivered"?`},
		"of another kind":      {"notify:\n  chat: { slack: \"env:A\", to: [a@b.c] }", "6:27: notify.chat.to: this is of smtp only"},
		"too long a scan":      {"pipeline:\n  scan_timeout: 2h", "6:17: pipeline.scan_timeout is 2h; it must be from 1s to 1h"},
	} {
		t.Run(name, func(t *testing.T) {
			_, faults := Parse("slipway.yaml", []byte(head+tt.text+"\n"))
			if !strings.Contains(faults.String(), tt.want) {
				t.Errorf("got\n%s\nwant %s", faults, tt.want)
			}
		})
	}
}
