package awscloud

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTaskDefinition.html
func (p *ecsPort) TaskDefinition(ctx context.Context, name string) (deploy.TaskDefinition, error) {
	out, err := p.api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &name, Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags}})
	if is(err, "ClientException") && says(err, "unable to describe task definition") {
		return deploy.TaskDefinition{}, deploy.ErrNotFound
	}
	if err != nil {
		return deploy.TaskDefinition{}, err
	}
	return definitionFrom(*out.TaskDefinition, out.Tags), nil
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
func (p *ecsPort) RegisterTaskDefinition(ctx context.Context, w deploy.TaskDefinition) (deploy.TaskDefinition, error) {
	in := &ecs.RegisterTaskDefinitionInput{
		Family: &w.Family, NetworkMode: types.NetworkMode(w.NetworkMode), TaskRoleArn: text(w.TaskRole), ExecutionRoleArn: text(w.ExecutionRole),
		RequiresCompatibilities: []types.Compatibility{types.Compatibility(w.LaunchType)}, Tags: ecsTags(w.Tags),
	}
	if w.CPU > 0 {
		in.Cpu = aws.String(itoa(w.CPU))
	}
	if w.Memory > 0 {
		in.Memory = aws.String(itoa(w.Memory))
	}
	if w.Architecture != "" {
		in.RuntimePlatform = &types.RuntimePlatform{CpuArchitecture: types.CPUArchitecture(w.Architecture), OperatingSystemFamily: types.OSFamilyLinux}
	}
	tmpfs := map[string]int{}
	for _, v := range w.Volumes {
		switch {
		case v.Tmpfs > 0:
			tmpfs[v.Name] = v.Tmpfs // not a volume of the task: it belongs to each container that mounts it
			continue
		case v.EFS != nil:
			efs := &types.EFSVolumeConfiguration{FileSystemId: &v.EFS.FileSystem, RootDirectory: text(v.EFS.RootDirectory), TransitEncryption: types.EFSTransitEncryptionEnabled}
			if v.EFS.AccessPoint != "" {
				efs.AuthorizationConfig = &types.EFSAuthorizationConfig{AccessPointId: &v.EFS.AccessPoint, Iam: types.EFSAuthorizationConfigIAMEnabled}
			}
			in.Volumes = append(in.Volumes, types.Volume{Name: aws.String(v.Name), EfsVolumeConfiguration: efs})
		case v.EBS != nil:
			in.Volumes = append(in.Volumes, types.Volume{Name: aws.String(v.Name), ConfiguredAtLaunch: aws.Bool(true)})
		default:
			vol := types.Volume{Name: aws.String(v.Name)}
			if v.HostPath != "" {
				vol.Host = &types.HostVolumeProperties{SourcePath: aws.String(v.HostPath)}
			}
			in.Volumes = append(in.Volumes, vol)
		}
	}
	for _, c := range w.Containers {
		in.ContainerDefinitions = append(in.ContainerDefinitions, containerTo(c, w, tmpfs))
	}
	if w.Router != nil {
		in.ContainerDefinitions = append(in.ContainerDefinitions, routerTo(*w.Router, w.RouterLogs))
	}
	out, err := p.api.RegisterTaskDefinition(ctx, in)
	if err != nil {
		return w, err
	}
	return definitionFrom(*out.TaskDefinition, out.Tags), nil
}

