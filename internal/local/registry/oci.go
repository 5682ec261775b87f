package registry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"cuelabs.dev/go/oci/ociregistry"
)

// oci is the Store as the OCI server wants it. What ECR does not do over this protocol (deleting
// layers) is left to Funcs, which answers UNSUPPORTED.
type oci struct {
	*ociregistry.Funcs
	s *Store
}

const octetStream = "application/octet-stream"

func (o *oci) GetBlob(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	return o.GetBlobRange(ctx, repo, digest, 0, -1)
}

func (o *oci) GetBlobRange(_ context.Context, repo string, digest ociregistry.Digest, from, to int64) (ociregistry.BlobReader, error) {
	f, l, err := o.s.OpenLayer(repo, string(digest))
	if err != nil {
		return nil, blobError(err)
	}
	if to < 0 || to > l.Size {
		to = l.Size
	}
	if from > 0 {
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("reading a layer: %w", err)
		}
	}
	return &fileReader{f: f, left: io.LimitedReader{R: f, N: max(0, to-from)},
		desc: ociregistry.Descriptor{MediaType: octetStream, Digest: digest, Size: l.Size}}, nil
}

// fileReader reads a part of a file. It copies without passing through this process's memory where
// the writer can.
type fileReader struct {
	f    *os.File
	left io.LimitedReader
	desc ociregistry.Descriptor
}

func (r *fileReader) Read(p []byte) (int, error)         { return r.left.Read(p) }
func (r *fileReader) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, &r.left) }
func (r *fileReader) Close() error                       { return r.f.Close() }
func (r *fileReader) Descriptor() ociregistry.Descriptor { return r.desc }

// blobError is err where the missing thing is a layer that was asked for.
func blobError(err error) error {
	if e, ok := err.(*Error); ok && e.Code == CodeLayersNotFound {
		return ociregistry.NewError(e.Message, ociregistry.ErrBlobUnknown.Code(), nil)
	}
	return ociError(err)
}

func (o *oci) image(ctx context.Context, repo string, id ImageID) (*Image, error) {
	im, f, err := o.s.Image(repo, id)
	if err == nil && f == nil && o.s.refresh(ctx, repo, id) {
		im, f, err = o.s.Image(repo, id)
	}
	if err != nil || f != nil {
		if upstream := o.s.Fetch(ctx, repo, id); upstream != nil {
			return nil, ociError(upstream)
		}
		im, f, err = o.s.Image(repo, id)
	}
	switch {
	case err != nil:
		return nil, ociError(err)
	case f != nil:
		return nil, ociError(errorf(CodeImageNotFound, "%s", f.Reason))
	case im.Status != StatusActive:
		return nil, ociError(errorf(CodeArchived, "Image with digest '%s' is archived; restore it with UpdateImageStorageClass before it is pulled", im.Digest))
	}
	return im, nil
}

func (o *oci) pull(ctx context.Context, repo string, id ImageID) (ociregistry.BlobReader, error) {
	im, err := o.image(ctx, repo, id)
	if err != nil {
		return nil, err
	}
	if err := o.s.Pulled(callerIn(ctx), repo, im.Digest); err != nil {
		return nil, err
	}
	return &bytesReader{bytes.NewReader(im.Body), describe(im)}, nil
}

type bytesReader struct {
	*bytes.Reader
	desc ociregistry.Descriptor
}

func (r *bytesReader) Close() error                       { return nil }
func (r *bytesReader) Descriptor() ociregistry.Descriptor { return r.desc }

func describe(im *Image) ociregistry.Descriptor {
	return ociregistry.Descriptor{MediaType: im.MediaType, Digest: ociregistry.Digest(im.Digest), Size: int64(len(im.Body))}
}

func (o *oci) GetManifest(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.BlobReader, error) {
	return o.pull(ctx, repo, ImageID{Digest: string(digest)})
}

func (o *oci) GetTag(ctx context.Context, repo, tag string) (ociregistry.BlobReader, error) {
	return o.pull(ctx, repo, ImageID{Tag: tag})
}

func (o *oci) ResolveManifest(ctx context.Context, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	return o.resolve(ctx, repo, ImageID{Digest: string(digest)})
}

func (o *oci) ResolveTag(ctx context.Context, repo, tag string) (ociregistry.Descriptor, error) {
	return o.resolve(ctx, repo, ImageID{Tag: tag})
}

func (o *oci) resolve(ctx context.Context, repo string, id ImageID) (ociregistry.Descriptor, error) {
	im, err := o.image(ctx, repo, id)
	if err != nil {
		return ociregistry.Descriptor{}, err
	}
	return describe(im), nil
}

func (o *oci) ResolveBlob(_ context.Context, repo string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	l, err := o.s.Layer(repo, string(digest))
	if err != nil {
		return ociregistry.Descriptor{}, blobError(err)
	}
	return ociregistry.Descriptor{MediaType: octetStream, Digest: digest, Size: l.Size}, nil
}

func (o *oci) PushBlob(_ context.Context, repo string, desc ociregistry.Descriptor, r io.Reader) (ociregistry.Descriptor, error) {
	id, err := o.s.StartUpload(repo)
	if err != nil {
		return desc, ociError(err)
	}
	size, err := o.s.AppendUpload(repo, id, 0, r)
	if err == nil && desc.Size >= 0 && desc.Size != size {
		err = ociregistry.ErrSizeInvalid
	}
	if err != nil {
		o.s.CancelUpload(id)
		return desc, ociError(err)
	}
	return o.finish(repo, id, desc.Digest)
}

