package s3

import (
	"crypto/md5" // #nosec G501 -- ETags are MD5 sums
	"errors"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/johannesboyne/gofakes3"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// newest is the newest version of an object, which may be a delete marker; nil if there is none.
func (s *Service) newest(tx *state.Tx, bucket, key string) *Object {
	for _, o := range s.objects.Prefix(tx, bucket+zero+key+zero) {
		return o
	}
	return nil
}

// find is a version of an object; with the id "" the newest.
func (s *Service) find(tx *state.Tx, bucket, key, version string) *Object {
	if version == "" {
		return s.newest(tx, bucket, key)
	}
	for _, o := range s.objects.Prefix(tx, bucket+zero+key+zero) {
		if o.VersionID == version || version == "null" && o.VersionID == "" {
			return o
		}
	}
	return nil
}

// ListBuckets lists all buckets.
func (s *Service) ListBuckets() ([]gofakes3.BucketInfo, error) {
	out := []gofakes3.BucketInfo{}
	return out, s.db.View(func(tx *state.Tx) error {
		for _, b := range s.buckets.All(tx) {
			out = append(out, gofakes3.BucketInfo{Name: b.Name, CreationDate: gofakes3.NewContentTime(b.CreatedAt)})
		}
		return nil
	})
}

// CreateBucket makes a bucket.
func (s *Service) CreateBucket(name string) error {
	return s.db.Update(func(tx *state.Tx) error {
		if _, ok := s.buckets.Get(tx, name); ok {
			return gofakes3.ResourceError(gofakes3.ErrBucketAlreadyExists, name)
		}
		s.buckets.Put(tx, name, &Bucket{Name: name, CreatedAt: s.clock.Now()})
		return nil
	})
}

// BucketExists reports whether there is such a bucket.
func (s *Service) BucketExists(name string) (exists bool, err error) {
	err = s.db.View(func(tx *state.Tx) error { _, exists = s.buckets.Get(tx, name); return nil })
	return exists, err
}

// DeleteBucket removes an empty bucket and the uploads that were not finished in it.
func (s *Service) DeleteBucket(name string) error {
	var blobs []string
	err := s.db.Update(func(tx *state.Tx) error {
		if !s.buckets.Delete(tx, name) {
			return gofakes3.BucketNotFound(name)
		}
		for range s.objects.Prefix(tx, name+zero) {
			return gofakes3.ResourceError(gofakes3.ErrBucketNotEmpty, name)
		}
		var keys []string
		for k, u := range s.uploads.Prefix(tx, name+zero) {
			keys = append(keys, k)
			for _, p := range u.Parts {
				blobs = append(blobs, p.Blob)
			}
		}
		for _, k := range keys {
			s.uploads.Delete(tx, k)
		}
		return nil
	})
	if err == nil {
		s.drop(blobs...)
	}
	return err
}

// ForceDeleteBucket is not an operation of S3.
func (s *Service) ForceDeleteBucket(string) error { return gofakes3.ErrNotImplemented }

// ListBucket lists the newest versions.
func (s *Service) ListBucket(name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	if prefix == nil {
		prefix = &gofakes3.Prefix{}
	}
	list := gofakes3.NewObjectList()
	limit := int(page.MaxKeys)
	err := s.db.View(func(tx *state.Tx) error {
		from := prefix.Prefix
		if page.HasMarker && page.Marker > from {
			from = page.Marker + zero + "~" // behind every version of the marker
		}
		last, lastKey, seen := "", "", map[string]bool{}
		for k, o := range s.objects.From(tx, name+zero+from) {
			if !strings.HasPrefix(k, name+zero+prefix.Prefix) {
				break
			}
			if o.Key == lastKey {
				continue // an older version
			}
			lastKey = o.Key
			var m gofakes3.PrefixMatch
			if o.Marker || !prefix.Match(o.Key, &m) {
				continue
			}
			if m.CommonPrefix && (seen[m.MatchedPart] || page.HasMarker && strings.HasPrefix(page.Marker, m.MatchedPart)) {
				continue
			}
			if len(list.Contents)+len(list.CommonPrefixes) >= limit {
				list.IsTruncated = limit > 0
				if list.IsTruncated {
					list.NextMarker = last
				}
				break
			}
			if m.CommonPrefix {
				seen[m.MatchedPart] = true
				list.AddPrefix(m.MatchedPart)
				last = m.MatchedPart
				continue
			}
			last = o.Key
			list.Add(&gofakes3.Content{Key: o.Key, LastModified: gofakes3.NewContentTime(o.At), ETag: gofakes3.FormatETag(o.MD5), Size: o.Size, StorageClass: "STANDARD", Owner: owner})
		}
		return nil
	})
	return list, err
}

var owner = &gofakes3.UserInfo{ID: "75aa57f09aa0c8caeab4f8c24e99d10f8e7faeebf76c078efc7c6caea54ba06a", DisplayName: "local"}

// GetObject returns the newest version.
func (s *Service) GetObject(bucket, key string, r *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	return s.GetObjectVersion(bucket, key, "", r)
}

// HeadObject is GetObject without contents.
func (s *Service) HeadObject(bucket, key string) (*gofakes3.Object, error) {
	return s.HeadObjectVersion(bucket, key, "")
}

// GetObjectVersion returns a version.
func (s *Service) GetObjectVersion(bucket, key string, version gofakes3.VersionID, r *gofakes3.ObjectRangeRequest) (*gofakes3.Object, error) {
	out, o, err := s.head(bucket, key, string(version))
	if err != nil || o.Marker {
		return out, err
	}
	if out.Range, err = r.Range(o.Size); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(o.Blob))
	if err != nil {
		return nil, err
	}
	out.Contents = f
	if out.Range != nil {
		out.Contents = part{io.NewSectionReader(f, out.Range.Start, out.Range.Length), f}
	}
	return out, nil
}

