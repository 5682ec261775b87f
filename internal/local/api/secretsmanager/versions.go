package secretsmanager

import (
	"cmp"
	"context"
	"crypto/rand"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/secretsmanagerapi"
)

func (s *Service) putValue(_ context.Context, in *secretsmanagerapi.PutSecretValueInput) (*secretsmanagerapi.PutSecretValueOutput, error) {
	if (in.SecretString == nil) == (in.SecretBinary == nil) {
		return nil, wire.Errorf("InvalidParameterException", "You must provide either SecretString or SecretBinary.")
	}
	stages := in.VersionStages
	if len(stages) == 0 {
		stages = []string{current}
	}
	out := &secretsmanagerapi.PutSecretValueOutput{VersionStages: stages}
	return out, s.change(wire.Value(in.SecretId), func(sec *Secret) error {
		v := s.newVersion(wire.Value(in.ClientRequestToken), in.SecretString, in.SecretBinary)
		out.ARN, out.Name, out.VersionId = &sec.ARN, &sec.Name, &v.ID
		return sec.put(v, stages)
	})
}

func (s *Service) update(_ context.Context, in *secretsmanagerapi.UpdateSecretInput) (*secretsmanagerapi.UpdateSecretOutput, error) {
	out := &secretsmanagerapi.UpdateSecretOutput{}
	return out, s.change(wire.Value(in.SecretId), func(sec *Secret) error {
		out.ARN, out.Name = &sec.ARN, &sec.Name
		if in.Description != nil {
			sec.Description = *in.Description
		}
		if in.KmsKeyId != nil {
			sec.KMSKeyID = *in.KmsKeyId
		}
		if in.SecretString == nil && in.SecretBinary == nil {
			return nil
		}
		v := s.newVersion(wire.Value(in.ClientRequestToken), in.SecretString, in.SecretBinary)
		out.VersionId = &v.ID
		return sec.put(v, []string{current})
	})
}

func (s *Service) moveStage(_ context.Context, in *secretsmanagerapi.UpdateSecretVersionStageInput) (*secretsmanagerapi.UpdateSecretVersionStageOutput, error) {
	out := &secretsmanagerapi.UpdateSecretVersionStageOutput{}
	stage, from, to := wire.Value(in.VersionStage), wire.Value(in.RemoveFromVersionId), wire.Value(in.MoveToVersionId)
	return out, s.change(wire.Value(in.SecretId), func(sec *Secret) error {
		out.ARN, out.Name = &sec.ARN, &sec.Name
		if holder, ok := sec.version("", stage); ok && holder.ID != from && holder.ID != to {
			return wire.Errorf("InvalidParameterException", "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", stage, holder.ID)
		}
		if to == "" {
			if stage == current {
				return wire.Errorf("InvalidParameterException", "You can't remove the staging label AWSCURRENT from a version without moving it to another.")
			}
			v := sec.Versions[from]
			v.Stages = slices.DeleteFunc(slices.Clone(v.Stages), func(s string) bool { return s == stage })
			sec.Versions[from] = v
			return nil
		}
		if _, ok := sec.Versions[to]; !ok {
			return wire.Errorf("ResourceNotFoundException", "Secrets Manager can't find the specified secret version %s.", to)
		}
		sec.move(stage, to)
		return nil
	})
}

func (s *Service) describe(_ context.Context, in *secretsmanagerapi.DescribeSecretInput) (*secretsmanagerapi.DescribeSecretOutput, error) {
	out := &secretsmanagerapi.DescribeSecretOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		sec, err := s.find(tx, wire.Value(in.SecretId))
		if err != nil {
			return err
		}
		*out = secretsmanagerapi.DescribeSecretOutput{ARN: &sec.ARN, Name: &sec.Name, Description: optional(sec.Description), KmsKeyId: optional(sec.KMSKeyID),
			LastChangedDate: wire.Timestamp(sec.ChangedAt), CreatedDate: wire.Timestamp(sec.CreatedAt), Tags: sec.Tags, VersionIdsToStages: map[string][]string{}}
		if !sec.DeleteAt.IsZero() {
			out.DeletedDate = wire.Timestamp(sec.DeleteAt)
		}
		for id, v := range sec.Versions {
			if len(v.Stages) > 0 {
				out.VersionIdsToStages[id] = v.Stages
			}
		}
		return nil
	})
}

