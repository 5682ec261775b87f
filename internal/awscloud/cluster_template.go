package awscloud

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

// sourceTag keeps where a launch template's AMI came from.
const sourceTag = "slipway:ami-parameter"

// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
func (p templatePort) Parameter(ctx context.Context, name string) (string, error) {
	out, err := p.parameters.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
	if is(err, "ParameterNotFound") {
		return "", fmt.Errorf("parameter %s: %w", name, clusterinfra.ErrNotFound)
	}
	if err != nil {
		return "", err
	}
	return aws.ToString(out.Parameter.Value), nil
}

// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeLaunchTemplateVersions.html
func (p templatePort) Template(ctx context.Context, name string) (clusterinfra.Template, error) {
	list, err := p.api.DescribeLaunchTemplates(ctx, &ec2.DescribeLaunchTemplatesInput{LaunchTemplateNames: []string{name}})
	if templateGone(err) || err == nil && len(list.LaunchTemplates) == 0 {
		return clusterinfra.Template{}, clusterinfra.ErrNotFound
	}
	if err != nil {
		return clusterinfra.Template{}, err
	}
	t := list.LaunchTemplates[0]
	out, err := p.api.DescribeLaunchTemplateVersions(ctx, &ec2.DescribeLaunchTemplateVersionsInput{LaunchTemplateId: t.LaunchTemplateId, Versions: []string{"$Latest"}})
	if templateGone(err) || err == nil && len(out.LaunchTemplateVersions) == 0 {
		return clusterinfra.Template{}, clusterinfra.ErrNotFound
	}
	if err != nil {
		return clusterinfra.Template{}, err
	}
	v := out.LaunchTemplateVersions[0]
	r := clusterinfra.Template{Name: name, ID: aws.ToString(t.LaunchTemplateId), Version: strconv.FormatInt(aws.ToInt64(v.VersionNumber), 10), Tags: ec2Map(t.Tags), InstanceTags: map[string]string{}}
	r.Source = r.Tags[sourceTag]
	d := v.LaunchTemplateData
	if d == nil {
		return r, nil
	}
	r.AMI, r.Type, r.KeyName, r.SecurityGroups = aws.ToString(d.ImageId), string(d.InstanceType), aws.ToString(d.KeyName), d.SecurityGroupIds
	if d.IamInstanceProfile != nil {
		r.Profile = aws.ToString(d.IamInstanceProfile.Name)
	}
	if data, err := base64.StdEncoding.DecodeString(aws.ToString(d.UserData)); err == nil {
		r.UserData = string(data)
	}
	for _, b := range d.BlockDeviceMappings {
		if b.Ebs != nil {
			r.RootGiB = int(aws.ToInt32(b.Ebs.VolumeSize))
		}
	}
	for _, s := range d.TagSpecifications {
		if s.ResourceType == types.ResourceTypeInstance {
			r.InstanceTags = ec2Map(s.Tags)
		}
	}
	return r, nil
}

// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeLaunchTemplates.html
func (p templatePort) TemplatesOf(ctx context.Context, cluster string) ([]clusterinfra.Template, error) {
	var out []clusterinfra.Template
	pages := ec2.NewDescribeLaunchTemplatesPaginator(p.api, &ec2.DescribeLaunchTemplatesInput{Filters: []types.Filter{{Name: aws.String("tag:" + clusterinfra.TagCluster), Values: []string{cluster}}}})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, t := range page.LaunchTemplates {
			out = append(out, clusterinfra.Template{Name: aws.ToString(t.LaunchTemplateName), ID: aws.ToString(t.LaunchTemplateId), Tags: ec2Map(t.Tags)})
		}
	}
	return out, nil
}

func templateGone(err error) bool {
	return is(err, "InvalidLaunchTemplateName.NotFoundException", "InvalidLaunchTemplateId.NotFound", "InvalidLaunchTemplateId.VersionNotFound", "InvalidLaunchTemplateName.NotFound")
}

// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplate.html
func (p templatePort) PutTemplate(ctx context.Context, w clusterinfra.Template) (clusterinfra.Template, error) {
	data := &types.RequestLaunchTemplateData{
		ImageId: text(w.AMI), InstanceType: types.InstanceType(w.Type), KeyName: text(w.KeyName), SecurityGroupIds: w.SecurityGroups,
		UserData:           aws.String(base64.StdEncoding.EncodeToString([]byte(w.UserData))),
		IamInstanceProfile: &types.LaunchTemplateIamInstanceProfileSpecificationRequest{Name: &w.Profile},
		// IMDSv2 only, and one hop: containers on the bridge do not reach the instance's credentials.
		MetadataOptions: &types.LaunchTemplateInstanceMetadataOptionsRequest{HttpTokens: types.LaunchTemplateHttpTokensStateRequired,
			HttpPutResponseHopLimit: aws.Int32(1), HttpEndpoint: types.LaunchTemplateInstanceMetadataEndpointStateEnabled},
		BlockDeviceMappings: []types.LaunchTemplateBlockDeviceMappingRequest{{DeviceName: aws.String("/dev/xvda"),
			Ebs: &types.LaunchTemplateEbsBlockDeviceRequest{VolumeSize: aws.Int32(int32(w.RootGiB)), VolumeType: types.VolumeTypeGp3, Encrypted: aws.Bool(true), DeleteOnTermination: aws.Bool(true)}}},
		TagSpecifications: []types.LaunchTemplateTagSpecificationRequest{
			{ResourceType: types.ResourceTypeInstance, Tags: ec2Tags(w.InstanceTags)}, {ResourceType: types.ResourceTypeVolume, Tags: ec2Tags(w.InstanceTags)}},
	}
	tags := map[string]string{sourceTag: w.Source}
	for k, v := range w.Tags {
		tags[k] = v
	}
	have, err := p.Template(ctx, w.Name)
	switch {
	case errors.Is(err, clusterinfra.ErrNotFound):
		_, err := p.api.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: &w.Name, LaunchTemplateData: data,
			TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeLaunchTemplate, Tags: ec2Tags(tags)}}})
		if err != nil {
			return w, err
		}
		return p.Template(ctx, w.Name)
	case err != nil:
		return w, err
	}
	out, err := p.api.CreateLaunchTemplateVersion(ctx, &ec2.CreateLaunchTemplateVersionInput{LaunchTemplateId: &have.ID, LaunchTemplateData: data})
	if err != nil {
		return w, err
	}
	version := strconv.FormatInt(aws.ToInt64(out.LaunchTemplateVersion.VersionNumber), 10)
	if _, err := p.api.ModifyLaunchTemplate(ctx, &ec2.ModifyLaunchTemplateInput{LaunchTemplateId: &have.ID, DefaultVersion: &version}); err != nil {
		return w, err
	}
	if add := missing(have.Tags, tags); len(add) > 0 {
		if _, err := p.api.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{have.ID}, Tags: ec2Tags(add)}); err != nil {
			return w, err
		}
	}
	return p.Template(ctx, w.Name)
}

func (p templatePort) DeleteTemplate(ctx context.Context, name string) error {
	_, err := p.api.DeleteLaunchTemplate(ctx, &ec2.DeleteLaunchTemplateInput{LaunchTemplateName: &name})
	if templateGone(err) {
		return nil
	}
	return err
}

func (p profilePort) Role(ctx context.Context, name string) (clusterinfra.Role, error) {
	out, err := p.api.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
	if is(err, "NoSuchEntity") {
		return clusterinfra.Role{}, clusterinfra.ErrNotFound
	}
	if err != nil {
		return clusterinfra.Role{}, err
	}
	r := clusterinfra.Role{Name: name, ARN: aws.ToString(out.Role.Arn), Trust: document(out.Role.AssumeRolePolicyDocument), Tags: map[string]string{}}
	for _, t := range out.Role.Tags {
		r.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	attached, err := p.api.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: &name})
	if err != nil {
		return r, err
	}
	for _, m := range attached.AttachedPolicies {
		r.Managed = append(r.Managed, aws.ToString(m.PolicyArn))
	}
	profile, err := p.api.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: &name})
	switch {
	case is(err, "NoSuchEntity"):
	case err != nil:
		return r, err
	default:
		for _, role := range profile.InstanceProfile.Roles {
			r.InProfile = r.InProfile || aws.ToString(role.RoleName) == name
		}
	}
	return r, nil
}

func (p profilePort) PutRole(ctx context.Context, w clusterinfra.Role) (clusterinfra.Role, error) {
	_, err := p.api.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &w.Name, AssumeRolePolicyDocument: &w.Trust, Tags: iamTags(w.Tags)})
	if is(err, "EntityAlreadyExists") {
		_, err = p.api.TagRole(ctx, &iam.TagRoleInput{RoleName: &w.Name, Tags: iamTags(w.Tags)})
	}
	if err != nil {
		return w, err
	}
	for _, arn := range w.Managed {
		if _, err := p.api.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &w.Name, PolicyArn: aws.String(arn)}); err != nil {
			return w, fmt.Errorf("attaching %s: %w", arn, err)
		}
	}
	if _, err := p.api.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: &w.Name, Tags: iamTags(w.Tags)}); err != nil && !is(err, "EntityAlreadyExists") {
		return w, fmt.Errorf("creating the instance profile: %w", err)
	}
	have, err := p.Role(ctx, w.Name)
	if err != nil {
		return w, err
	}
	if !have.InProfile {
		if _, err := p.api.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: &w.Name, RoleName: &w.Name}); err != nil && !is(err, "LimitExceeded") {
			return w, fmt.Errorf("putting the role into its instance profile: %w", err)
		}
		have.InProfile = true
	}
	return have, nil
}

func (p profilePort) DeleteRole(ctx context.Context, name string) error {
	if _, err := p.api.RemoveRoleFromInstanceProfile(ctx, &iam.RemoveRoleFromInstanceProfileInput{InstanceProfileName: &name, RoleName: &name}); err != nil && !is(err, "NoSuchEntity") {
		return err
	}
	if _, err := p.api.DeleteInstanceProfile(ctx, &iam.DeleteInstanceProfileInput{InstanceProfileName: &name}); err != nil && !is(err, "NoSuchEntity") {
		return err
	}
	return deleteRole(ctx, p.api, name)
}
