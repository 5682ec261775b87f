package ecr

import (
	"bytes"
	"context"

	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

func (s *service) layers(svc *wire.Service) {
	handle(svc, s, "InitiateLayerUpload", (*service).initiate)
	handle(svc, s, "UploadLayerPart", (*service).uploadPart)
	handle(svc, s, "CompleteLayerUpload", (*service).complete)
	handle(svc, s, "BatchCheckLayerAvailability", (*service).available)
	handle(svc, s, "GetDownloadUrlForLayer", (*service).download)
}

// partSize is the size of layer parts ECR asks for, in bytes.
const partSize = 20 << 20

func (s *service) initiate(ctx context.Context, in *ecrapi.InitiateLayerUploadInput) (*ecrapi.InitiateLayerUploadOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "InitiateLayerUpload")
	if err != nil {
		return nil, err
	}
	id, err := s.Store.StartUpload(r.Name)
	if err != nil {
		return nil, shown(err)
	}
	return &ecrapi.InitiateLayerUploadOutput{UploadId: &id, PartSize: wire.Int64(partSize)}, nil
}

func (s *service) uploadPart(ctx context.Context, in *ecrapi.UploadLayerPartInput) (*ecrapi.UploadLayerPartOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "UploadLayerPart")
	if err != nil {
		return nil, err
	}
	first, last := *in.PartFirstByte, *in.PartLastByte
	if first < 0 || last-first+1 != int64(len(in.LayerPartBlob)) {
		return nil, invalid("partLastByte", "The part does not have the bytes from partFirstByte to partLastByte")
	}
	size, err := s.Store.AppendUpload(r.Name, *in.UploadId, first, bytes.NewReader(in.LayerPartBlob))
	if err != nil {
		e := shown(err)
		if w, ok := e.(*wire.Error); ok && w.Code == registry.CodeInvalidLayerPart {
			w.Fields = map[string]any{"lastValidByteReceived": size - 1, "uploadId": *in.UploadId, "repositoryName": r.Name, "registryId": s.Account}
		}
		return nil, e
	}
	return &ecrapi.UploadLayerPartOutput{LastByteReceived: wire.Ptr(size - 1), RegistryId: &s.Account, RepositoryName: &r.Name, UploadId: in.UploadId}, nil
}

func (s *service) complete(ctx context.Context, in *ecrapi.CompleteLayerUploadInput) (*ecrapi.CompleteLayerUploadOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "CompleteLayerUpload")
	if err != nil {
		return nil, err
	}
	if len(in.LayerDigests) != 1 || !registry.ValidDigest(in.LayerDigests[0]) {
		return nil, invalid("layerDigests", "Exactly one sha256 digest is needed")
	}
	digest := in.LayerDigests[0]
	size, err := s.Store.UploadSize(r.Name, *in.UploadId)
	if err != nil {
		return nil, shown(err)
	}
	if size == 0 {
		return nil, wire.Errorf(registry.CodeEmptyUpload, "The upload with id '%s' has no content", *in.UploadId)
	}
	if _, err := s.Store.Layer(r.Name, digest); err == nil {
		s.Store.CancelUpload(*in.UploadId)
		return nil, wire.Errorf(registry.CodeLayerExists, "Layer with digest '%s' already exists in the repository with name '%s' in registry with id '%s'", digest, r.Name, s.Account)
	}
	if _, err := s.Store.FinishUpload(r.Name, *in.UploadId, digest); err != nil {
		return nil, shown(err)
	}
	return &ecrapi.CompleteLayerUploadOutput{LayerDigest: &digest, RegistryId: &s.Account, RepositoryName: &r.Name, UploadId: in.UploadId}, nil
}

func (s *service) available(ctx context.Context, in *ecrapi.BatchCheckLayerAvailabilityInput) (*ecrapi.BatchCheckLayerAvailabilityOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "BatchCheckLayerAvailability")
	if err != nil {
		return nil, err
	}
	out := &ecrapi.BatchCheckLayerAvailabilityOutput{Layers: []ecrapi.Layer{}, Failures: []ecrapi.LayerFailure{}}
	for _, d := range in.LayerDigests {
		if !registry.ValidDigest(d) {
			out.Failures = append(out.Failures, ecrapi.LayerFailure{FailureCode: wire.String("InvalidLayerDigest"),
				FailureReason: wire.String("Invalid request parameters: layer digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'"), LayerDigest: &d})
			continue
		}
		layer := ecrapi.Layer{LayerDigest: &d, LayerAvailability: wire.String("UNAVAILABLE")}
		if l, err := s.Store.Layer(r.Name, d); err == nil {
			layer.LayerAvailability, layer.LayerSize = wire.String("AVAILABLE"), &l.Size
			layer.MediaType = wire.String("application/vnd.docker.image.rootfs.diff.tar.gzip")
		}
		out.Layers = append(out.Layers, layer)
	}
	return out, nil
}

func (s *service) download(ctx context.Context, in *ecrapi.GetDownloadUrlForLayerInput) (*ecrapi.GetDownloadUrlForLayerOutput, error) {
	r, err := s.repository(ctx, in.RegistryId, in.RepositoryName, "GetDownloadUrlForLayer")
	if err != nil {
		return nil, err
	}
	if _, err := s.Store.Layer(r.Name, *in.LayerDigest); err != nil {
		return nil, shown(err)
	}
	return &ecrapi.GetDownloadUrlForLayerOutput{LayerDigest: in.LayerDigest,
		DownloadUrl: wire.String("http://" + s.host() + s.Tokens.SignPath("/v2/"+r.Name+"/blobs/"+*in.LayerDigest))}, nil
}
