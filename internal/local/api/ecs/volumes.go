package ecs

import (
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// ebs is what is checked of an EBS volume, of a task or a service.
type ebs struct {
	name           string
	managed        bool
	size           *int32
	kind, fs, snap *string
}

func taskVolumeNames(in []ecsapi.TaskVolumeConfiguration) []ebs {
	var out []ebs
	for _, c := range in {
		x := ebs{name: wire.Value(c.Name)}
		if m := c.ManagedEBSVolume; m != nil {
			x = ebs{x.name, true, m.SizeInGiB, m.VolumeType, m.FilesystemType, m.SnapshotId}
		}
		out = append(out, x)
	}
	return out
}

func serviceVolumeNames(in []ecsapi.ServiceVolumeConfiguration) []ebs {
	var out []ebs
	for _, c := range in {
		x := ebs{name: wire.Value(c.Name)}
		if m := c.ManagedEBSVolume; m != nil {
			x = ebs{x.name, true, m.SizeInGiB, m.VolumeType, m.FilesystemType, m.SnapshotId}
		}
		out = append(out, x)
	}
	return out
}

// sizes are the bounds of a volume in GiB by its type.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskManagedEBSVolumeConfiguration.html
var sizes = map[string][2]int32{"gp2": {1, 16384}, "gp3": {1, 16384}, "io1": {4, 16384}, "io2": {4, 16384}, "st1": {125, 16384}, "sc1": {125, 16384}, "standard": {1, 1024}}

// checkVolumes checks what is configured at launch against the definition: one EBS volume at most.
func checkVolumes(td *state.TaskDefinition, volumes []ebs) error {
	if len(volumes) > 1 {
		return invalid("A task can have at most one volume configuration.")
	}
	for _, v := range td.Def.Volumes {
		name := wire.Value(v.Name)
		if wire.Value(v.ConfiguredAtLaunch) && !slices.ContainsFunc(volumes, func(x ebs) bool { return x.name == name }) {
			return invalid("The volume %s is configured at launch: a volume configuration is required.", name)
		}
	}
	for _, x := range volumes {
		if !slices.ContainsFunc(td.Def.Volumes, func(v ecsapi.Volume) bool { return wire.Value(v.Name) == x.name && wire.Value(v.ConfiguredAtLaunch) }) {
			return invalid("The volume %s is not configured at launch in the task definition.", x.name)
		}
		kind := wire.Value(or(x.kind, "gp3"))
		bounds, known := sizes[kind]
		switch {
		case !x.managed:
			return invalid("managedEBSVolume is required in the configuration of the volume %s.", x.name)
		case !known:
			return invalid("Unknown volume type: %s", kind)
		case x.snap != nil:
			return invalid("InvalidSnapshot.NotFound: The snapshot '%s' does not exist.", *x.snap) // no operation here makes one
		case x.size == nil:
			return invalid("Either sizeInGiB or snapshotId must be specified for the volume %s.", x.name)
		case *x.size < bounds[0] || *x.size > bounds[1]:
			return invalid("The size of a volume of the type %s must be between %d and %d GiB.", kind, bounds[0], bounds[1])
		case !slices.Contains([]string{"xfs", "ext3", "ext4"}, wire.Value(or(x.fs, "xfs"))):
			return invalid("Unknown filesystem type: %s", wire.Value(x.fs))
		}
	}
	return nil
}

// taskVolumes are the volumes of one task: each has its own.
func taskVolumes(in []ecsapi.TaskVolumeConfiguration) []state.Volume {
	var out []state.Volume
	for _, c := range in {
		m := c.ManagedEBSVolume
		v := state.NewVolume("vol-"+random(hexDigits, 17), uuid(), wire.Value(c.Name), m.SizeInGiB, m.VolumeType, m.FilesystemType, wire.Value(m.RoleArn))
		v.Keep = m.TerminationPolicy != nil && !wire.Value(m.TerminationPolicy.DeleteOnTermination)
		for _, s := range m.TagSpecifications {
			v.Tags = append(v.Tags, s.Tags...)
		}
		out = append(out, v)
	}
	return out
}

func showVolume(t *state.Task, v *state.Volume) ecsapi.Attachment {
	status := "ATTACHED"
	switch t.LastStatus {
	case "PROVISIONING", "PENDING":
		status = "ATTACHING"
	case "STOPPED":
		status = "DELETED"
		if v.Keep {
			status = "DETACHED"
		}
	}
	keep := "true"
	if v.Keep {
		keep = "false"
	}
	kv := func(k, v string) ecsapi.KeyValuePair { return ecsapi.KeyValuePair{Name: &k, Value: &v} }
	return ecsapi.Attachment{Id: &v.AttachmentID, Type: wire.String("AmazonElasticBlockStorage"), Status: &status, Details: []ecsapi.KeyValuePair{
		kv("roleArn", v.RoleARN), kv("volumeName", v.Name), kv("volumeId", v.ID), kv("volumeType", v.Type), kv("volumeSizeInGiB", itoa(v.SizeGiB)), kv("filesystemType", v.FilesystemType), kv("deleteOnTermination", keep),
	}}
}
