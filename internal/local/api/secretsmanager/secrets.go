// Package secretsmanager is Secrets Manager of the local AWS: secrets with versions and staging
// labels, deletion with a recovery window. Rotation is not supported.
package secretsmanager

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/secretsmanagerapi"
)

// Secret is one secret with its versions. Key: name.
type Secret struct {
	Name, ARN, Description, KMSKeyID string
	Versions                         map[string]Version // by version id
	Policy                           string
	Tags                             []secretsmanagerapi.Tag
	CreatedAt, ChangedAt             time.Time
	DeleteAt                         time.Time // zero: not being deleted
}

// Version is one value of a secret.
type Version struct {
	ID     string
	String *string
	Binary []byte
	Stages []string
	At     time.Time
}

const (
	current  = "AWSCURRENT"
	previous = "AWSPREVIOUS"
)

// Service is Secrets Manager.
type Service struct {
	db      *state.DB
	secrets *state.Table[Secret]
	clock   clock.Clock
}

// Register adds the operations to svc and the table to db.
func Register(svc *wire.Service, db *state.DB, clk clock.Clock) (*Service, error) {
	t, err := state.NewTable[Secret](db, "secretsmanager.secrets")
	if err != nil {
		return nil, err
	}
	s := &Service{db: db, secrets: t, clock: clk}
	wire.Handle(svc, "CreateSecret", s.create)
	wire.Handle(svc, "GetSecretValue", s.getValue)
	wire.Handle(svc, "PutSecretValue", s.putValue)
	wire.Handle(svc, "UpdateSecret", s.update)
	wire.Handle(svc, "UpdateSecretVersionStage", s.moveStage)
	wire.Handle(svc, "DescribeSecret", s.describe)
	wire.Handle(svc, "ListSecrets", s.list)
	wire.Handle(svc, "ListSecretVersionIds", s.versions)
	wire.Handle(svc, "DeleteSecret", s.delete)
	wire.Handle(svc, "RestoreSecret", s.restore)
	wire.Handle(svc, "TagResource", s.tag)
	wire.Handle(svc, "UntagResource", s.untag)
	wire.Handle(svc, "GetResourcePolicy", s.getPolicy)
	wire.Handle(svc, "PutResourcePolicy", s.putPolicy)
	wire.Handle(svc, "DeleteResourcePolicy", s.deletePolicy)
	wire.Handle(svc, "GetRandomPassword", randomPassword)
	return s, nil
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9/_+=.@-]{1,512}$`)

func notFound() error {
	return wire.Errorf("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
}

// find resolves a name, a whole ARN, or an ARN without its six random characters.
func (s *Service) find(tx *state.Tx, id string) (*Secret, error) {
	name := id
	if _, after, ok := strings.Cut(id, ":secret:"); ok && strings.HasPrefix(id, "arn:") {
		name = after
		if sec, ok := s.secrets.Get(tx, name); ok { // a partial ARN
			return sec, nil
		}
		if i := strings.LastIndex(name, "-"); i > 0 {
			name = name[:i]
		}
		if sec, ok := s.secrets.Get(tx, name); ok && sec.ARN == id {
			return sec, nil
		}
		return nil, notFound()
	}
	if sec, ok := s.secrets.Get(tx, name); ok {
		return sec, nil
	}
	return nil, notFound()
}

func (s *Service) living(tx *state.Tx, id string) (*Secret, error) {
	sec, err := s.find(tx, id)
	if err == nil && !sec.DeleteAt.IsZero() {
		if !sec.DeleteAt.After(s.clock.Now()) {
			return nil, notFound()
		}
		return nil, wire.Errorf("InvalidRequestException", "You can't perform this operation on the secret because it was marked for deletion.")
	}
	return sec, err
}

func (s *Service) create(ctx context.Context, in *secretsmanagerapi.CreateSecretInput) (*secretsmanagerapi.CreateSecretOutput, error) {
	name := wire.Value(in.Name)
	if !validName.MatchString(name) {
		return nil, wire.Errorf("ValidationException", "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
	}
	if in.SecretString != nil && in.SecretBinary != nil {
		return nil, wire.Errorf("InvalidParameterException", "You can't specify both a binary secret value and a string secret value in the same secret.")
	}
	who, now := wire.Caller(ctx), s.clock.Now()
	out := &secretsmanagerapi.CreateSecretOutput{Name: &name}
	return out, s.db.Update(func(tx *state.Tx) error {
		if old, ok := s.secrets.Get(tx, name); ok && (old.DeleteAt.IsZero() || old.DeleteAt.After(now)) {
			if !old.DeleteAt.IsZero() {
				return wire.Errorf("InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
			}
			if v, ok := old.Versions[wire.Value(in.ClientRequestToken)]; ok && v.same(in.SecretString, in.SecretBinary) {
				out.ARN, out.VersionId = &old.ARN, &v.ID
				return nil
			}
			return wire.Errorf("ResourceExistsException", "The operation failed because the secret %s already exists.", name)
		}
		sec := &Secret{Name: name, Description: wire.Value(in.Description), KMSKeyID: wire.Value(in.KmsKeyId), Tags: in.Tags,
			ARN:       fmt.Sprintf("arn:aws:secretsmanager:%s:%s:secret:%s-%s", who.Region, who.Account, name, rand.Text()[:6]),
			CreatedAt: now, ChangedAt: now, Versions: map[string]Version{}}
		if in.SecretString != nil || in.SecretBinary != nil {
			v := s.newVersion(wire.Value(in.ClientRequestToken), in.SecretString, in.SecretBinary)
			v.Stages = []string{current}
			sec.Versions[v.ID] = v
			out.VersionId = &v.ID
		}
		out.ARN = &sec.ARN
		s.secrets.Put(tx, name, sec)
		return nil
	})
}

func (s *Service) newVersion(token string, str *string, bin []byte) Version {
	return Version{ID: cmp.Or(token, newID()), String: str, Binary: bin, At: s.clock.Now()}
}

func (v Version) same(str *string, bin []byte) bool {
	return wire.Value(v.String) == wire.Value(str) && slices.Equal(v.Binary, bin)
}

func (s *Service) getValue(_ context.Context, in *secretsmanagerapi.GetSecretValueInput) (*secretsmanagerapi.GetSecretValueOutput, error) {
	out := &secretsmanagerapi.GetSecretValueOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		sec, err := s.living(tx, wire.Value(in.SecretId))
		if err != nil {
			return err
		}
		v, ok := sec.version(wire.Value(in.VersionId), wire.Value(in.VersionStage))
		if !ok {
			return wire.Errorf("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for %s.", selector(wire.Value(in.VersionId), wire.Value(in.VersionStage)))
		}
		*out = secretsmanagerapi.GetSecretValueOutput{ARN: &sec.ARN, Name: &sec.Name, VersionId: &v.ID, SecretString: v.String,
			SecretBinary: v.Binary, VersionStages: v.Stages, CreatedDate: wire.Timestamp(v.At)}
		return nil
	})
}

func selector(id, stage string) string {
	if id != "" {
		return "VersionId: " + id
	}
	return "staging label: " + cmp.Or(stage, current)
}

// version finds by id, by stage, or both; by default the current one.
func (sec *Secret) version(id, stage string) (Version, bool) {
	if id != "" {
		v, ok := sec.Versions[id]
		return v, ok && (stage == "" || slices.Contains(v.Stages, stage))
	}
	for _, v := range sec.Versions {
		if slices.Contains(v.Stages, cmp.Or(stage, current)) {
			return v, true
		}
	}
	return Version{}, false
}

// Value resolves a task's valueFrom: the secret, and optionally a key of its JSON, a stage and a
// version id (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html).
// The error never holds the value.
func (s *Service) Value(id, jsonKey, stage, versionID string) (string, error) {
	got, err := s.getValue(context.Background(), &secretsmanagerapi.GetSecretValueInput{SecretId: &id, VersionStage: optional(stage), VersionId: optional(versionID)})
	if err != nil {
		return "", err
	}
	value := wire.Value(got.SecretString)
	if got.SecretString == nil {
		value = string(got.SecretBinary)
	}
	if jsonKey == "" {
		return value, nil
	}
	var object map[string]any
	if json.Unmarshal([]byte(value), &object) != nil {
		return "", fmt.Errorf("retrieved secret from Secrets Manager did not contain json key %s: the value is not a JSON object", jsonKey)
	}
	field, ok := object[jsonKey]
	if !ok {
		return "", fmt.Errorf("retrieved secret from Secrets Manager did not contain json key %s", jsonKey)
	}
	if text, ok := field.(string); ok {
		return text, nil
	}
	data, err := json.Marshal(field)
	return string(data), err
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// change replaces the secret id names with what f makes of it; f gets its own copy of the versions.
func (s *Service) change(id string, f func(sec *Secret) error) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, err := s.living(tx, id)
		if err != nil {
			return err
		}
		sec := *old
		sec.Versions = maps.Clone(old.Versions)
		sec.ChangedAt = s.clock.Now()
		if err := f(&sec); err != nil {
			return err
		}
		s.secrets.Put(tx, sec.Name, &sec)
		return nil
	})
}

// put adds a version and moves the stages to it: AWSCURRENT leaves AWSPREVIOUS behind.
func (sec *Secret) put(v Version, stages []string) error {
	if old, ok := sec.Versions[v.ID]; ok {
		if old.same(v.String, v.Binary) {
			return nil // the same request again
		}
		return wire.Errorf("ResourceExistsException", "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", v.ID, sec.ARN)
	}
	sec.Versions[v.ID] = v
	for _, stage := range stages {
		sec.move(stage, v.ID)
	}
	return nil
}

// move puts a staging label on one version and takes it from the others.
func (sec *Secret) move(stage, to string) {
	for id, v := range sec.Versions {
		had := slices.Contains(v.Stages, stage)
		v.Stages = slices.DeleteFunc(slices.Clone(v.Stages), func(s string) bool { return s == stage || stage == current && s == previous })
		switch {
		case id == to:
			v.Stages = append(v.Stages, stage)
		case stage == current && had:
			v.Stages = append(v.Stages, previous)
		}
		sec.Versions[id] = v
	}
}
