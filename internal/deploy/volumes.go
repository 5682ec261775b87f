package deploy

import (
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/service"
)

// EBS volumes: the task definition says only that a volume is configured at launch; the service, or who
// runs a task, says of what size it is and with which role ECS makes it.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ebs-volumes.html

const resVolumeRole = "volume role"

func (r Ref) volumeRoleName() string { return r.roleName("volume") }

// LaunchVolume is a volume that ECS makes for each task when it starts it, and deletes with it.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceManagedEBSVolumeConfiguration.html
type LaunchVolume struct {
	Name string // that of the volume in the task definition
	service.EBSVolume
}

// launchVolumes are the service's volumes with the role ECS makes them with.
func launchVolumes(in Infra, ref Ref, volumes []service.Volume) []LaunchVolume {
	var out []LaunchVolume
	for _, v := range volumes {
		if v.EBS == nil {
			continue
		}
		l := LaunchVolume{Name: v.Name, EBSVolume: *v.EBS}
		if l.Role == "" {
			l.Role = in.arn("iam", "role/"+ref.volumeRoleName())
		}
		out = append(out, l)
	}
	return out
}

// atLaunch is what the task definition says of volumes: nothing of a disk's size, so that a change
// of it is no new revision.
func atLaunch(volumes []service.Volume) []service.Volume {
	out := slices.Clone(volumes)
	for i, v := range out {
		if v.EBS != nil {
			out[i].EBS = &service.EBSVolume{}
		}
	}
	return out
}

// volumesOf puts what is said of volumes in both places together again. The service's own role is not
// named in a Spec.
func volumesOf(ref Ref, in []service.Volume, launch []LaunchVolume) []service.Volume {
	out := slices.Clone(in)
	for i, v := range out {
		at := slices.IndexFunc(launch, func(l LaunchVolume) bool { return l.Name == v.Name })
		if v.EBS == nil || at < 0 {
			continue
		}
		ebs := launch[at].EBSVolume
		if strings.HasSuffix(ebs.Role, ":role/"+ref.volumeRoleName()) {
			ebs.Role = ""
		}
		out[i].EBS = &ebs
	}
	return out
}

// volumeRole lets ECS make, attach, tag and delete the tasks' disks, as AWS's own policy
// AmazonECSInfrastructureRolePolicyForVolumes does; nil where no volume needs one of the service's own.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AmazonECSInfrastructureRolePolicyForVolumes.html
func volumeRole(in Infra, ref Ref, volumes []service.Volume, tags map[string]string) *Role {
	needed, keys := false, []string{}
	for _, v := range volumes {
		if v.EBS != nil && v.EBS.Role == "" {
			needed = true
			if v.EBS.KMSKey != "" {
				keys = append(keys, v.EBS.KMSKey)
			}
		}
	}
	if !needed {
		return nil
	}
	managed := map[string]string{"aws:RequestTag/AmazonECSManaged": "true"}
	own := map[string]string{"aws:ResourceTag/AmazonECSManaged": "true"}
	volume, snapshot := in.arn("ec2", "volume/*"), strings.Replace(in.arn("ec2", "snapshot/*"), ":"+in.Account+":", "::", 1)
	doc := policyDocument{Statement: []policyStatement{
		{Sid: "Create", Effect: "Allow", Action: []string{"ec2:CreateVolume"}, Resource: []string{volume}, Condition: map[string]map[string]string{
			"ArnLike": {"aws:RequestTag/AmazonECSCreated": in.arn("ecs", "task/*")}, "StringEquals": managed}},
		{Sid: "Snapshot", Effect: "Allow", Action: []string{"ec2:CreateVolume"}, Resource: []string{snapshot}},
		{Sid: "Tag", Effect: "Allow", Action: []string{"ec2:CreateTags"}, Resource: []string{volume}, Condition: map[string]map[string]string{
			"ArnLike": {"aws:RequestTag/AmazonECSCreated": in.arn("ecs", "task/*")}, "StringEquals": {"ec2:CreateAction": "CreateVolume", "aws:RequestTag/AmazonECSManaged": "true"}}},
		{Sid: "Look", Effect: "Allow", Action: []string{"ec2:DescribeVolumes", "ec2:DescribeAvailabilityZones"}, Resource: []string{"*"}},
		{Sid: "Attach", Effect: "Allow", Action: []string{"ec2:AttachVolume", "ec2:DetachVolume"}, Resource: []string{volume}, Condition: map[string]map[string]string{"StringEquals": own}},
		{Sid: "AttachTo", Effect: "Allow", Action: []string{"ec2:AttachVolume", "ec2:DetachVolume"}, Resource: []string{in.arn("ec2", "instance/*")}},
		{Sid: "Delete", Effect: "Allow", Action: []string{"ec2:DeleteVolume"}, Resource: []string{volume}, Condition: map[string]map[string]string{"StringEquals": own}},
	}}
	if len(keys) > 0 {
		doc.Statement = append(doc.Statement, policyStatement{Sid: "Encrypt", Effect: "Allow", Resource: keys, Action: []string{
			"kms:DescribeKey", "kms:CreateGrant", "kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext"}})
	}
	trust := policyDocument{Statement: []policyStatement{{Effect: "Allow", Principal: map[string]string{"Service": "ecs.amazonaws.com"}, Action: []string{"sts:AssumeRole"},
		Condition: map[string]map[string]string{"StringEquals": {"aws:SourceAccount": in.Account}}}}}
	return &Role{Name: ref.volumeRoleName(), ARN: in.arn("iam", "role/"+ref.volumeRoleName()), Trust: trust.String(), Policy: doc.String(), Tags: tags}
}

// checkVolumes refuses what ECS does not do with a disk.
func checkVolumes(spec service.Spec) error {
	n := 0
	for _, v := range spec.Volumes {
		if v.EBS == nil {
			continue
		}
		n++
		switch {
		case v.EBS.SizeGiB == 0 && v.EBS.Snapshot == "":
			return refuse("EBS volume %s has neither a size nor a snapshot", v.Name)
		case spec.LaunchType == "EXTERNAL":
			return refuse("EBS volume %s: external instances have none", v.Name)
		case spec.Schedule != "":
			return refuse("not supported: EBS volume %s of a job with a schedule, which EventBridge Scheduler cannot give a volume; use EFS, or run it on demand", v.Name)
		}
	}
	if n > 1 {
		return refuse("%d EBS volumes: ECS attaches one to a task", n)
	}
	return nil
}
