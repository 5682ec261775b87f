package ecr

import (
	"context"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

func (s *service) images(svc *wire.Service) {
	handle(svc, s, "DescribeImages", (*service).describeImages)
	handle(svc, s, "ListImages", (*service).listImages)
	handle(svc, s, "BatchGetImage", (*service).getImages)
	handle(svc, s, "PutImage", (*service).putImage)
	handle(svc, s, "BatchDeleteImage", (*service).deleteImages)
	handle(svc, s, "ListImageReferrers", (*service).referrers)
	handle(svc, s, "UpdateImageStorageClass", (*service).storageClass)
	const noScanner = "there is no vulnerability scanner: what it finds comes from a file; without one every scan fails and says so"
	handle(svc, s, "StartImageScan", (*service).startScan, wire.Partly(noScanner))
	handle(svc, s, "DescribeImageScanFindings", (*service).findings, wire.Partly(noScanner))
}

func idOf(i ecrapi.ImageIdentifier) registry.ImageID {
	return registry.ImageID{Digest: wire.Value(i.ImageDigest), Tag: wire.Value(i.ImageTag)}
}

func apiID(id registry.ImageID) ecrapi.ImageIdentifier {
	return ecrapi.ImageIdentifier{ImageDigest: wire.NonEmpty(id.Digest), ImageTag: wire.NonEmpty(id.Tag)}
}

func apiFailures(list []registry.Failure) []ecrapi.ImageFailure {
	out := []ecrapi.ImageFailure{}
	for _, f := range list {
		out = append(out, ecrapi.ImageFailure{FailureCode: &f.Code, FailureReason: &f.Reason, ImageId: wire.Ptr(apiID(f.ID))})
	}
	return out
}

func (s *service) notFound(id registry.ImageID, repository string) *wire.Error {
	null := func(v string) string {
		if v == "" {
			return "null"
		}
		return "'" + v + "'"
	}
	return wire.Errorf(registry.CodeImageNotFound, "The image with imageId {imageDigest:%s, imageTag:%s} does not exist within the repository with name '%s' in the registry with id '%s'",
		null(id.Digest), null(id.Tag), repository, s.Account)
}

func (s *service) detail(r *registry.Repository, im registry.Tagged) ecrapi.ImageDetail {
	d := ecrapi.ImageDetail{
		ArtifactMediaType: wire.NonEmpty(im.ArtifactType), ImageDigest: &im.Digest, ImageManifestMediaType: &im.MediaType,
		ImagePushedAt: wire.Timestamp(im.PushedAt), ImageSizeInBytes: &im.Size, ImageStatus: &im.Status, ImageTags: im.Tags,
		LastActivatedAt: wire.Timestamp(im.LastActivatedAt), LastArchivedAt: wire.Timestamp(im.LastArchivedAt),
		LastRecordedPullTime: wire.Timestamp(im.LastPulledAt), RegistryId: &s.Account, RepositoryName: &r.Name,
		SubjectManifestDigest: wire.NonEmpty(im.Subject),
	}
	if im.Scan != nil {
		d.ImageScanStatus = &ecrapi.ImageScanStatus{Status: &im.Scan.Status, Description: &im.Scan.Description}
	}
	return d
}

// filtered is a repository's images by the filters of DescribeImages and ListImages.
func (s *service) filtered(repository string, tagStatus, status *string) ([]registry.Tagged, error) {
	images, err := s.Store.Images(repository)
	if err != nil {
		return nil, shown(err)
	}
	want := wire.Value(status)
	if want == "" {
		want = registry.StatusActive
	}
	return slices.DeleteFunc(images, func(im registry.Tagged) bool {
		switch wire.Value(tagStatus) {
		case "TAGGED":
			if len(im.Tags) == 0 {
				return true
			}
		case "UNTAGGED":
			if len(im.Tags) > 0 {
				return true
			}
		}
		return want != "ANY" && im.Status != want
	}), nil
}

func (s *service) describeImages(ctx context.Context, in *ecrapi.DescribeImagesInput) (*ecrapi.DescribeImagesOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "DescribeImages")
	if err != nil {
		return nil, err
	}
	filter := wire.Value(in.Filter)
	out := &ecrapi.DescribeImagesOutput{ImageDetails: []ecrapi.ImageDetail{}}
	if len(in.ImageIds) > 0 {
		if in.MaxResults != nil || in.NextToken != nil {
			return nil, invalid("maxResults", "maxResults and nextToken cannot be given with imageIds")
		}
		for _, i := range in.ImageIds {
			id := idOf(i)
			im, fail, err := s.Store.TaggedImage(r.Name, id)
			if err != nil {
				return nil, shown(err)
			}
			if fail != nil {
				return nil, s.notFound(id, r.Name)
			}
			out.ImageDetails = append(out.ImageDetails, s.detail(r, im))
		}
		return out, nil
	}
	images, err := s.filtered(r.Name, filter.TagStatus, filter.ImageStatus)
	if err != nil {
		return nil, err
	}
	images, out.NextToken, err = page(images, func(im registry.Tagged) string { return im.Digest }, in.MaxResults, in.NextToken, 100)
	for _, im := range images {
		out.ImageDetails = append(out.ImageDetails, s.detail(r, im))
	}
	return out, err
}