func (s *Service) list(_ context.Context, in *secretsmanagerapi.ListSecretsInput) (*secretsmanagerapi.ListSecretsOutput, error) {
	out := &secretsmanagerapi.ListSecretsOutput{SecretList: []secretsmanagerapi.SecretListEntry{}}
	limit := int(cmp.Or(wire.Value(in.MaxResults), 100))
	return out, s.db.View(func(tx *state.Tx) error {
		for name, sec := range s.secrets.From(tx, wire.Value(in.NextToken)) {
			if !sec.DeleteAt.IsZero() && !wire.Value(in.IncludePlannedDeletion) || !sec.matches(in.Filters) {
				continue
			}
			if len(out.SecretList) == limit {
				out.NextToken = wire.Ptr(name)
				break
			}
			e := secretsmanagerapi.SecretListEntry{ARN: &sec.ARN, Name: &sec.Name, Description: optional(sec.Description), KmsKeyId: optional(sec.KMSKeyID),
				LastChangedDate: wire.Timestamp(sec.ChangedAt), CreatedDate: wire.Timestamp(sec.CreatedAt), Tags: sec.Tags, SecretVersionsToStages: map[string][]string{}}
			for id, v := range sec.Versions {
				if len(v.Stages) > 0 {
					e.SecretVersionsToStages[id] = v.Stages
				}
			}
			out.SecretList = append(out.SecretList, e)
		}
		return nil
	})
}

// matches applies ListSecrets' filters: prefixes of the field; a leading ! negates.
func (sec *Secret) matches(filters []secretsmanagerapi.Filter) bool {
	for _, f := range filters {
		have := []string{sec.Name, sec.Description}
		switch wire.Value(f.Key) {
		case "name":
			have = []string{sec.Name}
		case "description":
			have = []string{sec.Description}
		case "tag-key", "tag-value":
			have = nil
			for _, t := range sec.Tags {
				if wire.Value(f.Key) == "tag-key" {
					have = append(have, wire.Value(t.Key))
				} else {
					have = append(have, wire.Value(t.Value))
				}
			}
		}
		ok := slices.ContainsFunc(f.Values, func(want string) bool {
			want, negate := strings.CutPrefix(want, "!")
			return negate != slices.ContainsFunc(have, func(h string) bool { return strings.HasPrefix(h, want) })
		})
		if !ok {
			return false
		}
	}
	return true
}

func (s *Service) versions(_ context.Context, in *secretsmanagerapi.ListSecretVersionIdsInput) (*secretsmanagerapi.ListSecretVersionIdsOutput, error) {
	out := &secretsmanagerapi.ListSecretVersionIdsOutput{Versions: []secretsmanagerapi.SecretVersionsListEntry{}}
	return out, s.db.View(func(tx *state.Tx) error {
		sec, err := s.find(tx, wire.Value(in.SecretId))
		if err != nil {
			return err
		}
		out.ARN, out.Name = &sec.ARN, &sec.Name
		for _, v := range sec.Versions {
			if len(v.Stages) > 0 || wire.Value(in.IncludeDeprecated) {
				out.Versions = append(out.Versions, secretsmanagerapi.SecretVersionsListEntry{VersionId: wire.Ptr(v.ID), VersionStages: v.Stages, CreatedDate: wire.Timestamp(v.At)})
			}
		}
		slices.SortFunc(out.Versions, func(a, b secretsmanagerapi.SecretVersionsListEntry) int {
			return b.CreatedDate.Compare(a.CreatedDate.Time)
		})
		return nil
	})
}

