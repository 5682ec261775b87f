package state

import "cmp"

// NewVolume is an EBS volume with the defaults AWS has for tasks: gp3 with xfs.
func NewVolume(id, attachment, name string, sizeGiB *int32, kind, filesystem *string, role string) Volume {
	v := Volume{Name: name, ID: id, AttachmentID: attachment, Type: "gp3", FilesystemType: "xfs", RoleARN: role}
	if sizeGiB != nil {
		v.SizeGiB = int(*sizeGiB)
	}
	if kind != nil {
		v.Type = cmp.Or(*kind, v.Type)
	}
	if filesystem != nil {
		v.FilesystemType = cmp.Or(*filesystem, v.FilesystemType)
	}
	return v
}
