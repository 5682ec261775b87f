package service

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// containers: the main one first, then the sidecars by name.
func (b *builder) containers(s *settings, out *Spec) {
	c := s.Container
	main := b.container("container", or(c.Name, out.Name), c, out)
	if c.Image != "" {
		b.fault("container.image", "the main container's image is the one that is shipped; say what it is made of under build")
	}
	if !main.Essential {
		b.fault("container.essential", "the main container is always essential")
	}
	if !out.fargate() {
		if main.CPU == 0 && out.CPU == 0 && !b.has("container.cpu") {
			main.CPU = 128
		}
		if main.Memory == 0 && main.MemoryReservation == 0 && out.Memory == 0 {
			main.Memory = 256
		}
	}
	out.Containers = []Container{main}
	for _, name := range slices.Sorted(maps.Keys(s.Sidecars)) {
		sc, path := s.Sidecars[name], "sidecars."+name
		if sc.Image == "" {
			b.fault(path, "%s.image is missing: a sidecar's image is not built here", path)
		}
		if sc.Name != "" {
			b.fault(path+".name", "%s: a sidecar's name is its key", path)
		}
		c := b.container(path, name, sc, out)
		if c.Memory == 0 && c.MemoryReservation == 0 && out.Memory == 0 && s.Memory == 0 && !out.fargate() {
			c.Memory = 128
		}
		out.Containers = append(out.Containers, c)
	}
	if n := len(out.Containers); n > 10 {
		b.fault("sidecars", "%d containers: a task takes 10", n)
	}
}

func (b *builder) container(path, name string, c containerConfig, out *Spec) Container {
	r := Container{
		Name: name, Image: c.Image, Essential: true, Command: c.Command, EntryPoint: c.EntryPoint,
		CPU: int(c.CPU), Memory: int(c.Memory), MemoryReservation: int(c.MemoryReservation),
		Env: c.Env, EnvFiles: c.EnvFiles, User: c.User, ReadOnlyRoot: c.ReadOnly, Init: c.Init,
		StopTimeout: durationOr(c.StopTimeout, 30*time.Second),
	}
	set(&r.Essential, c.Essential)
	if !nameForm.MatchString(name) || len(name) > 255 {
		b.fault(path, "container name %q: letters, digits, hyphens and underscores, at most 255", name)
	}
	if m := r.Memory; m > 0 && m < 6 {
		b.fault(path+".memory", "%s.memory is %d MiB; Docker needs at least 6", path, m)
	}
	if r.Memory > 0 && r.MemoryReservation > r.Memory {
		b.fault(path+".memory_reservation", "%s.memory_reservation is more than memory, the hard limit", path)
	}
	longest := time.Duration(0)
	if out.fargate() {
		longest = 2 * time.Minute
	}
	b.within(path+".stop_timeout", r.StopTimeout, time.Second, longest)
	b.ports(path, c, out, &r)
	b.secrets(path, c, &r)
	if h := c.Health; h != nil {
		r.HealthCheck = b.containerHealth(path+".health", h)
	}
	for _, n := range slices.Sorted(maps.Keys(c.DependsOn)) {
		r.DependsOn = append(r.DependsOn, Dependency{Container: n, Condition: strings.ToUpper(c.DependsOn[n])})
	}
	for _, n := range slices.Sorted(maps.Keys(c.Mounts)) {
		r.Mounts = append(r.Mounts, Mount{Volume: n, Path: c.Mounts[n].Path, ReadOnly: c.Mounts[n].ReadOnly})
	}
	for _, n := range slices.Sorted(maps.Keys(c.Ulimits)) {
		u := Ulimit{Name: n, Soft: c.Ulimits[n].Soft, Hard: c.Ulimits[n].Soft}
		set(&u.Hard, c.Ulimits[n].Hard)
		if u.Hard < u.Soft {
			b.fault(path+".ulimits."+n, "%s.ulimits.%s: hard is less than soft", path, n)
		}
		if !slices.Contains(ulimitNames, n) {
			b.fault(path+".ulimits."+n, "%s.ulimits: %q is not one of %s%s", path, n, strings.Join(ulimitNames, ", "), didYouMean(n, ulimitNames))
		}
		r.Ulimits = append(r.Ulimits, u)
	}
	return r
}