func (s *Service) delete(_ context.Context, in *secretsmanagerapi.DeleteSecretInput) (*secretsmanagerapi.DeleteSecretOutput, error) {
	days, force := wire.Value(in.RecoveryWindowInDays), wire.Value(in.ForceDeleteWithoutRecovery)
	switch {
	case force && in.RecoveryWindowInDays != nil:
		return nil, wire.Errorf("InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
	case in.RecoveryWindowInDays != nil && (days < 7 || days > 30):
		return nil, wire.Errorf("InvalidParameterException", "RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	}
	out := &secretsmanagerapi.DeleteSecretOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		sec, err := s.find(tx, wire.Value(in.SecretId))
		if err != nil {
			return err
		}
		at := s.clock.Now()
		out.ARN, out.Name = &sec.ARN, &sec.Name
		if force {
			out.DeletionDate = wire.Timestamp(at)
			s.secrets.Delete(tx, sec.Name)
			return nil
		}
		at = at.Add(time.Duration(cmp.Or(days, 30)) * 24 * time.Hour)
		out.DeletionDate = wire.Timestamp(at)
		s.secrets.Modify(tx, sec.Name, func(sec *Secret) { sec.DeleteAt = at })
		return nil
	})
}

func (s *Service) restore(_ context.Context, in *secretsmanagerapi.RestoreSecretInput) (*secretsmanagerapi.RestoreSecretOutput, error) {
	out := &secretsmanagerapi.RestoreSecretOutput{}
	return out, s.db.Update(func(tx *state.Tx) error {
		sec, err := s.find(tx, wire.Value(in.SecretId))
		if err != nil {
			return err
		}
		out.ARN, out.Name = &sec.ARN, &sec.Name
		s.secrets.Modify(tx, sec.Name, func(sec *Secret) { sec.DeleteAt = time.Time{} })
		return nil
	})
}

func (s *Service) tag(_ context.Context, in *secretsmanagerapi.TagResourceInput) (*secretsmanagerapi.TagResourceOutput, error) {
	return &secretsmanagerapi.TagResourceOutput{}, s.change(wire.Value(in.SecretId), func(sec *Secret) error {
		for _, t := range in.Tags {
			sec.untag(wire.Value(t.Key))
			sec.Tags = append(sec.Tags, t)
		}
		return nil
	})
}

func (s *Service) untag(_ context.Context, in *secretsmanagerapi.UntagResourceInput) (*secretsmanagerapi.UntagResourceOutput, error) {
	return &secretsmanagerapi.UntagResourceOutput{}, s.change(wire.Value(in.SecretId), func(sec *Secret) error {
		for _, k := range in.TagKeys {
			sec.untag(k)
		}
		return nil
	})
}

func (sec *Secret) untag(key string) {
	sec.Tags = slices.DeleteFunc(slices.Clone(sec.Tags), func(t secretsmanagerapi.Tag) bool { return wire.Value(t.Key) == key })
}

func (s *Service) getPolicy(_ context.Context, in *secretsmanagerapi.GetResourcePolicyInput) (*secretsmanagerapi.GetResourcePolicyOutput, error) {
	out := &secretsmanagerapi.GetResourcePolicyOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		sec, err := s.find(tx, wire.Value(in.SecretId))
		if err == nil {
			*out = secretsmanagerapi.GetResourcePolicyOutput{ARN: &sec.ARN, Name: &sec.Name, ResourcePolicy: optional(sec.Policy)}
		}
		return err
	})
}

func (s *Service) putPolicy(_ context.Context, in *secretsmanagerapi.PutResourcePolicyInput) (*secretsmanagerapi.PutResourcePolicyOutput, error) {
	out := &secretsmanagerapi.PutResourcePolicyOutput{}
	return out, s.change(wire.Value(in.SecretId), func(sec *Secret) error {
		out.ARN, out.Name, sec.Policy = &sec.ARN, &sec.Name, wire.Value(in.ResourcePolicy)
		return nil
	})
}

func (s *Service) deletePolicy(_ context.Context, in *secretsmanagerapi.DeleteResourcePolicyInput) (*secretsmanagerapi.DeleteResourcePolicyOutput, error) {
	out := &secretsmanagerapi.DeleteResourcePolicyOutput{}
	return out, s.change(wire.Value(in.SecretId), func(sec *Secret) error {
		out.ARN, out.Name, sec.Policy = &sec.ARN, &sec.Name, ""
		return nil
	})
}

func randomPassword(_ context.Context, in *secretsmanagerapi.GetRandomPasswordInput) (*secretsmanagerapi.GetRandomPasswordOutput, error) {
	sets := []struct {
		chars string
		off   *bool
	}{
		{"abcdefghijklmnopqrstuvwxyz", in.ExcludeLowercase},
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZ", in.ExcludeUppercase},
		{"0123456789", in.ExcludeNumbers},
		{"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", in.ExcludePunctuation},
	}
	var alphabet string
	for _, s := range sets {
		if !wire.Value(s.off) {
			alphabet += s.chars
		}
	}
	alphabet = strings.Map(func(r rune) rune {
		if strings.ContainsRune(wire.Value(in.ExcludeCharacters), r) {
			return -1
		}
		return r
	}, alphabet)
	n := int(cmp.Or(wire.Value(in.PasswordLength), 32))
	if alphabet == "" || n > 4096 {
		return nil, wire.Errorf("InvalidParameterException", "The password can't be made of the characters that are left, or is longer than 4096.")
	}
	out := make([]byte, n)
	for i := range out {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return nil, err
		}
		out[i] = alphabet[k.Int64()]
	}
	return &secretsmanagerapi.GetRandomPasswordOutput{RandomPassword: wire.Ptr(string(out))}, nil
}