func (s *service) listImages(ctx context.Context, in *ecrapi.ListImagesInput) (*ecrapi.ListImagesOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "ListImages")
	if err != nil {
		return nil, err
	}
	filter := wire.Value(in.Filter)
	images, err := s.filtered(r.Name, filter.TagStatus, filter.ImageStatus)
	if err != nil {
		return nil, err
	}
	var ids []registry.ImageID
	for _, im := range images {
		for _, t := range im.Tags {
			ids = append(ids, registry.ImageID{Digest: im.Digest, Tag: t})
		}
		if len(im.Tags) == 0 {
			ids = append(ids, registry.ImageID{Digest: im.Digest})
		}
	}
	out := &ecrapi.ListImagesOutput{ImageIds: []ecrapi.ImageIdentifier{}}
	ids, out.NextToken, err = page(ids, func(id registry.ImageID) string { return id.Digest + " " + id.Tag }, in.MaxResults, in.NextToken, 100)
	for _, id := range ids {
		out.ImageIds = append(out.ImageIds, apiID(id))
	}
	return out, err
}

const maxBatch = 100

func (s *service) getImages(ctx context.Context, in *ecrapi.BatchGetImageInput) (*ecrapi.BatchGetImageOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "BatchGetImage")
	if err != nil {
		return nil, err
	}
	if len(in.ImageIds) == 0 || len(in.ImageIds) > maxBatch {
		return nil, invalid("imageIds", "Member must have length between 1 and 100")
	}
	out := &ecrapi.BatchGetImageOutput{Images: []ecrapi.Image{}}
	failures := []registry.Failure{}
	for _, i := range in.ImageIds {
		id := idOf(i)
		im, fail, err := s.Store.Image(r.Name, id)
		if fail != nil && fail.Code == "ImageNotFound" {
			if upstream := s.Store.Fetch(ctx, r.Name, id); upstream != nil {
				failures = append(failures, registry.Failure{ID: id, Code: "UpstreamUnavailable", Reason: upstream.Error()})
				continue
			}
			im, fail, err = s.Store.Image(r.Name, id)
		}
		switch {
		case err != nil:
			return nil, shown(err)
		case fail != nil:
			failures = append(failures, *fail)
			continue
		case im.Status != registry.StatusActive:
			failures = append(failures, registry.Failure{ID: id, Code: "ImageInaccessible", Reason: "Requested image is archived or is being restored"})
			continue
		}
		if err := s.Store.Pulled(s.who(ctx), r.Name, im.Digest); err != nil {
			return nil, err
		}
		out.Images = append(out.Images, s.image(im, id.Tag))
	}
	out.Failures = apiFailures(failures)
	return out, nil
}

