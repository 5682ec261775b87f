package awscloud

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceManagedEBSVolumeConfiguration.html
func serviceVolumes(w deploy.Service) (out []types.ServiceVolumeConfiguration) {
	for _, v := range w.Volumes {
		out = append(out, types.ServiceVolumeConfiguration{Name: aws.String(v.Name), ManagedEBSVolume: &types.ServiceManagedEBSVolumeConfiguration{
			RoleArn: aws.String(v.Role), SizeInGiB: positive(v.SizeGiB), VolumeType: text(v.Type), Iops: positive(v.IOPS), Throughput: positive(v.Throughput),
			FilesystemType: types.TaskFilesystemType(v.FileSystem), Encrypted: aws.Bool(v.Encrypted), KmsKeyId: text(v.KMSKey), SnapshotId: text(v.Snapshot),
			TagSpecifications: []types.EBSTagSpecification{{ResourceType: types.EBSResourceTypeVolume, PropagateTags: types.PropagateTagsService}},
		}})
	}
	return out
}

// taskVolumes are those of a task that is run once; they go with it.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskManagedEBSVolumeConfiguration.html
func taskVolumes(w deploy.Service) (out []types.TaskVolumeConfiguration) {
	for _, v := range w.Volumes {
		out = append(out, types.TaskVolumeConfiguration{Name: aws.String(v.Name), ManagedEBSVolume: &types.TaskManagedEBSVolumeConfiguration{
			RoleArn: aws.String(v.Role), SizeInGiB: positive(v.SizeGiB), VolumeType: text(v.Type), Iops: positive(v.IOPS), Throughput: positive(v.Throughput),
			FilesystemType: types.TaskFilesystemType(v.FileSystem), Encrypted: aws.Bool(v.Encrypted), KmsKeyId: text(v.KMSKey), SnapshotId: text(v.Snapshot),
			TerminationPolicy: &types.TaskManagedEBSVolumeTerminationPolicy{DeleteOnTermination: aws.Bool(true)},
		}})
	}
	return out
}

// volumesFrom are those of the deployment that is the service's present one: the service itself names none.
func volumesFrom(s types.Service) (out []deploy.LaunchVolume) {
	for _, d := range s.Deployments {
		if aws.ToString(d.Status) != "PRIMARY" {
			continue
		}
		for _, c := range d.VolumeConfigurations {
			m := c.ManagedEBSVolume
			if m == nil {
				continue
			}
			out = append(out, deploy.LaunchVolume{Name: aws.ToString(c.Name), EBSVolume: service.EBSVolume{
				SizeGiB: int(aws.ToInt32(m.SizeInGiB)), Type: aws.ToString(m.VolumeType), IOPS: int(aws.ToInt32(m.Iops)), Throughput: int(aws.ToInt32(m.Throughput)),
				FileSystem: string(m.FilesystemType), Encrypted: aws.ToBool(m.Encrypted), KMSKey: aws.ToString(m.KmsKeyId), Snapshot: aws.ToString(m.SnapshotId), Role: aws.ToString(m.RoleArn)}})
		}
	}
	return out
}

func positive(n int) *int32 {
	if n == 0 {
		return nil
	}
	return aws.Int32(int32(n))
}
