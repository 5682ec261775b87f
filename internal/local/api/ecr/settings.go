package ecr

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

func (s *service) settings(svc *wire.Service) {
	handle(svc, s, "DescribeRegistry", (*service).describeRegistry)
	handle(svc, s, "PutReplicationConfiguration", (*service).putReplication)
	handle(svc, s, "DescribeImageReplicationStatus", (*service).replicationStatus)
	handle(svc, s, "PutRegistryPolicy", (*service).putRegistryPolicy)
	handle(svc, s, "GetRegistryPolicy", (*service).getRegistryPolicy)
	handle(svc, s, "DeleteRegistryPolicy", (*service).deleteRegistryPolicy)
	handle(svc, s, "PutRegistryScanningConfiguration", (*service).putRegistryScanning, wire.Partly("what scans find comes from a file, and ENHANCED finds no more than BASIC"))
	handle(svc, s, "GetRegistryScanningConfiguration", (*service).getRegistryScanning)
	handle(svc, s, "BatchGetRepositoryScanningConfiguration", (*service).repositoryScanning)
	handle(svc, s, "PutAccountSetting", (*service).putAccountSetting)
	handle(svc, s, "GetAccountSetting", (*service).getAccountSetting)
	handle(svc, s, "RegisterPullTimeUpdateExclusion", (*service).registerExclusion)
	handle(svc, s, "DeregisterPullTimeUpdateExclusion", (*service).deregisterExclusion)
	handle(svc, s, "ListPullTimeUpdateExclusions", (*service).listExclusions)
	handle(svc, s, "PutSigningConfiguration", (*service).putSigning, wire.Partly("recorded; nothing is signed"))
	handle(svc, s, "GetSigningConfiguration", (*service).getSigning)
	handle(svc, s, "DeleteSigningConfiguration", (*service).deleteSigning)
	handle(svc, s, "DescribeImageSigningStatus", (*service).signingStatus, wire.Partly("nothing is signed: the status is FAILED and says so"))
}

// Names of the registry's documents.
const (
	replicationSetting = "replication"
	policySetting      = registry.SettingPolicy
	scanningSetting    = "scanning"
	signingSetting     = "signing"
	accountSetting     = "account/"
	exclusionSetting   = registry.SettingExclusions
)

func (s *service) describeRegistry(context.Context, *ecrapi.DescribeRegistryInput) (*ecrapi.DescribeRegistryOutput, error) {
	return &ecrapi.DescribeRegistryOutput{RegistryId: &s.Account, ReplicationConfiguration: replication(s.Store)}, nil
}

func (s *service) putRegistryPolicy(_ context.Context, in *ecrapi.PutRegistryPolicyInput) (*ecrapi.PutRegistryPolicyOutput, error) {
	if err := registry.CheckRegistryPolicy(*in.PolicyText); err != nil {
		return nil, shown(err)
	}
	return &ecrapi.PutRegistryPolicyOutput{PolicyText: in.PolicyText, RegistryId: &s.Account}, s.Store.PutSetting(policySetting, *in.PolicyText)
}

func (s *service) registryPolicy() (string, error) {
	text := s.Store.Setting(policySetting)
	if text == "" {
		return "", wire.Errorf("RegistryPolicyNotFoundException", "Registry policy does not exist in the registry with id '%s'", s.Account)
	}
	return text, nil
}

func (s *service) getRegistryPolicy(context.Context, *ecrapi.GetRegistryPolicyInput) (*ecrapi.GetRegistryPolicyOutput, error) {
	text, err := s.registryPolicy()
	if err != nil {
		return nil, err
	}
	return &ecrapi.GetRegistryPolicyOutput{PolicyText: &text, RegistryId: &s.Account}, nil
}

func (s *service) deleteRegistryPolicy(context.Context, *ecrapi.DeleteRegistryPolicyInput) (*ecrapi.DeleteRegistryPolicyOutput, error) {
	text, err := s.registryPolicy()
	if err != nil {
		return nil, err
	}
	return &ecrapi.DeleteRegistryPolicyOutput{PolicyText: &text, RegistryId: &s.Account}, s.Store.PutSetting(policySetting, "")
}

func (s *service) scanning() *ecrapi.RegistryScanningConfiguration {
	c := &ecrapi.RegistryScanningConfiguration{Rules: []ecrapi.RegistryScanningRule{}, ScanType: wire.String("BASIC")}
	s.stored(scanningSetting, c)
	return c
}

