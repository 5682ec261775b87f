package s3

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/johannesboyne/gofakes3"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// ServeHTTP does what gofakes3 leaves out or does otherwise than S3, and gives it the rest. The bucket is
// in the path.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") == "" && r.URL.Query().Get("X-Amz-Signature") == "" && r.URL.Query().Get("Signature") == "" {
		fail(w, r, "AccessDenied", "Access Denied")
		return
	}
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	if err := s.body(r); err != nil {
		fail(w, r, "InvalidArgument", err.Error())
		return
	}
	from := copyOf{source: r.Header.Get("X-Amz-Copy-Source"), part: r.Header.Get("X-Amz-Copy-Source-Range"), directive: r.Header.Get("X-Amz-Metadata-Directive")}
	keepHeaders(r)
	out := &cleaned{ResponseWriter: w}
	defer out.end()
	switch {
	case bucket == "":
	case key == "" && r.Method == http.MethodPost && !q.Has("delete"):
		fail(w, r, "NotImplemented", "not supported: uploads by HTML forms")
		return
	case s.subresource(out, r, bucket, key, q), key == "" && s.bucket(out, r, bucket, q):
		return
	case key != "" && r.Method == http.MethodPut && from.source != "":
		s.copy(out, r, bucket, key, from)
		return
	case key != "" && !s.condition(out, r, bucket, key, q):
		return
	case r.Method == http.MethodHead && q.Get("versionId") != "": // gofakes3 shows the newest version
		r.Method, out.silent = http.MethodGet, true
	}
	s.front.ServeHTTP(out, r)
}

// keepHeaders drops the X-Amz- headers that are not an object's: gofakes3 would keep and show them,
// signatures and session tokens among them.
func keepHeaders(r *http.Request) {
	for h := range r.Header {
		if strings.HasPrefix(h, "X-Amz-") && !ofObject(h) || strings.HasPrefix(h, "X-Minio-") {
			r.Header.Del(h)
		}
	}
	if r.Method == http.MethodPut && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "binary/octet-stream")
	}
}

func ofObject(header string) bool {
	return strings.HasPrefix(header, "X-Amz-Meta-") || strings.HasPrefix(header, "X-Amz-Server-Side-Encryption") ||
		header == "X-Amz-Storage-Class" || header == "X-Amz-Website-Redirect-Location"
}

// cleaned keeps the headers of AWS only, as AWS writes them, and the body to itself where the request was
// HEAD. Errors have a message.
type cleaned struct {
	http.ResponseWriter
	silent, begun bool
	failed        bool
	fault         bytes.Buffer
}

func (c *cleaned) end() {
	if c.fault.Len() > 0 && !c.silent {
		_, _ = c.ResponseWriter.Write(explained(c.fault.Bytes())) // the client may have gone
	}
}

func (c *cleaned) WriteHeader(status int) {
	c.begun, c.failed = true, status >= 400
	h := c.Header()
	if c.failed {
		h.Del("Content-Length") // of the error as it was
	}
	for k := range h {
		if strings.HasPrefix(k, "Access-Control-") {
			h.Del(k)
		}
		if strings.HasPrefix(k, "X-Amz-Meta-") { // clients show the names as they come, and S3's are small
			h[strings.ToLower(k)] = h[k]
			delete(h, k)
		}
	}
	if h.Get("X-Amz-Delete-Marker") == "false" {
		h.Del("X-Amz-Delete-Marker")
	}
	c.ResponseWriter.WriteHeader(status)
}

func (c *cleaned) Write(p []byte) (int, error) {
	if !c.begun {
		c.WriteHeader(http.StatusOK)
	}
	switch {
	case c.failed:
		return c.fault.Write(p)
	case c.silent:
		return len(p), nil
	}
	return c.ResponseWriter.Write(p)
}