func (s *service) image(im *registry.Image, tag string) ecrapi.Image {
	return ecrapi.Image{
		ImageId:       wire.Ptr(apiID(registry.ImageID{Digest: im.Digest, Tag: tag})),
		ImageManifest: wire.String(string(im.Body)), ImageManifestMediaType: &im.MediaType,
		RegistryId: &s.Account, RepositoryName: &im.Repository,
	}
}

func (s *service) putImage(ctx context.Context, in *ecrapi.PutImageInput) (*ecrapi.PutImageOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "PutImage")
	if err != nil {
		return nil, err
	}
	im, err := s.Store.PutImage(registry.Push{Repository: r.Name, Manifest: []byte(*in.ImageManifest), MediaType: wire.Value(in.ImageManifestMediaType),
		Tag: wire.Value(in.ImageTag), Digest: wire.Value(in.ImageDigest)})
	if err != nil {
		return nil, shown(err)
	}
	return &ecrapi.PutImageOutput{Image: wire.Ptr(s.image(im, wire.Value(in.ImageTag)))}, nil
}

func (s *service) deleteImages(ctx context.Context, in *ecrapi.BatchDeleteImageInput) (*ecrapi.BatchDeleteImageOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "BatchDeleteImage")
	if err != nil {
		return nil, err
	}
	if len(in.ImageIds) == 0 || len(in.ImageIds) > maxBatch {
		return nil, invalid("imageIds", "Member must have length between 1 and 100")
	}
	var ids []registry.ImageID
	for _, i := range in.ImageIds {
		ids = append(ids, idOf(i))
	}
	deleted, failures, err := s.Store.DeleteImages(r.Name, ids)
	if err != nil {
		return nil, shown(err)
	}
	out := &ecrapi.BatchDeleteImageOutput{ImageIds: []ecrapi.ImageIdentifier{}, Failures: apiFailures(failures)}
	for _, id := range deleted {
		out.ImageIds = append(out.ImageIds, apiID(id))
	}
	return out, nil
}

func (s *service) referrers(ctx context.Context, in *ecrapi.ListImageReferrersInput) (*ecrapi.ListImageReferrersOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "ListImageReferrers")
	if err != nil {
		return nil, err
	}
	images, err := s.Store.Referrers(r.Name, *in.SubjectId.ImageDigest)
	if err != nil {
		return nil, shown(err)
	}
	f := wire.Value(in.Filter)
	status := wire.Value(f.ArtifactStatus)
	if status == "" {
		status = registry.StatusActive
	}
	images = slices.DeleteFunc(images, func(im *registry.Image) bool {
		return len(f.ArtifactTypes) > 0 && !slices.Contains(f.ArtifactTypes, im.ArtifactType) || status != "ANY" && im.Status != status
	})
	out := &ecrapi.ListImageReferrersOutput{Referrers: []ecrapi.ImageReferrer{}}
	images, out.NextToken, err = page(images, func(im *registry.Image) string { return im.Digest }, in.MaxResults, in.NextToken, 50)
	for _, im := range images {
		out.Referrers = append(out.Referrers, ecrapi.ImageReferrer{Annotations: im.Annotations, ArtifactStatus: &im.Status,
			ArtifactType: wire.NonEmpty(im.ArtifactType), Digest: &im.Digest, MediaType: &im.MediaType, Size: wire.Int64(len(im.Body))})
	}
	return out, err
}

func (s *service) storageClass(ctx context.Context, in *ecrapi.UpdateImageStorageClassInput) (*ecrapi.UpdateImageStorageClassOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "UpdateImageStorageClass")
	if err != nil {
		return nil, err
	}
	target := *in.TargetStorageClass
	if target != "STANDARD" && target != "ARCHIVE" {
		return nil, invalid("targetStorageClass", "Member must satisfy enum value set: [STANDARD, ARCHIVE]")
	}
	im, err := s.Store.SetStorageClass(r.Name, idOf(*in.ImageId), target == "ARCHIVE")
	if err != nil {
		return nil, shown(err)
	}
	return &ecrapi.UpdateImageStorageClassOutput{ImageId: in.ImageId, ImageStatus: &im.Status, RegistryId: &s.Account, RepositoryName: &r.Name}, nil
}
