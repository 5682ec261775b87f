package s3

import (
	"crypto/md5" // #nosec G501 -- ETags are MD5 sums
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/johannesboyne/gofakes3"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// CreateMultipartUpload begins an upload in parts.
func (s *Service) CreateMultipartUpload(bucket, key string, meta map[string]string) (gofakes3.UploadID, error) {
	id := newID(24)
	return gofakes3.UploadID(id), s.db.Update(func(tx *state.Tx) error {
		s.uploads.Put(tx, uploadKey(bucket, key, id), &Upload{Bucket: bucket, Key: key, ID: id, Meta: meta, At: s.clock.Now()})
		return nil
	})
}

// UploadPart keeps one part; a part uploaded again replaces the first.
func (s *Service) UploadPart(bucket, key string, id gofakes3.UploadID, number int, size int64, input io.Reader) (string, error) {
	sum := md5.New() // #nosec G401
	blob, err := s.store(io.TeeReader(input, sum), size)
	if err != nil {
		return "", err
	}
	p := Part{Blob: blob, ETag: gofakes3.FormatETag(sum.Sum(nil)), Size: size, At: s.clock.Now()}
	var old string
	err = s.db.Update(func(tx *state.Tx) error {
		if !s.uploads.Modify(tx, uploadKey(bucket, key, string(id)), func(u *Upload) {
			old = u.Parts[number].Blob
			if u.Parts = maps.Clone(u.Parts); u.Parts == nil {
				u.Parts = map[int]Part{}
			}
			u.Parts[number] = p
		}) {
			return gofakes3.ErrNoSuchUpload
		}
		return nil
	})
	if err != nil {
		s.drop(blob)
		return "", err
	}
	s.drop(old)
	return p.ETag, nil
}

func (s *Service) upload(bucket, key, id string) (u *Upload, err error) {
	return u, s.db.View(func(tx *state.Tx) error {
		var ok bool
		if u, ok = s.uploads.Get(tx, uploadKey(bucket, key, id)); !ok {
			return gofakes3.ErrNoSuchUpload
		}
		return nil
	})
}

// ListParts lists an upload's parts in order.
func (s *Service) ListParts(bucket, key string, id gofakes3.UploadID, marker int, limit int64) (*gofakes3.ListMultipartUploadPartsResult, error) {
	u, err := s.upload(bucket, key, string(id))
	if err != nil {
		return nil, err
	}
	out := &gofakes3.ListMultipartUploadPartsResult{Bucket: bucket, Key: key, UploadID: id, StorageClass: "STANDARD", PartNumberMarker: marker, MaxParts: limit, Initiator: owner, Owner: owner}
	for _, n := range slices.Sorted(maps.Keys(u.Parts)) {
		if n <= marker {
			continue
		}
		if int64(len(out.Parts)) >= limit {
			out.IsTruncated = true
			break
		}
		p := u.Parts[n]
		out.Parts = append(out.Parts, gofakes3.ListMultipartUploadPartItem{PartNumber: n, ETag: p.ETag, Size: p.Size, LastModified: gofakes3.NewContentTime(p.At)})
		out.NextPartNumberMarker = n
	}
	return out, nil
}

// ListMultipartUploads lists the uploads that are not finished, by key.
func (s *Service) ListMultipartUploads(bucket string, marker *gofakes3.UploadListMarker, prefix gofakes3.Prefix, limit int64) (*gofakes3.ListMultipartUploadsResult, error) {
	out := &gofakes3.ListMultipartUploadsResult{Bucket: bucket, Delimiter: prefix.Delimiter, Prefix: prefix.Prefix, MaxUploads: limit}
	from := bucket + zero
	if marker != nil {
		out.KeyMarker, out.UploadIDMarker = marker.Object, marker.UploadID
		from = uploadKey(bucket, marker.Object, string(marker.UploadID)) + zero // behind it
		if marker.UploadID == "" {
			from = uploadKey(bucket, marker.Object, "~")
		}
	}
	return out, s.db.View(func(tx *state.Tx) error {
		seen := map[string]bool{}
		for k, u := range s.uploads.From(tx, from) {
			if !strings.HasPrefix(k, bucket+zero) {
				break
			}
			var m gofakes3.PrefixMatch
			if !prefix.Match(u.Key, &m) {
				continue
			}
			if m.CommonPrefix {
				if !seen[m.MatchedPart] {
					seen[m.MatchedPart] = true
					out.CommonPrefixes = append(out.CommonPrefixes, m.AsCommonPrefix())
				}
				continue
			}
			if int64(len(out.Uploads)) >= limit {
				out.IsTruncated = true
				break
			}
			out.NextKeyMarker, out.NextUploadIDMarker = u.Key, gofakes3.UploadID(u.ID)
			out.Uploads = append(out.Uploads, gofakes3.ListMultipartUploadItem{Key: u.Key, UploadID: gofakes3.UploadID(u.ID), StorageClass: "STANDARD", Initiated: gofakes3.NewContentTime(u.At), Initiator: owner, Owner: owner})
		}
		return nil
	})
}

// AbortMultipartUpload forgets an upload and its parts.
func (s *Service) AbortMultipartUpload(bucket, key string, id gofakes3.UploadID) error {
	u, err := s.upload(bucket, key, string(id))
	if err != nil {
		return err
	}
	return s.forget(u)
}

func (s *Service) forget(u *Upload) error {
	err := s.db.Update(func(tx *state.Tx) error { s.uploads.Delete(tx, uploadKey(u.Bucket, u.Key, u.ID)); return nil })
	if err == nil {
		for _, p := range u.Parts {
			s.drop(p.Blob)
		}
	}
	return err
}

const smallestPart = 5 << 20 // bytes; all but the last. https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html

// CompleteMultipartUpload joins the named parts to an object. Its ETag is the MD5 of the whole, which
// AWS's is not; clients may not read anything into it.
func (s *Service) CompleteMultipartUpload(bucket, key string, id gofakes3.UploadID, in *gofakes3.CompleteMultipartUploadRequest) (gofakes3.VersionID, string, error) {
	u, err := s.upload(bucket, key, string(id))
	if err != nil {
		return "", "", err
	}
	if len(in.Parts) == 0 {
		return "", "", gofakes3.ErrMalformedXML
	}
	var readers []io.Reader
	var size int64
	for i, want := range in.Parts {
		p, ok := u.Parts[want.PartNumber]
		switch {
		case i > 0 && want.PartNumber <= in.Parts[i-1].PartNumber:
			return "", "", gofakes3.ErrInvalidPartOrder
		case !ok || strings.Trim(want.ETag, `"`) != strings.Trim(p.ETag, `"`):
			return "", "", gofakes3.ErrorMessagef(gofakes3.ErrInvalidPart, "One or more of the specified parts could not be found: %d.", want.PartNumber)
		case i < len(in.Parts)-1 && p.Size < smallestPart:
			return "", "", gofakes3.ErrorMessage("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
		}
		f, err := os.Open(s.path(p.Blob))
		if err != nil {
			return "", "", fmt.Errorf("reading a part: %w", err)
		}
		defer f.Close()
		readers, size = append(readers, f), size+p.Size
	}
	sum := md5.New() // #nosec G401
	blob, err := s.store(io.TeeReader(io.MultiReader(readers...), sum), size)
	if err != nil {
		return "", "", err
	}
	o := &Object{Bucket: bucket, Key: key, Size: size, MD5: sum.Sum(nil), Meta: u.Meta, Blob: blob}
	res, err := s.put(o, nil)
	if err != nil {
		return "", "", err
	}
	return res.VersionID, gofakes3.FormatETag(o.MD5), s.forget(u)
}
