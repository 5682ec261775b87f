package ecs

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// complete checks a task definition and adds the defaults that AWS echoes.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html
func complete(in *ecsapi.RegisterTaskDefinitionInput) (ecsapi.TaskDefinition, error) {
	d := ecsapi.TaskDefinition{
		Family: in.Family, TaskRoleArn: in.TaskRoleArn, ExecutionRoleArn: in.ExecutionRoleArn, NetworkMode: in.NetworkMode,
		PlacementConstraints: orEmpty(in.PlacementConstraints), RequiresCompatibilities: in.RequiresCompatibilities,
		PidMode: in.PidMode, IpcMode: in.IpcMode, ProxyConfiguration: in.ProxyConfiguration,
		InferenceAccelerators: in.InferenceAccelerators, EphemeralStorage: in.EphemeralStorage,
		RuntimePlatform: in.RuntimePlatform, EnableFaultInjection: in.EnableFaultInjection,
	}
	var err error
	if d.Cpu, err = units(in.Cpu, `(?i)^\s*([0-9.]+)\s*vcpu\s*$`, "cpu"); err != nil {
		return d, err
	}
	if d.Memory, err = units(in.Memory, `(?i)^\s*([0-9.]+)\s*gb\s*$`, "memory"); err != nil {
		return d, err
	}
	if len(in.ContainerDefinitions) == 0 {
		return d, client("Container list cannot be empty.")
	}
	if len(in.PlacementConstraints) > 10 {
		return d, client("Task definition can have at most 10 placement constraints.")
	}
	for _, v := range in.Volumes {
		d.Volumes = append(d.Volumes, completeVolume(v))
	}
	d.Volumes = orEmpty(d.Volumes)
	for _, c := range in.ContainerDefinitions {
		c, err := completeContainer(c, &d)
		if err != nil {
			return d, err
		}
		d.ContainerDefinitions = append(d.ContainerDefinitions, c)
	}
	if err := checkContainers(&d); err != nil {
		return d, err
	}
	reason := fargateRefuses(&d)
	d.Compatibilities = []string{"EC2", "EXTERNAL", "MANAGED_INSTANCES"}
	if wire.Value(d.NetworkMode) == "awsvpc" {
		d.Compatibilities = []string{"EC2", "MANAGED_INSTANCES"}
	}
	if reason == "" {
		d.Compatibilities = append(d.Compatibilities, "FARGATE")
	} else if slices.Contains(d.RequiresCompatibilities, "FARGATE") {
		return d, client("%s", reason)
	}
	for _, want := range d.RequiresCompatibilities {
		if !slices.Contains([]string{"EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES"}, want) {
			return d, client("Unknown requires compatibility: %s", want)
		}
		if !slices.Contains(d.Compatibilities, want) {
			return d, client("The task definition is not compatible with %s: network mode %s is not supported there.", want, wire.Value(d.NetworkMode))
		}
	}
	d.RequiresAttributes = requiredAttributes(&d)
	return d, nil
}

// units turns "1 vCPU" and "2 GB" into "1024" and "2048".
func units(s *string, pattern, what string) (*string, error) {
	if s == nil || *s == "" {
		return nil, nil
	}
	if m := regexp.MustCompile(pattern).FindStringSubmatch(*s); m != nil {
		if f, err := strconv.ParseFloat(m[1], 64); err == nil {
			return wire.String(strconv.Itoa(int(f * 1024))), nil
		}
	}
	if n, err := strconv.Atoi(strings.TrimSpace(*s)); err != nil || n < 0 {
		return nil, client("Invalid '%s' setting for task.", what)
	}
	return wire.String(strings.TrimSpace(*s)), nil
}

