package awscloud

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
)

// StoredImage is an image as a repository keeps it.
type StoredImage struct {
	lifecycle.Image
	Size         int64 // bytes, compressed, as ECR counts them
	MediaType    string
	ArtifactType string
	Layers       []StoredBlob // configuration and layers; none of a manifest list or an archived image
}

// StoredBlob is a part of an image, which several images may share.
type StoredBlob struct {
	Digest string
	Size   int64 // bytes
}

// imageBatch is how many images BatchGetImage and BatchDeleteImage take.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchGetImage.html
const imageBatch = 100

// StoredImages reads every image of a repository with what it is made of; clusterinfra.ErrNotFound if
// there is no such repository.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html
func (c *Cloud) StoredImages(ctx context.Context, repository string) ([]StoredImage, error) {
	api := ecr.NewFromConfig(c.cfg)
	var out []StoredImage
	pages := ecr.NewDescribeImagesPaginator(api, &ecr.DescribeImagesInput{RepositoryName: &repository, MaxResults: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if is(err, "RepositoryNotFoundException") {
			return nil, fmt.Errorf("repository %s: %w", repository, clusterinfra.ErrNotFound)
		}
		if err != nil {
			return nil, fmt.Errorf("listing the images of %s: %w", repository, err)
		}
		for _, d := range page.ImageDetails {
			out = append(out, storedImage(d))
		}
	}
	byDigest := make(map[string]*StoredImage, len(out))
	for i := range out {
		byDigest[out[i].Digest] = &out[i]
	}
	var ids []types.ImageIdentifier
	for i := range out {
		if out[i].StorageClass == lifecycle.Standard { // an archived image cannot be read
			ids = append(ids, types.ImageIdentifier{ImageDigest: &out[i].Digest})
		}
	}
	for chunk := range slices.Chunk(ids, imageBatch) {
		got, err := api.BatchGetImage(ctx, &ecr.BatchGetImageInput{RepositoryName: &repository, ImageIds: chunk})
		if err != nil {
			return nil, fmt.Errorf("reading the manifests of %s: %w", repository, err)
		}
		for _, f := range got.Failures {
			if f.FailureCode != types.ImageFailureCodeImageNotFound { // deleted since it was listed
				return nil, fmt.Errorf("reading the manifest of %s: %s: %s", aws.ToString(f.ImageId.ImageDigest), f.FailureCode, aws.ToString(f.FailureReason))
			}
		}
		for _, m := range got.Images {
			im := byDigest[aws.ToString(m.ImageId.ImageDigest)]
			if im == nil {
				continue
			}
			if err := readManifest(im, aws.ToString(m.ImageManifest)); err != nil {
				return nil, fmt.Errorf("reading the manifest of %s: %w", im.Digest, err)
			}
		}
	}
	return out, nil
}

func storedImage(d types.ImageDetail) StoredImage {
	at := func(t *time.Time) time.Time { return aws.ToTime(t).UTC() }
	im := StoredImage{Size: aws.ToInt64(d.ImageSizeInBytes), MediaType: aws.ToString(d.ImageManifestMediaType), ArtifactType: aws.ToString(d.ArtifactMediaType)}
	im.Image = lifecycle.Image{Digest: aws.ToString(d.ImageDigest), Tags: d.ImageTags, PushedAt: at(d.ImagePushedAt), LastPulledAt: at(d.LastRecordedPullTime),
		LastActivatedAt: at(d.LastActivatedAt), LastArchivedAt: at(d.LastArchivedAt), StorageClass: lifecycle.Standard, Subject: aws.ToString(d.SubjectManifestDigest)}
	switch d.ImageStatus {
	case types.ImageStatusArchived:
		im.StorageClass = lifecycle.Archive
	case types.ImageStatusActivating:
		im.StorageClass = lifecycle.Activating
	}
	slices.Sort(im.Tags)
	return im
}

// readManifest takes what a list holds, what a referrer refers to and the parts of an image from its
// manifest.
// https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
func readManifest(im *StoredImage, text string) error {
	type descriptor struct {
		Digest string `json:"digest"`
		Size   int64  `json:"size"`
	}
	var m struct {
		ArtifactType string       `json:"artifactType"`
		Subject      *descriptor  `json:"subject"`
		Config       *descriptor  `json:"config"`
		Layers       []descriptor `json:"layers"`
		Manifests    []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return err
	}
	if m.Subject != nil {
		im.Subject = m.Subject.Digest
	}
	if m.ArtifactType != "" {
		im.ArtifactType = m.ArtifactType
	}
	for _, d := range m.Manifests {
		im.Manifests = append(im.Manifests, d.Digest)
	}
	if m.Config != nil {
		im.Layers = append(im.Layers, StoredBlob(*m.Config))
	}
	for _, d := range m.Layers {
		im.Layers = append(im.Layers, StoredBlob(d))
	}
	return nil
}

// Images are the images of a repository as a lifecycle policy sees them.
func (c *Cloud) Images(ctx context.Context, repository string) ([]lifecycle.Image, error) {
	stored, err := c.StoredImages(ctx, repository)
	if err != nil {
		return nil, err
	}
	out := make([]lifecycle.Image, len(stored))
	for i := range stored {
		out[i] = stored[i].Image
	}
	return out, nil
}

// DeleteImages deletes images by digest, in the order given: manifest lists must come before what they
// hold. What is gone already is no failure. It returns those that were deleted.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
func (c *Cloud) DeleteImages(ctx context.Context, repository string, digests []string) (deleted []string, err error) {
	api := ecr.NewFromConfig(c.cfg)
	for chunk := range slices.Chunk(digests, imageBatch) {
		ids := make([]types.ImageIdentifier, len(chunk))
		for i := range chunk {
			ids[i].ImageDigest = &chunk[i]
		}
		out, err := api.BatchDeleteImage(ctx, &ecr.BatchDeleteImageInput{RepositoryName: &repository, ImageIds: ids})
		if err != nil {
			return deleted, fmt.Errorf("deleting images of %s: %w", repository, err)
		}
		failed := map[string]bool{}
		var first error
		for _, f := range out.Failures {
			d := aws.ToString(f.ImageId.ImageDigest)
			failed[d] = true
			if f.FailureCode != types.ImageFailureCodeImageNotFound && first == nil {
				first = fmt.Errorf("deleting image %s of %s: %s: %s", d, repository, f.FailureCode, aws.ToString(f.FailureReason))
			}
		}
		for _, d := range chunk {
			if !failed[d] {
				deleted = append(deleted, d)
			}
		}
		if first != nil {
			return deleted, first
		}
	}
	return deleted, nil
}

// PutLifecyclePolicy sets the policy of a repository.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutLifecyclePolicy.html
func (c *Cloud) PutLifecyclePolicy(ctx context.Context, repository, policy string) error {
	_, err := ecr.NewFromConfig(c.cfg).PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: &repository, LifecyclePolicyText: &policy})
	if err != nil {
		return fmt.Errorf("putting the lifecycle policy of %s: %w", repository, err)
	}
	return nil
}