var (
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	ulimitNames = []string{"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}
)

func (b *builder) ports(path string, c containerConfig, out *Spec, r *Container) {
	add := func(p Port, at string) {
		if p.Host > 0 && out.NetworkMode == "awsvpc" && p.Host != p.Container {
			b.fault(at, "%s: with awsvpc, the host port is the container's", at)
		}
		if slices.ContainsFunc(r.Ports, func(o Port) bool { return o.Container == p.Container && o.Protocol == p.Protocol }) {
			b.fault(at, "%s: port %d is given twice", at, p.Container)
		}
		if out.NetworkMode != "bridge" {
			p.Host = p.Container // there is no other: the port is the host's, or the task's own address
		}
		r.Ports = append(r.Ports, p)
	}
	if c.Port > 0 {
		add(Port{Container: c.Port, Protocol: "tcp"}, path+".port")
	}
	for _, n := range slices.Sorted(maps.Keys(c.Ports)) {
		p := c.Ports[n]
		add(Port{Container: p.Port, Host: p.Host, Protocol: or(p.Protocol, "tcp"), Name: n}, path+".ports."+n)
	}
}

var variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*$`)

func (b *builder) secrets(path string, c containerConfig, r *Container) {
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if !variableForm.MatchString(name) {
			b.fault(path+".env."+name, "%s.env: %q is not a name for a variable", path, name)
		}
		if _, both := c.Secrets[name]; both {
			b.fault(path+".secrets."+name, "%s: %s is both in env and in secrets", path, name)
		}
	}
	if len(c.Secrets) == 0 {
		return
	}
	r.Secrets = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		at := path + ".secrets." + name
		if !variableForm.MatchString(name) {
			b.fault(at, "%s.secrets: %q is not a name for a variable", path, name)
		}
		b.secretSource(at, c.Secrets[name])
		r.Secrets[name] = c.Secrets[name]
	}
}

// secretSource checks that a text says where a secret is.
func (b *builder) secretSource(at, from string) {
	store, rest, _ := strings.Cut(from, ":")
	switch {
	case store == "vault":
		if p, key, ok := strings.Cut(rest, "#"); !ok || key == "" || !strings.Contains(strings.Trim(p, "/"), "/") {
			b.fault(at, "%s: %q must be vault:MOUNT/PATH#KEY, such as vault:secret/shop/db#password", at, from)
		}
	case store == "exec":
		if name, _, _ := strings.Cut(rest, " "); !pluginForm.MatchString(name) {
			b.fault(at, "%s: %q must be exec:NAME ARGUMENT…, for a program slipway-secret-NAME on the PATH", at, from)
		}
	case store == "s3":
		b.fault(at, "%s: a file in S3 holds many variables; name it in env_files", at)
	case store == "arn" && len(strings.Split(from, ":")) < 6:
		b.fault(at, "%s: %q is not an ARN", at, from)
	case store == "ssm" || store == "secretsmanager" || store == "arn":
	default:
		// The text may be a secret itself, put in the wrong place: it is not repeated.
		b.fault(at, "%s must say where the secret is: an ARN, ssm:NAME, secretsmanager:NAME, vault:PATH#KEY or exec:NAME, never the secret itself", at)
	}
}

var pluginForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)

func (b *builder) containerHealth(path string, h *containerHealthConfig) *ContainerHealth {
	r := &ContainerHealth{Interval: durationOr(h.Interval, 10*time.Second), Timeout: durationOr(h.Timeout, 5*time.Second),
		StartPeriod: time.Duration(h.StartPeriod), Retries: 3}
	set(&r.Retries, h.Retries)
	if len(h.Command) > 0 {
		r.Command = append([]string{"CMD"}, h.Command...)
		if len(h.Command) == 3 && h.Command[0] == "/bin/sh" && h.Command[1] == "-c" {
			r.Command = []string{"CMD-SHELL", h.Command[2]}
		}
		if h.Command[0] == "CMD" || h.Command[0] == "CMD-SHELL" {
			r.Command = h.Command
		}
	}
	b.within(path+".interval", r.Interval, 5*time.Second, 5*time.Minute)
	b.within(path+".timeout", r.Timeout, 2*time.Second, time.Minute)
	b.within(path+".start_period", r.StartPeriod, 0, 5*time.Minute)
	return r
}

func (b *builder) volumes(s *settings, out *Spec) {
	for _, name := range slices.Sorted(maps.Keys(s.Volumes)) {
		v, path := s.Volumes[name], "volumes."+name
		r := Volume{Name: name, HostPath: v.Host, Tmpfs: int(v.Tmpfs)}
		if v.EFS != nil {
			r.EFS = &EFSVolume{FileSystem: v.EFS.FileSystem, RootDirectory: or(v.EFS.Root, "/"), AccessPoint: v.EFS.AccessPoint}
			if r.EFS.AccessPoint != "" && r.EFS.RootDirectory != "/" {
				b.fault(path+".efs.root", "%s.efs: with an access point, root must be / or left out", path)
			}
		}
		if v.EBS != nil {
			r.EBS = b.ebs(path+".ebs", v.EBS)
		}
		out.Volumes = append(out.Volumes, r)
	}
}

// ebs checks what AWS would refuse only when the first task starts.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceManagedEBSVolumeConfiguration.html
func (b *builder) ebs(path string, c *ebsConfig) *EBSVolume {
	v := &EBSVolume{SizeGiB: c.Size, Type: or(c.Type, "gp3"), IOPS: c.IOPS, Throughput: c.Throughput, FileSystem: or(c.FileSystem, "xfs"),
		Encrypted: true, KMSKey: c.KMSKey, Snapshot: c.Snapshot, Role: c.Role}
	set(&v.Encrypted, c.Encrypted)
	least := map[string]int{"io1": 4, "io2": 4, "st1": 125, "sc1": 125}[v.Type]
	provisioned := v.Type == "io1" || v.Type == "io2"
	switch {
	case v.SizeGiB == 0 && v.Snapshot == "" && !b.has(path+".size"): // one that is no size is named already
		b.fault(path, "%s needs a size or a snapshot", path)
	case v.SizeGiB > 0 && v.SizeGiB < least:
		b.fault(path+".size", "%s.size is %d; a volume of type %s has at least %d GiB", path, v.SizeGiB, v.Type, least)
	}
	if v.IOPS == 0 && provisioned {
		b.fault(path+".iops", "%s: a volume of type %s needs iops", path, v.Type)
	}
	if v.IOPS > 0 && v.Type != "gp3" && !provisioned {
		b.fault(path+".iops", "%s.iops is for gp3, io1 and io2, not %s", path, v.Type)
	}
	if v.Throughput > 0 && v.Type != "gp3" {
		b.fault(path+".throughput", "%s.throughput is for gp3, not %s", path, v.Type)
	}
	if v.KMSKey != "" && !v.Encrypted {
		b.fault(path+".kms_key", "%s: kms_key without encryption", path)
	}
	return v
}

// within checks a duration's bounds; a longest of 0 is none.
func (b *builder) within(path string, d, shortest, longest time.Duration) {
	for _, m := range within(path, d, shortest, longest) {
		b.fault(path, "%s", m)
	}
}
