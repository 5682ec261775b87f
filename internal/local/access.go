package local

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/ecs"
	"github.com/slipway-ecs/slipway/internal/local/api/iam"
	"github.com/slipway-ecs/slipway/internal/local/api/sts"
	"github.com/slipway-ecs/slipway/internal/local/authz"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// access is who may call, and what.
type access struct {
	iam      *iam.Service
	sts      *sts.Service
	key      string // the first key, with --auth: the account's own
	secret   string
	keyFile  string
	enforcer *authz.Enforcer // nil: policies are records
	log      decisions
}

// Enforcer holds calls against IAM policies; nil unless Config.EnforceIAM.
func (l *Local) Enforcer() *authz.Enforcer { return l.access.enforcer }

// KeyFile is where the first access key is, in the form of AWS's shared credentials file; empty without
// Config.Auth.
func (l *Local) KeyFile() string { return l.access.keyFile }

func (l *Local) serverOptions(files string) ([]wire.ServerOption, error) {
	cfg := &l.cfg
	out := []wire.ServerOption{wire.WithLogger(cfg.Log), wire.WithAccount(cfg.Account), wire.WithRegion(cfg.Region), wire.WithSkew(func() time.Duration { return l.world.ClockSkew() })}
	if !cfg.Auth {
		return out, nil
	}
	if err := l.access.bootstrap(filepath.Join(files, "credentials")); err != nil {
		return nil, err
	}
	return append(out, wire.WithKeys(l.access.secretOf), wire.WithTokens(l.token)), nil
}

// guard adds what may refuse a call; it comes before the faults, as at AWS's door.
func (l *Local) guard() {
	l.access.sts.User = func(key string) (arn, id string, ok bool) {
		c, ok, err := l.access.iam.ByKey(key)
		if !ok || err != nil {
			return "", "", false
		}
		return c.ARN, c.Context["aws:userid"][0], true
	}
	if l.cfg.EnforceIAM {
		l.access.enforcer = &authz.Enforcer{IAM: l.access.iam, STS: l.access.sts, Clock: l.clock, Account: l.cfg.Account, Service: l.server.Service, BucketPolicy: func(b string) string { return l.around.s3.Policy(b) }, Seen: l.access.log.add,
			GroupOf: func(instance string) string { return l.autoscaling.GroupOf(instance) }}
		l.server.Fallback("/_slipway/access", &l.access.log)
		l.server.Use(l.access.enforcer.Middleware)
	}
	if l.cfg.Throttle {
		l.server.Use(ecs.Throttle(l.clock))
	}
}

var keyLines = regexp.MustCompile(`(?m)^aws_access_key_id = (\S+)\naws_secret_access_key = (\S+)$`)

// bootstrap reads the first access key, or makes one.
func (a *access) bootstrap(file string) error {
	a.keyFile = file
	data, err := os.ReadFile(file)
	if m := keyLines.FindSubmatch(data); m != nil {
		a.key, a.secret = string(m[1]), string(m[2])
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the first access key: %w", err)
	}
	secret := make([]byte, 30)
	_, _ = rand.Read(secret) // never fails
	a.key, a.secret = "AKIA"+rand.Text()[:16], base64.StdEncoding.EncodeToString(secret)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("keeping the first access key: %w", err)
	}
	text := "[default]\naws_access_key_id = " + a.key + "\naws_secret_access_key = " + a.secret + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("keeping the first access key: %w", err)
	}
	return nil
}

// secretOf is the secret of any key that is good here.
func (a *access) secretOf(key string) (string, bool) {
	if key == a.key {
		return a.secret, true
	}
	if secret, ok := a.iam.Secret(key); ok {
		return secret, true
	}
	ses, ok := a.sts.Session(key)
	return ses.Secret, ok && ses.Secret != ""
}

// token checks the session token that goes with temporary keys.
func (l *Local) token(key, token string) wire.TokenState {
	ses, ok := l.access.sts.Session(key)
	switch {
	case !ok && token == "":
		return wire.TokenGood
	case !ok || token != ses.Token:
		return wire.TokenBad
	case !ses.Expires.After(l.clock.Now()):
		return wire.TokenExpired
	}
	return wire.TokenGood
}
