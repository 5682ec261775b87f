package autoscaling

import (
	"cmp"
	"context"
	"encoding/base64"
	"slices"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/local/api/ec2"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// LaunchConfig is a launch configuration. Key: name.
type LaunchConfig struct {
	API autoscalingapi.LaunchConfiguration
}

// maxConfigs is how many launch configurations a region may have
// (https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-quotas.html).
const maxConfigs = 200

func (s *Service) registerConfigs(svc *wire.Service) {
	wire.Handle(svc, "CreateLaunchConfiguration", s.createConfig)
	wire.Handle(svc, "DescribeLaunchConfigurations", s.describeConfigs)
	wire.Handle(svc, "DeleteLaunchConfiguration", s.deleteConfig)
}

func noConfig(name string) error {
	return wire.Errorf("ValidationError", "Launch configuration name not found - A launch configuration with the name: %s does not exist", name)
}

// putConfig checks a launch configuration and stores it. What is not given comes from the instance it
// names (https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_CreateLaunchConfiguration.html).
func (s *Service) putConfig(tx *state.Tx, in *autoscalingapi.CreateLaunchConfigurationInput) error {
	name := wire.Value(in.LaunchConfigurationName)
	if _, ok := s.configs.Get(tx, name); ok {
		return wire.Errorf("AlreadyExists", "Launch Configuration by this name already exists - A launch configuration already exists with the name %s", name)
	}
	if s.configs.Len(tx) >= maxConfigs {
		return wire.Errorf("LimitExceeded", "The limit of %d launch configurations has been reached", maxConfigs)
	}
	c := autoscalingapi.LaunchConfiguration{LaunchConfigurationName: &name, LaunchConfigurationARN: wire.Ptr("arn:aws:autoscaling:" + s.region + ":" + s.account + ":launchConfiguration:" + newID() + ":launchConfigurationName/" + name),
		ImageId: in.ImageId, InstanceType: in.InstanceType, KeyName: in.KeyName, KernelId: in.KernelId, RamdiskId: in.RamdiskId, SecurityGroups: in.SecurityGroups, UserData: in.UserData, SpotPrice: in.SpotPrice,
		IamInstanceProfile: in.IamInstanceProfile, AssociatePublicIpAddress: in.AssociatePublicIpAddress, PlacementTenancy: in.PlacementTenancy, MetadataOptions: in.MetadataOptions, ClassicLinkVPCId: in.ClassicLinkVPCId,
		ClassicLinkVPCSecurityGroups: in.ClassicLinkVPCSecurityGroups, BlockDeviceMappings: append([]autoscalingapi.BlockDeviceMapping{}, in.BlockDeviceMappings...), EbsOptimized: wire.Ptr(wire.Value(in.EbsOptimized)),
		InstanceMonitoring: or(in.InstanceMonitoring, &autoscalingapi.InstanceMonitoring{Enabled: wire.Ptr(true)}), CreatedTime: wire.Timestamp(s.clock.Now())}
	if id := wire.Value(in.InstanceId); id != "" {
		i, ok := s.ec2.Instance(tx, id)
		if !ok {
			return wire.Errorf("ValidationError", "Invalid Instance ID(s) '%s' specified.", id)
		}
		c.ImageId, c.InstanceType, c.IamInstanceProfile = or(c.ImageId, &i.ImageID), or(c.InstanceType, &i.Type), or(c.IamInstanceProfile, wire.NonEmpty(i.Profile))
		c.UserData = or(c.UserData, wire.NonEmpty(i.UserData))
		if len(c.SecurityGroups) == 0 {
			c.SecurityGroups = i.SecurityGroups
		}
	}
	switch {
	case wire.Value(c.ImageId) == "" || wire.Value(c.InstanceType) == "":
		return wire.Errorf("ValidationError", "Valid requests must contain either the InstanceID parameter or both the ImageId and InstanceType parameters.")
	case in.UserData != nil:
		if _, err := base64.StdEncoding.DecodeString(*in.UserData); err != nil {
			return wire.Errorf("ValidationError", "Invalid BASE64 encoding of user data.")
		}
	}
	if _, ok := capacity.TypeByName(*c.InstanceType); !ok {
		return wire.Errorf("ValidationError", "Invalid instance type: '%s'", *c.InstanceType)
	}
	if c.SecurityGroups == nil {
		c.SecurityGroups = []string{}
	}
	c.UserData, c.KeyName, c.KernelId, c.RamdiskId = or(c.UserData, wire.Ptr("")), or(c.KeyName, wire.Ptr("")), or(c.KernelId, wire.Ptr("")), or(c.RamdiskId, wire.Ptr("")) // empty, not left out
	s.configs.Put(tx, name, &LaunchConfig{API: c})
	return nil
}

func (s *Service) createConfig(_ context.Context, in *autoscalingapi.CreateLaunchConfigurationInput) (*autoscalingapi.CreateLaunchConfigurationOutput, error) {
	return &autoscalingapi.CreateLaunchConfigurationOutput{}, s.db.Update(func(tx *state.Tx) error { return s.putConfig(tx, in) })
}

func (s *Service) describeConfigs(_ context.Context, in *autoscalingapi.DescribeLaunchConfigurationsInput) (*autoscalingapi.DescribeLaunchConfigurationsOutput, error) {
	out := &autoscalingapi.DescribeLaunchConfigurationsOutput{LaunchConfigurations: []autoscalingapi.LaunchConfiguration{}}
	limit := int(cmp.Or(wire.Value(in.MaxRecords), 50))
	return out, s.db.View(func(tx *state.Tx) error {
		for name, c := range s.configs.From(tx, wire.Value(in.NextToken)) {
			if len(in.LaunchConfigurationNames) > 0 && !slices.Contains(in.LaunchConfigurationNames, name) {
				continue
			}
			if len(out.LaunchConfigurations) == limit {
				out.NextToken = wire.Ptr(name)
				break
			}
			out.LaunchConfigurations = append(out.LaunchConfigurations, c.API)
		}
		return nil
	})
}

func (s *Service) deleteConfig(_ context.Context, in *autoscalingapi.DeleteLaunchConfigurationInput) (*autoscalingapi.DeleteLaunchConfigurationOutput, error) {
	name := wire.Value(in.LaunchConfigurationName)
	return &autoscalingapi.DeleteLaunchConfigurationOutput{}, s.db.Update(func(tx *state.Tx) error {
		for group, g := range s.groups.All(tx) {
			if wire.Value(g.Spec.LaunchConfigurationName) == name {
				return wire.Errorf("ResourceInUse", "Cannot delete launch configuration %s because it is attached to AutoScalingGroup %s", name, group)
			}
		}
		if !s.configs.Delete(tx, name) {
			return wire.Errorf("ValidationError", "Launch configuration name not found - Launch configuration %s not found", name)
		}
		return nil
	})
}

// fromConfig fills in a launch from the group's launch configuration.
func (s *Service) fromConfig(tx *state.Tx, name string, l *ec2.Launch) error {
	c, ok := s.configs.Get(tx, name)
	if !ok {
		return noConfig(name)
	}
	l.ImageID, l.Type, l.UserData, l.SecurityGroups = wire.Value(c.API.ImageId), wire.Value(c.API.InstanceType), wire.Value(c.API.UserData), c.API.SecurityGroups
	l.Profile, l.Spot = wire.Value(c.API.IamInstanceProfile), wire.Value(c.API.SpotPrice) != ""
	return nil
}