func completeVolume(v ecsapi.Volume) ecsapi.Volume {
	switch {
	case v.EfsVolumeConfiguration != nil:
		e := *v.EfsVolumeConfiguration
		e.RootDirectory = or(e.RootDirectory, "/")
		v.EfsVolumeConfiguration = &e
	case v.DockerVolumeConfiguration != nil:
		d := *v.DockerVolumeConfiguration
		d.Scope, d.Driver = or(d.Scope, "task"), or(d.Driver, "local")
		v.DockerVolumeConfiguration = &d
	case v.Host == nil && v.FsxWindowsFileServerVolumeConfiguration == nil && v.S3filesVolumeConfiguration == nil && !wire.Value(v.ConfiguredAtLaunch):
		v.Host = &ecsapi.HostVolumeProperties{}
	}
	return v
}

func completeContainer(c ecsapi.ContainerDefinition, d *ecsapi.TaskDefinition) (ecsapi.ContainerDefinition, error) {
	name := wire.Value(c.Name)
	switch {
	case name == "":
		return c, client("Container.name should not be null or empty.")
	case !familyRE.MatchString(name):
		return c, client("Container.name contains invalid characters.")
	case wire.Value(c.Image) == "":
		return c, client("Container.image should not be null or empty.")
	case c.Memory == nil && c.MemoryReservation == nil && d.Memory == nil:
		return c, client("Invalid setting for container '%s'. At least one of 'memory' or 'memoryReservation' must be specified.", name)
	case c.Memory != nil && *c.Memory < 4, c.MemoryReservation != nil && *c.MemoryReservation < 4:
		return c, client("Invalid setting for container '%s'. 'memory' and 'memoryReservation' must be at least 4 MiB.", name)
	case c.Memory != nil && c.MemoryReservation != nil && *c.Memory < *c.MemoryReservation:
		return c, client("Invalid setting for container '%s'. The 'memory' setting must be greater than or equal to the 'memoryReservation' setting.", name)
	}
	c.Cpu, c.Essential = or(c.Cpu, 0), or(c.Essential, true)
	c.Environment, c.MountPoints, c.VolumesFrom, c.SystemControls = orEmpty(c.Environment), orEmpty(c.MountPoints), orEmpty(c.VolumesFrom), orEmpty(c.SystemControls)
	ports := make([]ecsapi.PortMapping, 0, len(c.PortMappings))
	for _, p := range c.PortMappings {
		p, err := completePort(p, wire.Value(d.NetworkMode))
		if err != nil {
			return c, err
		}
		ports = append(ports, p)
	}
	c.PortMappings = ports
	if h := c.HealthCheck; h != nil {
		h := *h
		h.Interval, h.Timeout, h.Retries = or(h.Interval, 30), or(h.Timeout, 5), or(h.Retries, 3)
		if err := checkHealthCheck(name, h); err != nil {
			return c, err
		}
		c.HealthCheck = &h
	}
	if l := c.LogConfiguration; l != nil {
		if wire.Value(l.LogDriver) == "awslogs" && l.Options["awslogs-group"] == "" {
			return c, client("Log driver awslogs requires options: awslogs-group")
		}
	}
	return c, nil
}

func completePort(p ecsapi.PortMapping, mode string) (ecsapi.PortMapping, error) {
	p.Protocol = or(p.Protocol, "tcp")
	if *p.Protocol != "tcp" && *p.Protocol != "udp" {
		return p, client("Unsupported protocol: %s. Specify tcp or udp.", *p.Protocol)
	}
	if p.ContainerPortRange != nil {
		return p, nil
	}
	cp := wire.Value(p.ContainerPort)
	if cp < 1 || cp > 65535 {
		return p, client("Invalid container port: %d. The container port must be between 1 and 65535.", cp)
	}
	switch mode {
	case "awsvpc", "host":
		if p.HostPort != nil && *p.HostPort != cp && *p.HostPort != 0 {
			return p, client("When networkMode=%s, the host ports and container ports in port mappings must match.", mode)
		}
		p.HostPort = &cp
	default:
		p.HostPort = or(p.HostPort, 0)
		if *p.HostPort < 0 || *p.HostPort > 65535 {
			return p, client("Invalid host port: %d. The host port must be between 0 and 65535.", *p.HostPort)
		}
	}
	return p, nil
}