func (o *oci) finish(repo, id string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	if !ValidDigest(string(digest)) {
		o.s.CancelUpload(id)
		return ociregistry.Descriptor{}, ociregistry.ErrDigestInvalid
	}
	size, err := o.s.FinishUpload(repo, id, string(digest))
	return ociregistry.Descriptor{MediaType: octetStream, Digest: digest, Size: size}, ociError(err)
}

func (o *oci) PushBlobChunked(_ context.Context, repo string, _ int) (ociregistry.BlobWriter, error) {
	id, err := o.s.StartUpload(repo)
	if err != nil {
		return nil, ociError(err)
	}
	return &blobWriter{o: o, repo: repo, id: id}, nil
}

func (o *oci) PushBlobChunkedResume(_ context.Context, repo, id string, offset int64, _ int) (ociregistry.BlobWriter, error) {
	size, err := o.s.UploadSize(repo, id)
	if err != nil {
		return nil, ociError(err)
	}
	if offset < 0 {
		offset = size
	}
	// Whether the offset fits is told by the first write: the request that ends an upload comes
	// without an offset and often without content.
	return &blobWriter{o: o, repo: repo, id: id, size: size, offset: offset}, nil
}

type blobWriter struct {
	o            *oci
	repo, id     string
	size, offset int64
}

func (w *blobWriter) ReadFrom(r io.Reader) (int64, error) {
	first := make([]byte, 1)
	n, err := io.ReadFull(r, first)
	if n == 0 {
		if err == io.EOF {
			err = nil
		}
		return 0, err
	}
	size, err := w.o.s.AppendUpload(w.repo, w.id, w.offset, io.MultiReader(bytes.NewReader(first), r))
	wrote := size - w.size
	if err != nil {
		return max(0, wrote), ociError(err)
	}
	w.size, w.offset = size, size
	return wrote, nil
}

func (w *blobWriter) Write(p []byte) (int, error) {
	n, err := w.ReadFrom(bytes.NewReader(p))
	return int(n), err
}

func (w *blobWriter) Close() error   { return nil }
func (w *blobWriter) Size() int64    { return w.size }
func (w *blobWriter) ChunkSize() int { return 1 }
func (w *blobWriter) ID() string     { return w.id }
func (w *blobWriter) Cancel() error {
	w.o.s.CancelUpload(w.id)
	return nil
}

func (w *blobWriter) Commit(digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	return w.o.finish(w.repo, w.id, digest)
}

func (o *oci) MountBlob(_ context.Context, from, to string, digest ociregistry.Digest) (ociregistry.Descriptor, error) {
	l, err := o.s.MountLayer(from, to, string(digest))
	if err != nil {
		return ociregistry.Descriptor{}, blobError(err)
	}
	return ociregistry.Descriptor{MediaType: octetStream, Digest: digest, Size: l.Size}, nil
}

func (o *oci) PushManifest(_ context.Context, repo, tag string, contents []byte, mediaType string) (ociregistry.Descriptor, error) {
	im, err := o.s.PutImage(Push{Repository: repo, Tag: tag, Manifest: contents, MediaType: mediaType, Again: true})
	if err != nil {
		return ociregistry.Descriptor{}, ociError(err)
	}
	return describe(im), nil
}

func (o *oci) DeleteManifest(_ context.Context, repo string, digest ociregistry.Digest) error {
	return o.delete(repo, ImageID{Digest: string(digest)})
}

// DeleteTag deletes the tag, and with the last one the image, as ECR does.
func (o *oci) DeleteTag(_ context.Context, repo, tag string) error {
	return o.delete(repo, ImageID{Tag: tag})
}

func (o *oci) delete(repo string, id ImageID) error {
	_, failures, err := o.s.DeleteImages(repo, []ImageID{id})
	switch {
	case err != nil:
		return ociError(err)
	case len(failures) == 0:
		return nil
	case failures[0].Code == "ImageReferencedByManifestList":
		return ociError(errorf(CodeDenied, "%s", failures[0].Reason))
	}
	return ociError(errorf(CodeImageNotFound, "%s", failures[0].Reason))
}

func (o *oci) Repositories(_ context.Context, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, r := range o.s.Repositories() {
			if r.Name > after && !yield(r.Name, nil) {
				return
			}
		}
	}
}

func (o *oci) Tags(_ context.Context, repo, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		images, err := o.s.Images(repo)
		if err != nil {
			yield("", ociError(err))
			return
		}
		var tags []string
		for _, im := range images {
			tags = append(tags, im.Tags...)
		}
		slices.Sort(tags)
		for _, t := range tags {
			if t > after && !yield(t, nil) {
				return
			}
		}
	}
}

func (o *oci) Referrers(_ context.Context, repo string, digest ociregistry.Digest, artifactType string) iter.Seq2[ociregistry.Descriptor, error] {
	return func(yield func(ociregistry.Descriptor, error) bool) {
		images, err := o.s.Referrers(repo, string(digest))
		if err != nil {
			yield(ociregistry.Descriptor{}, ociError(err))
			return
		}
		for _, im := range images {
			if artifactType != "" && im.ArtifactType != artifactType {
				continue
			}
			d := describe(im)
			d.ArtifactType, d.Annotations = im.ArtifactType, im.Annotations
			if !yield(d, nil) {
				return
			}
		}
	}
}