func (s *service) putRegistryScanning(_ context.Context, in *ecrapi.PutRegistryScanningConfigurationInput) (*ecrapi.PutRegistryScanningConfigurationOutput, error) {
	c := s.scanning()
	if in.ScanType != nil {
		c.ScanType = in.ScanType
	}
	c.Rules = []ecrapi.RegistryScanningRule{}
	c.Rules = append(c.Rules, in.Rules...)
	if t := *c.ScanType; t != "BASIC" && t != "ENHANCED" {
		return nil, invalid("scanType", "Member must satisfy enum value set: [BASIC, ENHANCED]")
	}
	if err := checkScanRules(*c.ScanType, c.Rules); err != nil {
		return nil, err
	}
	return &ecrapi.PutRegistryScanningConfigurationOutput{RegistryScanningConfiguration: c}, s.store(scanningSetting, c)
}

func (s *service) getRegistryScanning(context.Context, *ecrapi.GetRegistryScanningConfigurationInput) (*ecrapi.GetRegistryScanningConfigurationOutput, error) {
	return &ecrapi.GetRegistryScanningConfigurationOutput{RegistryId: &s.Account, ScanningConfiguration: s.scanning()}, nil
}

func (s *service) repositoryScanning(_ context.Context, in *ecrapi.BatchGetRepositoryScanningConfigurationInput) (*ecrapi.BatchGetRepositoryScanningConfigurationOutput, error) {
	out := &ecrapi.BatchGetRepositoryScanningConfigurationOutput{ScanningConfigurations: []ecrapi.RepositoryScanningConfiguration{}, Failures: []ecrapi.RepositoryScanningConfigurationFailure{}}
	for _, name := range in.RepositoryNames {
		r, err := s.Store.Repository(name)
		if err != nil {
			out.Failures = append(out.Failures, ecrapi.RepositoryScanningConfigurationFailure{FailureCode: wire.String("REPOSITORY_NOT_FOUND"),
				FailureReason: wire.String("REPOSITORY_NOT_FOUND"), RepositoryName: &name})
			continue
		}
		out.ScanningConfigurations = append(out.ScanningConfigurations, s.scannedOnPush(r))
	}
	return out, nil
}

// accountDefaults are the account settings and their values until they are set; accountValues are what
// they can be.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutAccountSetting.html
var (
	accountDefaults = map[string]string{"BASIC_SCAN_TYPE_VERSION": "AWS_NATIVE", "REGISTRY_POLICY_SCOPE": "V2", "BLOB_MOUNTING": "ENABLED"}
	accountValues   = map[string][]string{"BASIC_SCAN_TYPE_VERSION": {"AWS_NATIVE"}, "REGISTRY_POLICY_SCOPE": {"V2"}, "BLOB_MOUNTING": {"ENABLED", "DISABLED"}}
)

func (s *service) putAccountSetting(_ context.Context, in *ecrapi.PutAccountSettingInput) (*ecrapi.PutAccountSettingOutput, error) {
	allowed, ok := accountValues[*in.Name]
	if !ok {
		return nil, invalid("name", "must be BASIC_SCAN_TYPE_VERSION, REGISTRY_POLICY_SCOPE or BLOB_MOUNTING")
	}
	if !slices.Contains(allowed, *in.Value) {
		return nil, invalid("value", "must be "+strings.Join(allowed, " or "))
	}
	return &ecrapi.PutAccountSettingOutput{Name: in.Name, Value: in.Value}, s.Store.PutSetting(accountSetting+*in.Name, *in.Value)
}

func (s *service) getAccountSetting(_ context.Context, in *ecrapi.GetAccountSettingInput) (*ecrapi.GetAccountSettingOutput, error) {
	value, ok := accountDefaults[*in.Name]
	if !ok {
		return nil, invalid("name", "must be BASIC_SCAN_TYPE_VERSION, REGISTRY_POLICY_SCOPE or BLOB_MOUNTING")
	}
	if set := s.Store.Setting(accountSetting + *in.Name); set != "" {
		value = set
	}
	return &ecrapi.GetAccountSettingOutput{Name: in.Name, Value: &value}, nil
}

func (s *service) putSigning(_ context.Context, in *ecrapi.PutSigningConfigurationInput) (*ecrapi.PutSigningConfigurationOutput, error) {
	return &ecrapi.PutSigningConfigurationOutput{SigningConfiguration: in.SigningConfiguration}, s.store(signingSetting, in.SigningConfiguration)
}

func (s *service) signing() (*ecrapi.SigningConfiguration, error) {
	c := &ecrapi.SigningConfiguration{}
	if !s.stored(signingSetting, c) {
		return nil, wire.Errorf("SigningConfigurationNotFoundException", "Signing configuration does not exist in the registry with id '%s'", s.Account)
	}
	return c, nil
}

func (s *service) getSigning(context.Context, *ecrapi.GetSigningConfigurationInput) (*ecrapi.GetSigningConfigurationOutput, error) {
	c, err := s.signing()
	if err != nil {
		return nil, err
	}
	return &ecrapi.GetSigningConfigurationOutput{RegistryId: &s.Account, SigningConfiguration: c}, nil
}