func containerTo(c service.Container, w deploy.TaskDefinition, tmpfs map[string]int) types.ContainerDefinition {
	out := types.ContainerDefinition{
		Name: aws.String(c.Name), Image: aws.String(c.Image), Essential: aws.Bool(c.Essential), Command: c.Command, EntryPoint: c.EntryPoint,
		Cpu: int32(c.CPU), User: text(c.User), ReadonlyRootFilesystem: flag(c.ReadOnlyRoot), StopTimeout: secs(c.StopTimeout),
	}
	if len(w.Containers) == 1 && w.Router == nil {
		out.Essential = aws.Bool(true) // a task needs one
	}
	if c.Memory > 0 {
		out.Memory = aws.Int32(int32(c.Memory))
	}
	if c.MemoryReservation > 0 {
		out.MemoryReservation = aws.Int32(int32(c.MemoryReservation))
	}
	for _, p := range c.Ports {
		m := types.PortMapping{ContainerPort: aws.Int32(int32(p.Container)), Protocol: types.TransportProtocol(cmp.Or(strings.ToLower(p.Protocol), "tcp")), Name: text(p.Name)}
		switch w.NetworkMode {
		case "bridge":
			m.HostPort = aws.Int32(int32(p.Host))
		case "host":
			m.HostPort = aws.Int32(int32(cmp.Or(p.Host, p.Container)))
		}
		out.PortMappings = append(out.PortMappings, m)
	}
	for _, k := range sortedKeys(c.Env) {
		out.Environment = append(out.Environment, types.KeyValuePair{Name: aws.String(k), Value: aws.String(c.Env[k])})
	}
	for _, f := range c.EnvFiles {
		out.EnvironmentFiles = append(out.EnvironmentFiles, types.EnvironmentFile{Type: types.EnvironmentFileTypeS3, Value: aws.String(f)})
	}
	for _, k := range sortedKeys(c.Secrets) {
		out.Secrets = append(out.Secrets, types.Secret{Name: aws.String(k), ValueFrom: aws.String(c.Secrets[k])})
	}
	if h := c.HealthCheck; h != nil {
		out.HealthCheck = &types.HealthCheck{Command: h.Command, Interval: secs(h.Interval), Timeout: secs(h.Timeout), StartPeriod: secs(h.StartPeriod)}
		if h.Retries > 0 {
			out.HealthCheck.Retries = aws.Int32(int32(h.Retries))
		}
	}
	for _, d := range c.DependsOn {
		out.DependsOn = append(out.DependsOn, types.ContainerDependency{ContainerName: aws.String(d.Container), Condition: types.ContainerCondition(d.Condition)})
	}
	linux := types.LinuxParameters{InitProcessEnabled: flag(c.Init)}
	for _, m := range c.Mounts {
		if size, ok := tmpfs[m.Volume]; ok {
			t := types.Tmpfs{ContainerPath: aws.String(m.Path), Size: int32(size)}
			if m.ReadOnly {
				t.MountOptions = []string{"ro"}
			}
			linux.Tmpfs = append(linux.Tmpfs, t)
			continue
		}
		out.MountPoints = append(out.MountPoints, types.MountPoint{SourceVolume: aws.String(m.Volume), ContainerPath: aws.String(m.Path), ReadOnly: flag(m.ReadOnly)})
	}
	if c.Init || len(linux.Tmpfs) > 0 {
		out.LinuxParameters = &linux
	}
	for _, u := range c.Ulimits {
		out.Ulimits = append(out.Ulimits, types.Ulimit{Name: types.UlimitName(u.Name), SoftLimit: int32(u.Soft), HardLimit: int32(u.Hard)})
	}
	if w.LogDriver != "" {
		out.LogConfiguration = &types.LogConfiguration{LogDriver: types.LogDriver(w.LogDriver), Options: w.LogOptions}
		for _, k := range sortedKeys(w.LogSecrets) {
			out.LogConfiguration.SecretOptions = append(out.LogConfiguration.SecretOptions, types.Secret{Name: aws.String(k), ValueFrom: aws.String(w.LogSecrets[k])})
		}
	}
	for _, k := range sortedKeys(c.SecretVersions) {
		if out.DockerLabels == nil {
			out.DockerLabels = map[string]string{}
		}
		out.DockerLabels[labelVersion+k] = c.SecretVersions[k]
	}
	return out
}

func (p *ecsPort) DeregisterTaskDefinition(ctx context.Context, arn string) error {
	_, err := p.api.DeregisterTaskDefinition(ctx, &ecs.DeregisterTaskDefinitionInput{TaskDefinition: &arn})
	return err
}