type part struct {
	io.Reader
	io.Closer
}

// HeadObjectVersion is GetObjectVersion without contents.
func (s *Service) HeadObjectVersion(bucket, key string, version gofakes3.VersionID) (*gofakes3.Object, error) {
	out, _, err := s.head(bucket, key, string(version))
	return out, err
}

func (s *Service) head(bucket, key, version string) (*gofakes3.Object, *Object, error) {
	var o *Object
	_ = s.db.View(func(tx *state.Tx) error { o = s.find(tx, bucket, key, version); return nil })
	if o == nil {
		if version != "" {
			return nil, nil, gofakes3.ErrNoSuchVersion
		}
		return nil, nil, gofakes3.KeyNotFound(key)
	}
	return &gofakes3.Object{Name: o.Key, Metadata: maps.Clone(o.Meta), Size: o.Size, Hash: o.MD5, VersionID: gofakes3.VersionID(o.VersionID),
		IsDeleteMarker: o.Marker, Contents: io.NopCloser(strings.NewReader(""))}, o, nil
}

// PutObject writes an object. Conditions are judged in the transaction that writes: of two writers
// that both want to be first, one is.
func (s *Service) PutObject(bucket, key string, meta map[string]string, input io.Reader, size int64, cond *gofakes3.PutConditions) (gofakes3.PutObjectResult, error) {
	if strings.Contains(key, zero) {
		return gofakes3.PutObjectResult{}, gofakes3.ErrorMessage(gofakes3.ErrInvalidArgument, "not supported: a zero byte in a key")
	}
	sum := md5.New() // #nosec G401
	blob, err := s.store(io.TeeReader(input, sum), size)
	if err != nil {
		return gofakes3.PutObjectResult{}, err
	}
	o := &Object{Bucket: bucket, Key: key, Size: size, MD5: sum.Sum(nil), Meta: meta, Blob: blob}
	return s.put(o, cond)
}

// put makes o the newest version of its object. It drops o's contents on failing.
func (s *Service) put(o *Object, cond *gofakes3.PutConditions) (gofakes3.PutObjectResult, error) {
	var old string
	err := s.db.Update(func(tx *state.Tx) error {
		b, ok := s.buckets.Get(tx, o.Bucket)
		if !ok {
			return gofakes3.BucketNotFound(o.Bucket)
		}
		was := s.newest(tx, o.Bucket, o.Key)
		if cond != nil {
			is := &gofakes3.ConditionalObjectInfo{Exists: was != nil && !was.Marker}
			if is.Exists {
				is.Hash = was.MD5
			} else if cond.IfMatch != nil {
				return gofakes3.KeyNotFound(o.Key)
			}
			if err := gofakes3.CheckPutConditions(cond, is); err != nil {
				return err
			}
		}
		old = s.insert(tx, b, was, o)
		return nil
	})
	if err != nil {
		s.drop(o.Blob)
		return gofakes3.PutObjectResult{}, err
	}
	s.drop(old)
	return gofakes3.PutObjectResult{VersionID: gofakes3.VersionID(o.VersionID)}, nil
}