// checkHealthCheck checks the bounds: interval 5–300 s, timeout 2–120 s, retries 1–10, start period 0–300 s.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html
func checkHealthCheck(name string, h ecsapi.HealthCheck) error {
	sp := wire.Value(h.StartPeriod)
	if *h.Interval < 5 || *h.Interval > 300 || *h.Timeout < 2 || *h.Timeout > 120 || *h.Retries < 1 || *h.Retries > 10 || sp < 0 || sp > 300 {
		return client("Invalid health check of container '%s': interval must be 5 to 300, timeout 2 to 120, retries 1 to 10, startPeriod 0 to 300.", name)
	}
	if len(h.Command) == 0 {
		return client("Health check command of container '%s' must not be empty.", name)
	}
	return nil
}

func checkContainers(d *ecsapi.TaskDefinition) error {
	byName := map[string]*ecsapi.ContainerDefinition{}
	essential := false
	hostPorts := map[string]bool{}
	for i := range d.ContainerDefinitions {
		c := &d.ContainerDefinitions[i]
		if byName[*c.Name] != nil {
			return client("Container names must be unique within a task definition: '%s' is used more than once.", *c.Name)
		}
		byName[*c.Name] = c
		essential = essential || *c.Essential
		for _, p := range c.PortMappings {
			if n := wire.Value(p.HostPort); n != 0 {
				key := strconv.Itoa(int(n)) + "/" + *p.Protocol
				if hostPorts[key] {
					return client("The container port mappings use host port %s more than once.", key)
				}
				hostPorts[key] = true
			}
		}
		for _, m := range c.MountPoints {
			if !slices.ContainsFunc(d.Volumes, func(v ecsapi.Volume) bool { return wire.Value(v.Name) == wire.Value(m.SourceVolume) }) {
				return client("Unknown volume '%s'.", wire.Value(m.SourceVolume))
			}
		}
	}
	if !essential {
		return client("TaskDefinition must have at least one essential container.")
	}
	for name, c := range byName {
		for _, dep := range c.DependsOn {
			on := byName[wire.Value(dep.ContainerName)]
			switch {
			case on == nil:
				return client("Container '%s' depends on the unknown container '%s'.", name, wire.Value(dep.ContainerName))
			case wire.Value(dep.Condition) == "HEALTHY" && on.HealthCheck == nil:
				return client("A container can depend on condition HEALTHY only if that container has a health check: '%s'.", *on.Name)
			case (wire.Value(dep.Condition) == "COMPLETE" || wire.Value(dep.Condition) == "SUCCESS") && *on.Essential:
				return client("A dependency on condition %s is not valid for the essential container '%s'.", *dep.Condition, *on.Name)
			}
		}
		if inCycle(byName, name) {
			return client("The dependencies of container '%s' form a cycle.", name)
		}
	}
	return nil
}

// inCycle reports whether a container depends on itself, directly or through others.
func inCycle(byName map[string]*ecsapi.ContainerDefinition, start string) bool {
	seen := map[string]bool{}
	var visit func(name string) bool
	visit = func(name string) bool {
		for _, dep := range byName[name].DependsOn {
			on := wire.Value(dep.ContainerName)
			if on == start {
				return true
			}
			if byName[on] != nil && !seen[on] {
				seen[on] = true
				if visit(on) {
					return true
				}
			}
		}
		return false
	}
	return visit(start)
}

// fargateMemory lists the memory sizes in MiB that go with each CPU size: lowest, highest, step.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
var fargateMemory = map[int][3]int{
	512: {1024, 4096, 1024}, 1024: {2048, 8192, 1024}, 2048: {4096, 16384, 1024}, 4096: {8192, 30720, 1024},
	8192: {16384, 61440, 4096}, 16384: {32768, 122880, 8192},
}