func (p *ecsPort) TagTaskDefinition(ctx context.Context, arn string, tags map[string]string) error {
	_, err := p.api.TagResource(ctx, &ecs.TagResourceInput{ResourceArn: &arn, Tags: ecsTags(tags)})
	return err
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTaskDefinitions.html
func (p *ecsPort) Revisions(ctx context.Context, family string) ([]string, error) {
	in := &ecs.ListTaskDefinitionsInput{FamilyPrefix: &family, Status: types.TaskDefinitionStatusActive, Sort: types.SortOrderDesc}
	var arns []string
	for {
		out, err := p.api.ListTaskDefinitions(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, arn := range out.TaskDefinitionArns {
			if name, _, _ := strings.Cut(lastPart(arn), ":"); name == family {
				arns = append(arns, arn)
			}
		}
		if aws.ToString(out.NextToken) == "" {
			return arns, nil
		}
		in.NextToken = out.NextToken
	}
}

func definitionFrom(t types.TaskDefinition, tags []types.Tag) deploy.TaskDefinition {
	out := deploy.TaskDefinition{
		Family: aws.ToString(t.Family), Revision: int(t.Revision), ARN: aws.ToString(t.TaskDefinitionArn), Status: string(t.Status),
		NetworkMode: string(t.NetworkMode), TaskRole: aws.ToString(t.TaskRoleArn), ExecutionRole: aws.ToString(t.ExecutionRoleArn),
		CPU: number(t.Cpu), Memory: number(t.Memory), Tags: map[string]string{},
	}
	if len(t.RequiresCompatibilities) > 0 {
		out.LaunchType = string(t.RequiresCompatibilities[0])
	}
	if t.RuntimePlatform != nil {
		out.Architecture = string(t.RuntimePlatform.CpuArchitecture)
	}
	for _, v := range t.Volumes {
		vol := service.Volume{Name: aws.ToString(v.Name)}
		if v.Host != nil {
			vol.HostPath = aws.ToString(v.Host.SourcePath)
		}
		if aws.ToBool(v.ConfiguredAtLaunch) {
			vol.EBS = &service.EBSVolume{}
		}
		if e := v.EfsVolumeConfiguration; e != nil {
			vol.EFS = &service.EFSVolume{FileSystem: aws.ToString(e.FileSystemId), RootDirectory: aws.ToString(e.RootDirectory)}
			if e.AuthorizationConfig != nil {
				vol.EFS.AccessPoint = aws.ToString(e.AuthorizationConfig.AccessPointId)
			}
		}
		out.Volumes = append(out.Volumes, vol)
	}
	for _, c := range t.ContainerDefinitions {
		if c.FirelensConfiguration != nil && aws.ToString(c.Name) == service.LogRouterName {
			out.Router, out.RouterLogs = routerFrom(c)
			continue
		}
		sc, extra := containerFrom(c)
		out.Containers = append(out.Containers, sc)
		for _, v := range extra {
			if !slices.ContainsFunc(out.Volumes, func(x service.Volume) bool { return x.Name == v.Name }) {
				out.Volumes = append(out.Volumes, v)
			}
		}
		if c.LogConfiguration != nil && out.LogDriver == "" {
			out.LogDriver, out.LogOptions = string(c.LogConfiguration.LogDriver), c.LogConfiguration.Options
			for _, s := range c.LogConfiguration.SecretOptions {
				if out.LogSecrets == nil {
					out.LogSecrets = map[string]string{}
				}
				out.LogSecrets[aws.ToString(s.Name)] = aws.ToString(s.ValueFrom)
			}
		}
	}
	for _, tag := range tags {
		out.Tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return out
}

func containerFrom(c types.ContainerDefinition) (service.Container, []service.Volume) {
	out := service.Container{
		Name: aws.ToString(c.Name), Image: aws.ToString(c.Image), Essential: c.Essential == nil || *c.Essential, Command: c.Command, EntryPoint: c.EntryPoint,
		CPU: int(c.Cpu), Memory: int(aws.ToInt32(c.Memory)), MemoryReservation: int(aws.ToInt32(c.MemoryReservation)),
		User: aws.ToString(c.User), ReadOnlyRoot: aws.ToBool(c.ReadonlyRootFilesystem), StopTimeout: seconds(c.StopTimeout),
	}
	for _, p := range c.PortMappings {
		out.Ports = append(out.Ports, service.Port{Container: int(aws.ToInt32(p.ContainerPort)), Host: int(aws.ToInt32(p.HostPort)), Protocol: string(p.Protocol), Name: aws.ToString(p.Name)})
	}
	for _, e := range c.Environment {
		if out.Env == nil {
			out.Env = map[string]string{}
		}
		out.Env[aws.ToString(e.Name)] = aws.ToString(e.Value)
	}
	for _, f := range c.EnvironmentFiles {
		out.EnvFiles = append(out.EnvFiles, aws.ToString(f.Value))
	}
	for _, s := range c.Secrets {
		if out.Secrets == nil {
			out.Secrets = map[string]string{}
		}
		out.Secrets[aws.ToString(s.Name)] = aws.ToString(s.ValueFrom)
	}
	for k, v := range c.DockerLabels {
		if name, ok := strings.CutPrefix(k, labelVersion); ok {
			if out.SecretVersions == nil {
				out.SecretVersions = map[string]string{}
			}
			out.SecretVersions[name] = v
		}
	}
	if h := c.HealthCheck; h != nil {
		out.HealthCheck = &service.ContainerHealth{Command: h.Command, Interval: seconds(h.Interval), Timeout: seconds(h.Timeout), StartPeriod: seconds(h.StartPeriod), Retries: int(aws.ToInt32(h.Retries))}
	}
	for _, d := range c.DependsOn {
		out.DependsOn = append(out.DependsOn, service.Dependency{Container: aws.ToString(d.ContainerName), Condition: string(d.Condition)})
	}
	for _, m := range c.MountPoints {
		out.Mounts = append(out.Mounts, service.Mount{Volume: aws.ToString(m.SourceVolume), Path: aws.ToString(m.ContainerPath), ReadOnly: aws.ToBool(m.ReadOnly)})
	}
	var volumes []service.Volume
	if l := c.LinuxParameters; l != nil {
		out.Init = aws.ToBool(l.InitProcessEnabled)
		for _, t := range l.Tmpfs { // AWS keeps no name for it
			name := "tmpfs" + strings.ReplaceAll(aws.ToString(t.ContainerPath), "/", "-")
			volumes = append(volumes, service.Volume{Name: name, Tmpfs: int(t.Size)})
			out.Mounts = append(out.Mounts, service.Mount{Volume: name, Path: aws.ToString(t.ContainerPath), ReadOnly: slices.Contains(t.MountOptions, "ro")})
		}
	}
	for _, u := range c.Ulimits {
		out.Ulimits = append(out.Ulimits, service.Ulimit{Name: string(u.Name), Soft: int(u.SoftLimit), Hard: int(u.HardLimit)})
	}
	return out, volumes
}

// secs is a duration as ECS takes it; nil for AWS's default.
func secs(d time.Duration) *int32 {
	if d == 0 {
		return nil
	}
	return aws.Int32(int32((d + time.Second - 1) / time.Second))
}