// insert adds a version in front of was; without versioning it replaces the null version, whose
// contents it returns.
func (s *Service) insert(tx *state.Tx, b *Bucket, was, o *Object) (dropped string) {
	o.At, o.Seq = s.clock.Now(), 1
	if was != nil {
		o.Seq = was.Seq + 1
	}
	if b.Versioning == "Enabled" {
		o.VersionID = newID(16)
	} else if null := s.find(tx, o.Bucket, o.Key, "null"); null != nil {
		s.objects.Delete(tx, objectKey(null.Bucket, null.Key, null.Seq))
		dropped = null.Blob
	}
	s.objects.Put(tx, objectKey(o.Bucket, o.Key, o.Seq), o)
	return dropped
}

// CopyObject copies the newest version.
func (s *Service) CopyObject(srcBucket, srcKey, dstBucket, dstKey string, meta map[string]string) (gofakes3.CopyObjectResult, error) {
	src, err := s.GetObject(srcBucket, srcKey, nil)
	if err == nil && src.IsDeleteMarker {
		err = gofakes3.KeyNotFound(srcKey)
	}
	if err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	defer src.Contents.Close()
	if _, err := s.PutObject(dstBucket, dstKey, meta, src.Contents, src.Size, nil); err != nil {
		return gofakes3.CopyObjectResult{}, err
	}
	return gofakes3.CopyObjectResult{ETag: gofakes3.FormatETag(src.Hash), LastModified: gofakes3.NewContentTime(s.clock.Now())}, nil
}

// DeleteObject removes an object or, with versioning, hides it behind a marker.
func (s *Service) DeleteObject(bucket, key string) (gofakes3.ObjectDeleteResult, error) {
	var dropped string
	var out gofakes3.ObjectDeleteResult
	err := s.db.Update(func(tx *state.Tx) error {
		b, ok := s.buckets.Get(tx, bucket)
		if !ok {
			return gofakes3.BucketNotFound(bucket)
		}
		was := s.newest(tx, bucket, key)
		if b.Versioning == "" {
			if was != nil {
				s.objects.Delete(tx, objectKey(bucket, key, was.Seq))
				dropped = was.Blob
			}
			return nil
		}
		marker := &Object{Bucket: bucket, Key: key, Marker: true}
		dropped = s.insert(tx, b, was, marker)
		out = gofakes3.ObjectDeleteResult{IsDeleteMarker: true, VersionID: gofakes3.VersionID(marker.VersionID)}
		return nil
	})
	if err == nil {
		s.drop(dropped)
	}
	return out, err
}

// DeleteMulti deletes several objects.
func (s *Service) DeleteMulti(bucket string, keys ...string) (gofakes3.MultiDeleteResult, error) {
	ids := make([]gofakes3.ObjectID, len(keys))
	for i, k := range keys {
		ids[i].Key = k
	}
	return s.DeleteMultiVersions(bucket, ids...)
}

// DeleteMultiVersions deletes several objects or versions; what fails is told one by one.
func (s *Service) DeleteMultiVersions(bucket string, ids ...gofakes3.ObjectID) (gofakes3.MultiDeleteResult, error) {
	var out gofakes3.MultiDeleteResult
	for _, id := range ids {
		var err error
		if id.VersionID == "" {
			_, err = s.DeleteObject(bucket, id.Key)
		} else {
			_, err = s.DeleteObjectVersion(bucket, id.Key, gofakes3.VersionID(id.VersionID))
		}
		if err != nil {
			var known gofakes3.Error
			if !errors.As(err, &known) {
				return out, err
			}
			e := gofakes3.ErrorResultFromError(err)
			e.Key = id.Key
			out.Error = append(out.Error, e)
			continue
		}
		out.Deleted = append(out.Deleted, id)
	}
	return out, nil
}