// condition judges what gofakes3 does not: If-Match on reading and deleting.
func (s *Service) condition(w http.ResponseWriter, r *http.Request, bucket, key string, q url.Values) bool {
	want := r.Header.Get("If-Match")
	if want == "" || r.Method == http.MethodPut || r.Method == http.MethodPost {
		return true
	}
	var o *Object
	_ = s.db.View(func(tx *state.Tx) error { o = s.find(tx, bucket, key, q.Get("versionId")); return nil })
	if o == nil || o.Marker || want == "*" || strings.Trim(want, `"`) == strings.Trim(gofakes3.FormatETag(o.MD5), `"`) {
		return true
	}
	fail(w, r, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	return false
}

// bucket answers what concerns a bucket and differs from gofakes3; it reports whether it did.
func (s *Service) bucket(w http.ResponseWriter, r *http.Request, name string, q url.Values) bool {
	exists, _ := s.BucketExists(name) // only the store's failures, which the next call meets again
	if exists {
		w.Header().Set("X-Amz-Bucket-Region", s.region)
	}
	switch {
	case r.Method == http.MethodPut && len(q) == 0 && exists:
		// us-east-1 accepts it, for old clients: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
		if s.region != "us-east-1" {
			fail(w, r, "BucketAlreadyOwnedByYou", "Your previous request to create the named bucket succeeded and you already own it.")
			return true
		}
		w.Header().Set("Location", "/"+name)
		w.WriteHeader(http.StatusOK)
		return true
	case r.Method == http.MethodGet && q.Has("location") && exists:
		type location struct {
			XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ LocationConstraint"`
			Region  string   `xml:",chardata"`
		}
		region := s.region
		if region == "us-east-1" {
			region = ""
		}
		write(w, location{Region: region})
		return true
	}
	return false
}

// copyOf is the X-Amz-Copy-Source headers of a request.
type copyOf struct{ source, part, directive string }

// copy copies an object, or a part of one to a part of an upload.
func (s *Service) copy(w http.ResponseWriter, r *http.Request, bucket, key string, c copyOf) {
	source, query, _ := strings.Cut(c.source, "?")
	source, err := url.PathUnescape(source)
	from, fromKey, ok := strings.Cut(strings.TrimPrefix(source, "/"), "/")
	if err != nil || !ok {
		fail(w, r, "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
		return
	}
	args, _ := url.ParseQuery(query) // no version: the newest
	var part *gofakes3.ObjectRangeRequest
	if text, ok := strings.CutPrefix(c.part, "bytes="); ok {
		a, b, _ := strings.Cut(text, "-")
		start, err1 := strconv.ParseInt(a, 10, 64)
		end, err2 := strconv.ParseInt(b, 10, 64)
		if err1 != nil || err2 != nil || end < start {
			fail(w, r, "InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last")
			return
		}
		part = &gofakes3.ObjectRangeRequest{Start: start, End: end}
	}
	src, err := s.GetObjectVersion(from, fromKey, gofakes3.VersionID(args.Get("versionId")), part)
	if err == nil && src.IsDeleteMarker {
		err = gofakes3.KeyNotFound(fromKey)
	}
	if err != nil {
		failWith(w, r, err)
		return
	}
	defer src.Contents.Close()
	size := src.Size
	if src.Range != nil {
		size = src.Range.Length
	}
	at := gofakes3.NewContentTime(s.clock.Now())
	if id := r.URL.Query().Get("uploadId"); id != "" {
		number, err := strconv.Atoi(r.URL.Query().Get("partNumber"))
		if err != nil || number < 1 || number > 10000 {
			fail(w, r, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
			return
		}
		etag, err := s.UploadPart(bucket, key, gofakes3.UploadID(id), number, size, src.Contents)
		if err != nil {
			failWith(w, r, err)
			return
		}
		type result struct {
			XMLName      xml.Name `xml:"CopyPartResult"`
			ETag         string
			LastModified gofakes3.ContentTime
		}
		write(w, result{ETag: etag, LastModified: at})
		return
	}
	meta := src.Metadata
	if c.directive == "REPLACE" {
		meta = map[string]string{"Content-Type": r.Header.Get("Content-Type")}
		for h := range r.Header {
			if ofObject(h) || h == "Content-Disposition" || h == "Content-Encoding" {
				meta[h] = r.Header.Get(h)
			}
		}
	} else if bucket == from && key == fromKey && args.Get("versionId") == "" {
		fail(w, r, "InvalidRequest", "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
		return
	}
	meta["Last-Modified"] = at.UTC().Format(http.TimeFormat)
	res, err := s.PutObject(bucket, key, meta, src.Contents, size, nil)
	if err != nil {
		failWith(w, r, err)
		return
	}
	if res.VersionID != "" {
		w.Header().Set("X-Amz-Version-Id", string(res.VersionID))
	}
	if src.VersionID != "" {
		w.Header().Set("X-Amz-Copy-Source-Version-Id", string(src.VersionID))
	}
	write(w, gofakes3.CopyObjectResult{ETag: gofakes3.FormatETag(src.Hash), LastModified: at})
}

func write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, xml.Header) // the client may have gone
	_ = xml.NewEncoder(w).Encode(v)
}

// statuses are the HTTP statuses of the errors we answer ourselves; the rest are 400
// (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
var statuses = map[string]int{"AccessDenied": 403, "NotImplemented": 501, "PreconditionFailed": 412, "BucketAlreadyOwnedByYou": 409, "InternalError": 500}

func fail(w http.ResponseWriter, r *http.Request, code, message string) {
	status := statuses[code]
	switch {
	case strings.HasPrefix(code, "NoSuch") || strings.HasSuffix(code, "NotFoundError"):
		status = http.StatusNotFound
	case status == 0:
		status = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	type answer struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	_, _ = io.WriteString(w, xml.Header) // the client may have gone
	_ = xml.NewEncoder(w).Encode(answer{Code: code, Message: message})
}

func failWith(w http.ResponseWriter, r *http.Request, err error) {
	var known gofakes3.Error
	if !errors.As(err, &known) {
		fail(w, r, "InternalError", "We encountered an internal error. Please try again.")
		return
	}
	fail(w, r, string(known.ErrorCode()), known.Error())
}
