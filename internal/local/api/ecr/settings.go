package ecr

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

func (s *service) settings(svc *wire.Service) {
	wire.Handle(svc, "DescribeRegistry", s.describeRegistry)
	const one = "one registry serves all regions and accounts, so nothing is copied"
	wire.Handle(svc, "PutReplicationConfiguration", s.putReplication, wire.Partly(one))
	wire.Handle(svc, "DescribeImageReplicationStatus", s.replicationStatus, wire.Partly(one))
	wire.Handle(svc, "PutRegistryPolicy", s.putRegistryPolicy, wire.Partly("recorded only"))
	wire.Handle(svc, "GetRegistryPolicy", s.getRegistryPolicy)
	wire.Handle(svc, "DeleteRegistryPolicy", s.deleteRegistryPolicy)
	wire.Handle(svc, "PutRegistryScanningConfiguration", s.putRegistryScanning, wire.Partly("recorded; there is no vulnerability scanner"))
	wire.Handle(svc, "GetRegistryScanningConfiguration", s.getRegistryScanning)
	wire.Handle(svc, "BatchGetRepositoryScanningConfiguration", s.repositoryScanning)
	wire.Handle(svc, "PutAccountSetting", s.putAccountSetting, wire.Partly("recorded; layers are always mounted"))
	wire.Handle(svc, "GetAccountSetting", s.getAccountSetting)
	wire.Handle(svc, "RegisterPullTimeUpdateExclusion", s.registerExclusion, wire.Partly("recorded; every pull counts"))
	wire.Handle(svc, "DeregisterPullTimeUpdateExclusion", s.deregisterExclusion)
	wire.Handle(svc, "ListPullTimeUpdateExclusions", s.listExclusions)
	wire.Handle(svc, "PutSigningConfiguration", s.putSigning, wire.Partly("recorded; nothing is signed"))
	wire.Handle(svc, "GetSigningConfiguration", s.getSigning)
	wire.Handle(svc, "DeleteSigningConfiguration", s.deleteSigning)
	wire.Handle(svc, "DescribeImageSigningStatus", s.signingStatus, wire.Partly("nothing is signed: the status is FAILED and says so"))
}

// Names of the registry's documents.
const (
	replicationSetting = "replication"
	policySetting      = "policy"
	scanningSetting    = "scanning"
	signingSetting     = "signing"
	accountSetting     = "account/"
	exclusionSetting   = "pull-time-exclusions"
)

func (s *service) replication() *ecrapi.ReplicationConfiguration {
	c := &ecrapi.ReplicationConfiguration{Rules: []ecrapi.ReplicationRule{}}
	s.stored(replicationSetting, c)
	return c
}

func (s *service) describeRegistry(context.Context, *ecrapi.DescribeRegistryInput) (*ecrapi.DescribeRegistryOutput, error) {
	return &ecrapi.DescribeRegistryOutput{RegistryId: &s.Account, ReplicationConfiguration: s.replication()}, nil
}

func (s *service) putReplication(_ context.Context, in *ecrapi.PutReplicationConfigurationInput) (*ecrapi.PutReplicationConfigurationOutput, error) {
	c := in.ReplicationConfiguration
	if len(c.Rules) > 10 {
		return nil, invalid("replicationConfiguration.rules", "Member must have length less than or equal to 10")
	}
	for _, r := range c.Rules {
		if len(r.Destinations) > 25 || len(r.RepositoryFilters) > 100 {
			return nil, invalid("replicationConfiguration.rules", "A rule has up to 25 destinations and 100 filters")
		}
	}
	return &ecrapi.PutReplicationConfigurationOutput{ReplicationConfiguration: c}, s.store(replicationSetting, c)
}

func (s *service) replicationStatus(ctx context.Context, in *ecrapi.DescribeImageReplicationStatusInput) (*ecrapi.DescribeImageReplicationStatusOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "DescribeImageReplicationStatus")
	if err != nil {
		return nil, err
	}
	id := idOf(*in.ImageId)
	if _, err := s.find(r.Name, id); err != nil {
		return nil, err
	}
	out := &ecrapi.DescribeImageReplicationStatusOutput{ImageId: in.ImageId, RepositoryName: &r.Name, ReplicationStatuses: []ecrapi.ImageReplicationStatus{}}
	for _, rule := range s.replication().Rules {
		covered := len(rule.RepositoryFilters) == 0 || slices.ContainsFunc(rule.RepositoryFilters, func(f ecrapi.RepositoryFilter) bool {
			return strings.HasPrefix(r.Name, wire.Value(f.Filter))
		})
		if !covered {
			continue
		}
		for _, d := range rule.Destinations {
			out.ReplicationStatuses = append(out.ReplicationStatuses, ecrapi.ImageReplicationStatus{Region: d.Region, RegistryId: d.RegistryId, Status: wire.String("COMPLETE")})
		}
	}
	return out, nil
}

func (s *service) putRegistryPolicy(_ context.Context, in *ecrapi.PutRegistryPolicyInput) (*ecrapi.PutRegistryPolicyOutput, error) {
	if err := registry.CheckPolicy(*in.PolicyText); err != nil {
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
		c := ecrapi.RepositoryScanningConfiguration{RepositoryArn: &r.ARN, RepositoryName: &r.Name, ScanOnPush: wire.Bool(r.ScanOnPush),
			ScanFrequency: wire.String("MANUAL"), AppliedScanFilters: []ecrapi.ScanningRepositoryFilter{}}
		if r.ScanOnPush {
			c.ScanFrequency = wire.String("SCAN_ON_PUSH")
		}
		for _, rule := range s.scanning().Rules {
			for _, f := range rule.RepositoryFilters {
				if lifecycle.MatchPattern(wire.Value(f.Filter), r.Name) {
					c.AppliedScanFilters = append(c.AppliedScanFilters, f)
					c.ScanFrequency = rule.ScanFrequency
					c.ScanOnPush = wire.Bool(wire.Value(rule.ScanFrequency) != "MANUAL")
				}
			}
		}
		out.ScanningConfigurations = append(out.ScanningConfigurations, c)
	}
	return out, nil
}

// accountDefaults are the account settings and their values until they are set.
var accountDefaults = map[string]string{"BASIC_SCAN_TYPE_VERSION": "AWS_NATIVE", "REGISTRY_POLICY_SCOPE": "V2", "BLOB_MOUNTING": "ENABLED"}

func (s *service) putAccountSetting(_ context.Context, in *ecrapi.PutAccountSettingInput) (*ecrapi.PutAccountSettingOutput, error) {
	if _, ok := accountDefaults[*in.Name]; !ok {
		return nil, invalid("name", "must be BASIC_SCAN_TYPE_VERSION, REGISTRY_POLICY_SCOPE or BLOB_MOUNTING")
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

// exclusions are the principals whose pulls do not count, with when they were registered.
func (s *service) exclusions() map[string]time.Time {
	m := map[string]time.Time{}
	s.stored(exclusionSetting, &m)
	return m
}

func (s *service) registerExclusion(_ context.Context, in *ecrapi.RegisterPullTimeUpdateExclusionInput) (*ecrapi.RegisterPullTimeUpdateExclusionOutput, error) {
	m := s.exclusions()
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
