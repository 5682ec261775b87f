package iam

import (
	"context"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire/iamapi"
)

// The account's quotas, which are AWS's defaults.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	quotaRoles    = 1000
	quotaUsers    = 5000
	quotaPolicies = 1500
	quotaProfiles = 1000
)

// full refuses another record of a kind of which the account has its quota.
func full(have, quota int, what string) error {
	if have < quota {
		return nil
	}
	return conflict("LimitExceeded", "Cannot exceed quota for %s: %d", what, quota)
}

// summary counts what there is, beside the quotas. What the local AWS has no records of is left out.
func (s *Service) summary(context.Context, *iamapi.GetAccountSummaryInput) (*iamapi.GetAccountSummaryOutput, error) {
	out := &iamapi.GetAccountSummaryOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		out.SummaryMap = map[string]int32{
			"Roles": int32(s.roles.Len(tx)), "RolesQuota": quotaRoles,
			"Users": int32(s.users.Len(tx)), "UsersQuota": quotaUsers,
			"Policies": int32(s.policies.Len(tx)), "PoliciesQuota": quotaPolicies,
			"InstanceProfiles": int32(s.profiles.Len(tx)), "InstanceProfilesQuota": quotaProfiles,
		}
		return nil
	})
}
