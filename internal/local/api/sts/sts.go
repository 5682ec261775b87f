// Package sts is Security Token Service of the local AWS: who calls, and temporary credentials that
// name a role's session.
package sts

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/stsapi"
)

// Session is a set of temporary credentials. Key: access key id. The state is readable by its owner only.
type Session struct {
	AccessKey, Account, RoleARN, Name, ARN, RoleID string
	Secret, Token                                  string
	Parent                                         string   // access key of the user, if GetSessionToken made it
	Policies                                       []string // session policies
	Expires                                        time.Time
}

// Service is Security Token Service.
type Service struct {
	db       *state.DB
	sessions *state.Table[Session]
	clock    clock.Clock
	// User is the user an access key belongs to; nil: keys belong to the account itself.
	User func(accessKey string) (arn, id string, ok bool)
}

// Register adds the operations to svc and the table to db.
func Register(svc *wire.Service, db *state.DB, clk clock.Clock) (*Service, error) {
	t, err := state.NewTable[Session](db, "sts.sessions")
	if err != nil {
		return nil, err
	}
	s := &Service{db: db, sessions: t, clock: clk}
	wire.Handle(svc, "GetCallerIdentity", s.identity)
	wire.Handle(svc, "AssumeRole", s.assumeRole)
	wire.Handle(svc, "AssumeRoleWithWebIdentity", s.assumeWeb)
	wire.Handle(svc, "GetSessionToken", s.sessionToken)
	wire.Handle(svc, "GetAccessKeyInfo", func(ctx context.Context, _ *stsapi.GetAccessKeyInfoInput) (*stsapi.GetAccessKeyInfoOutput, error) {
		return &stsapi.GetAccessKeyInfoOutput{Account: wire.Ptr(wire.Caller(ctx).Account)}, nil
	})
	return s, nil
}

// Session is the session of an access key; ok is false if there is none. It may have expired.
func (s *Service) Session(accessKey string) (ses Session, ok bool) {
	_ = s.db.View(func(tx *state.Tx) error { // reading memory does not fail
		x, found := s.sessions.Get(tx, accessKey)
		if ok = found; ok {
			ses = *x
		}
		return nil
	})
	return ses, ok
}

func (s *Service) identity(ctx context.Context, _ *stsapi.GetCallerIdentityInput) (*stsapi.GetCallerIdentityOutput, error) {
	who := wire.Caller(ctx)
	out := &stsapi.GetCallerIdentityOutput{Account: wire.Ptr(who.Account), Arn: wire.Ptr("arn:aws:iam::" + who.Account + ":root"), UserId: wire.Ptr(who.Account)}
	ses, ok := s.Session(who.AccessKey)
	key := who.AccessKey
	if ok {
		key = ses.Parent
	}
	if s.User != nil {
		if arn, id, found := s.User(key); found {
			out.Arn, out.UserId = &arn, &id
		}
	}
	if !ok {
		return out, nil
	}
	if ses.Expires.Before(s.clock.Now()) {
		return nil, wire.Errorf("ExpiredToken", "The security token included in the request is expired")
	}
	if ses.RoleARN != "" {
		out.Arn, out.UserId, out.Account = &ses.ARN, wire.Ptr(ses.RoleID+":"+ses.Name), &ses.Account
	}
	return out, nil
}

var roleARN = regexp.MustCompile(`^arn:aws:iam::(\d{12}):role/(.+/)?([\w+=,.@-]+)$`)

func (s *Service) assumeRole(_ context.Context, in *stsapi.AssumeRoleInput) (*stsapi.AssumeRoleOutput, error) {
	creds, user, err := s.begin(wire.Value(in.RoleArn), wire.Value(in.RoleSessionName), cmp.Or(wire.Value(in.DurationSeconds), 3600), in.Policy)
	if err != nil {
		return nil, err
	}
	return &stsapi.AssumeRoleOutput{Credentials: creds, AssumedRoleUser: user}, nil
}

func (s *Service) assumeWeb(_ context.Context, in *stsapi.AssumeRoleWithWebIdentityInput) (*stsapi.AssumeRoleWithWebIdentityOutput, error) {
	creds, user, err := s.begin(wire.Value(in.RoleArn), wire.Value(in.RoleSessionName), cmp.Or(wire.Value(in.DurationSeconds), 3600), in.Policy)
	if err != nil {
		return nil, err
	}
	return &stsapi.AssumeRoleWithWebIdentityOutput{Credentials: creds, AssumedRoleUser: user}, nil
}

func (s *Service) begin(role, name string, seconds int32, policy *string) (*stsapi.Credentials, *stsapi.AssumedRoleUser, error) {
	m := roleARN.FindStringSubmatch(role)
	switch {
	case m == nil:
		return nil, nil, wire.Errorf("ValidationError", "%s is invalid", role)
	case seconds < 900 || seconds > 43200:
		return nil, nil, wire.Errorf("ValidationError", "1 validation error detected: Value '%d' at 'durationSeconds' failed to satisfy constraint: Member must have value between 900 and 43200", seconds)
	}
	ses := &Session{AccessKey: "ASIA" + strings.ToUpper(rand.Text()[:16]), Account: m[1], RoleARN: role, Name: name, RoleID: "AROA" + rand.Text()[:16],
		ARN: "arn:aws:sts::" + m[1] + ":assumed-role/" + m[3] + "/" + name, Expires: s.clock.Now().Add(time.Duration(seconds) * time.Second)}
	if policy != nil {
		if _, err := evaluate.Parse(*policy, evaluate.Identity); err != nil {
			return nil, nil, wire.Errorf("MalformedPolicyDocument", "%s", err)
		}
		ses.Policies = []string{*policy}
	}
	creds, err := s.issue(ses)
	return creds, &stsapi.AssumedRoleUser{Arn: &ses.ARN, AssumedRoleId: wire.Ptr(ses.RoleID + ":" + name)}, err
}

func (s *Service) issue(ses *Session) (*stsapi.Credentials, error) {
	secret, token := make([]byte, 30), make([]byte, 120)
	_, _ = rand.Read(secret) // never fails
	_, _ = rand.Read(token)
	ses.Secret, ses.Token = base64.StdEncoding.EncodeToString(secret), base64.StdEncoding.EncodeToString(token)
	err := s.db.Update(func(tx *state.Tx) error { s.sessions.Put(tx, ses.AccessKey, ses); return nil })
	return &stsapi.Credentials{AccessKeyId: &ses.AccessKey, SecretAccessKey: &ses.Secret,
		SessionToken: &ses.Token, Expiration: wire.Timestamp(ses.Expires)}, err
}

func (s *Service) sessionToken(ctx context.Context, in *stsapi.GetSessionTokenInput) (*stsapi.GetSessionTokenOutput, error) {
	d := time.Duration(cmp.Or(wire.Value(in.DurationSeconds), 43200)) * time.Second
	creds, err := s.issue(&Session{AccessKey: "ASIA" + rand.Text()[:16], Account: wire.Caller(ctx).Account, Parent: wire.Caller(ctx).AccessKey, Expires: s.clock.Now().Add(d)})
	return &stsapi.GetSessionTokenOutput{Credentials: creds}, err
}