func (s *service) deleteSigning(context.Context, *ecrapi.DeleteSigningConfigurationInput) (*ecrapi.DeleteSigningConfigurationOutput, error) {
	c, err := s.signing()
	if err != nil {
		return nil, err
	}
	return &ecrapi.DeleteSigningConfigurationOutput{RegistryId: &s.Account, SigningConfiguration: c}, s.Store.PutSetting(signingSetting, "")
}

// maxExcluded is how many principals can be excluded.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
const maxExcluded = 100

var principalARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:(user|role)/.+$`)

// exclusions are the principals whose pulls do not count, with when they were registered.
func (s *service) exclusions() map[string]time.Time {
	m := map[string]time.Time{}
	s.stored(exclusionSetting, &m)
	return m
}

func (s *service) registerExclusion(_ context.Context, in *ecrapi.RegisterPullTimeUpdateExclusionInput) (*ecrapi.RegisterPullTimeUpdateExclusionOutput, error) {
	m := s.exclusions()
	if !principalARN.MatchString(*in.PrincipalArn) {
		return nil, invalid("principalArn", "must be the ARN of an IAM user or role")
	}
	if len(m) >= maxExcluded {
		return nil, wire.Errorf(registry.CodeLimitExceeded, "The registry has its maximum of %d pull time update exclusions", maxExcluded)
	}
	if _, ok := m[*in.PrincipalArn]; ok {
		return nil, wire.Errorf("ExclusionAlreadyExistsException", "The principal '%s' is excluded already", *in.PrincipalArn)
	}
	at := s.Store.Now()
	m[*in.PrincipalArn] = at
	return &ecrapi.RegisterPullTimeUpdateExclusionOutput{CreatedAt: wire.Timestamp(at), PrincipalArn: in.PrincipalArn}, s.store(exclusionSetting, m)
}

func (s *service) deregisterExclusion(_ context.Context, in *ecrapi.DeregisterPullTimeUpdateExclusionInput) (*ecrapi.DeregisterPullTimeUpdateExclusionOutput, error) {
	m := s.exclusions()
	if _, ok := m[*in.PrincipalArn]; !ok {
		return nil, wire.Errorf("ExclusionNotFoundException", "The principal '%s' is not excluded", *in.PrincipalArn)
	}
	delete(m, *in.PrincipalArn)
	return &ecrapi.DeregisterPullTimeUpdateExclusionOutput{PrincipalArn: in.PrincipalArn}, s.store(exclusionSetting, m)
}

func (s *service) listExclusions(_ context.Context, in *ecrapi.ListPullTimeUpdateExclusionsInput) (*ecrapi.ListPullTimeUpdateExclusionsOutput, error) {
	arns := slices.Sorted(maps.Keys(s.exclusions()))
	out := &ecrapi.ListPullTimeUpdateExclusionsOutput{PullTimeUpdateExclusions: []string{}}
	arns, next, err := page(arns, func(a string) string { return a }, in.MaxResults, in.NextToken, 100)
	out.PullTimeUpdateExclusions = append(out.PullTimeUpdateExclusions, arns...)
	out.NextToken = next
	return out, err
}

func (s *service) signingStatus(ctx context.Context, in *ecrapi.DescribeImageSigningStatusInput) (*ecrapi.DescribeImageSigningStatusOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "DescribeImageSigningStatus")
	if err != nil {
		return nil, err
	}
	id := idOf(*in.ImageId)
	im, err := s.find(r.Name, id)
	if err != nil {
		return nil, err
	}
	id.Digest = im.Digest
	out := &ecrapi.DescribeImageSigningStatusOutput{ImageId: wire.Ptr(apiID(id)), RegistryId: &s.Account, RepositoryName: &r.Name, SigningStatuses: []ecrapi.ImageSigningStatus{}}
	c := &ecrapi.SigningConfiguration{}
	s.stored(signingSetting, c)
	for _, rule := range c.Rules {
		covered := len(rule.RepositoryFilters) == 0 || slices.ContainsFunc(rule.RepositoryFilters, func(f ecrapi.SigningRepositoryFilter) bool {
			return lifecycle.MatchPattern(wire.Value(f.Filter), r.Name)
		})
		if covered {
			out.SigningStatuses = append(out.SigningStatuses, ecrapi.ImageSigningStatus{SigningProfileArn: rule.SigningProfileArn, Status: wire.String("FAILED"),
				FailureCode: wire.String("NotSupported"), FailureReason: wire.String("not supported: the local AWS signs nothing")})
		}
	}
	return out, nil
}