func fargateSize(cpu, memory int) bool {
	switch cpu {
	case 256:
		return memory == 512 || memory == 1024 || memory == 2048
	case 32768:
		return memory == 61440 || memory == 122880 || memory == 249856
	}
	m, ok := fargateMemory[cpu]
	return ok && memory >= m[0] && memory <= m[1] && (memory-m[0])%m[2] == 0
}

// fargateRefuses says why the task definition can not run on Fargate, empty if it can.
func fargateRefuses(d *ecsapi.TaskDefinition) string {
	switch {
	case wire.Value(d.NetworkMode) != "awsvpc":
		return "Fargate only supports network mode ‘awsvpc’."
	case d.Cpu == nil:
		return "Fargate requires that 'cpu' be defined at the task level."
	case d.Memory == nil:
		return "Fargate requires that 'memory' be defined at the task level."
	case len(d.PlacementConstraints) > 0:
		return "Fargate tasks do not support placement constraints."
	}
	cpu, memory := atoi(*d.Cpu), atoi(*d.Memory)
	if !fargateSize(cpu, memory) {
		return "No Fargate configuration exists for given values: " + *d.Cpu + " CPU, " + *d.Memory + " memory. See the Amazon ECS documentation for the valid values."
	}
	for _, c := range d.ContainerDefinitions {
		if wire.Value(c.Privileged) {
			return "Fargate does not support privileged containers: " + *c.Name
		}
		if len(c.Links) > 0 {
			return "Links are not supported when networkMode=awsvpc."
		}
		if l := c.LogConfiguration; l != nil && wire.Value(l.LogDriver) == "awslogs" && d.ExecutionRoleArn == nil {
			return "Fargate requires task definition to have execution role ARN to support log driver awslogs."
		}
		if strings.Contains(*c.Image, ".dkr.ecr.") && d.ExecutionRoleArn == nil {
			return "Fargate requires task definition to have execution role ARN to support ECR images."
		}
	}
	for _, v := range d.Volumes {
		if v.DockerVolumeConfiguration != nil || v.Host != nil && wire.Value(v.Host.SourcePath) != "" {
			return "Fargate does not support host and docker volumes: " + wire.Value(v.Name)
		}
	}
	return ""
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s) // only called with what units has checked
	return n
}

// requiredAttributes are the agent capabilities that an instance must have to run the task.
func requiredAttributes(d *ecsapi.TaskDefinition) []ecsapi.Attribute {
	const p = "com.amazonaws.ecs.capability."
	need := map[string]bool{}
	if wire.Value(d.NetworkMode) == "awsvpc" {
		need["ecs.capability.task-eni"] = true
	}
	if d.TaskRoleArn != nil {
		need[p+"task-iam-role"] = true
	}
	for _, c := range d.ContainerDefinitions {
		if l := c.LogConfiguration; l != nil {
			need[p+"logging-driver."+wire.Value(l.LogDriver)] = true
			if d.ExecutionRoleArn != nil && wire.Value(l.LogDriver) == "awslogs" {
				need["ecs.capability.execution-role-awslogs"] = true
			}
		}
		if c.HealthCheck != nil {
			need["ecs.capability.container-health-check"] = true
		}
		if len(c.DependsOn) > 0 {
			need["ecs.capability.container-ordering"] = true
		}
		if wire.Value(c.Privileged) {
			need[p+"privileged-container"] = true
		}
		if strings.Contains(*c.Image, ".dkr.ecr.") {
			need[p+"ecr-auth"] = true
		}
		for _, s := range c.Secrets {
			if strings.Contains(wire.Value(s.ValueFrom), ":secretsmanager:") {
				need["ecs.capability.secrets.asm.environment-variables"] = true
			} else {
				need["ecs.capability.secrets.ssm.environment-variables"] = true
			}
		}
	}
	names := make([]string, 0, len(need))
	for n := range need {
		names = append(names, n)
	}
	slices.Sort(names)
	out := make([]ecsapi.Attribute, 0, len(names))
	for _, n := range names {
		out = append(out, ecsapi.Attribute{Name: &n})
	}
	return out
}
