package wire

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// HandleHTTP adds an operation of S3, the one service of ours that is REST with XML: h reads the request
// and writes the answer itself. Middleware gets the *http.Request as the input, with the bucket in the
// path. It panics if the model has no such operation.
func HandleHTTP(svc *Service, op string, h http.Handler, opts ...Option) {
	if !svc.known[op] {
		panic("wire: " + svc.model.ID + " has no operation " + op)
	}
	o := &operation{name: op, http: h}
	for _, opt := range opts {
		opt(o)
	}
	svc.ops[op] = o
}

// s3 is the service that gets what is signed for S3, and what is no other's; nil if there is none.
func (s *Server) s3() *Service {
	if svc := s.services["s3"]; svc != nil && len(svc.ops) > 0 {
		return svc
	}
	return nil
}

// xmlOperation finds the operation of a request: of those with its method and path, the one of whose
// query and headers it has most.
func (m *Model) xmlOperation(r *http.Request, query url.Values) string {
	depth := 0 // the service, a bucket, or an object
	if bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); key != "" {
		depth = 2
	} else if bucket != "" {
		depth = 1
	}
	best, most := "", -1
	for op, pattern := range m.paths {
		words := strings.Fields(pattern)
		path, conditions, _ := strings.Cut(words[1], "?")
		n := strings.Count(path, "{")
		if words[0] != r.Method || n != depth && path != r.URL.Path || n == 0 && path != r.URL.Path {
			continue
		}
		met, all := 0, true
		for c := range strings.SplitSeq(conditions, "&") {
			name, value, has := strings.Cut(c, "=")
			if c == "" {
				continue
			}
			all = all && query.Has(name) && (!has || query.Get(name) == value)
			met++
		}
		for _, h := range words[2:] {
			all = all && r.Header.Get(h) != ""
			met++
		}
		if all && (met > most || met == most && op < best) {
			best, most = op, met
		}
	}
	return best
}

// pathStyle turns bucket.localhost/key and bucket.s3.localhost/key into /bucket/key.
func pathStyle(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	bucket, ok := strings.CutSuffix(strings.ToLower(host), ".localhost")
	if !ok {
		return r
	}
	if bucket = strings.TrimSuffix(strings.TrimSuffix(bucket, "s3"), "."); bucket != "" {
		r.URL.Path = "/" + bucket + r.URL.Path
		r.URL.RawPath = ""
	}
	return r
}

// serveHTTP answers a request for S3 as serve does those of the other services.
func (s *Server) serveHTTP(ctx context.Context, w http.ResponseWriter, r *http.Request, svc *Service) {
	start := time.Now()
	denied := s.authenticateHTTP(r)
	r = pathStyle(r)
	op := svc.model.xmlOperation(r, r.URL.Query())
	name := svc.model.ID + ":" + op
	refuse := func(e *Error) {
		s.log.DebugContext(ctx, "request refused", "operation", name, "code", e.Code, "message", e.Message)
		failXML(w, r, svc.model.show(e), Caller(ctx).RequestID)
	}
	var d *denial
	o := svc.ops[op]
	switch {
	case errors.As(denied, &d):
		s.log.WarnContext(ctx, "signature refused", "service", svc.model.ID, "operation", op, "reason", d.message)
		refuse(d.shownByS3(r.URL.Query().Has("X-Amz-Signature")))
		return
	case op == "":
		refuse(&Error{Code: "MethodNotAllowed", Status: http.StatusMethodNotAllowed, Message: "The specified method is not allowed against this resource."})
		return
	case o == nil:
		s.countMissing(svc.model.ID, op)
		s.log.WarnContext(ctx, "operation not supported", "service", svc.model.ID, "operation", op)
		refuse(&Error{Code: "NotImplemented", Status: http.StatusNotImplemented, Message: "not supported by this local AWS: s3 " + op})
		return
	}
	call := &operation{name: op, call: func(ctx context.Context, in any) (any, error) {
		o.http.ServeHTTP(w, in.(*http.Request).WithContext(ctx))
		return nil, nil
	}}
	_, err := s.next(ctx, Call{Service: svc.model.ID, Operation: op, Input: r, op: call})
	if err == nil {
		s.log.DebugContext(ctx, "request", "operation", name, "took", time.Since(start))
		return
	}
	var e *Error
	if !errors.As(err, &e) {
		s.log.ErrorContext(ctx, "request failed", "operation", name, "error", err)
		e = &Error{Code: "InternalError", Status: http.StatusInternalServerError, Message: "We encountered an internal error. Please try again."}
	}
	refuse(e)
}

// failXML writes an error as S3 does.
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func failXML(w http.ResponseWriter, r *http.Request, e shown, requestID string) {
	h := w.Header()
	h.Set("Content-Type", "application/xml")
	h.Set("X-Amz-Request-Id", requestID)
	w.WriteHeader(e.status)
	if r.Method == http.MethodHead {
		return
	}
	type answer struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		RequestID string `xml:"RequestId"`
	}
	_, _ = io.WriteString(w, xml.Header) // the client may have gone
	_ = xml.NewEncoder(w).Encode(answer{Code: e.name, Message: e.message, RequestID: requestID})
}

// shownByS3 is the refusal in S3's words.
func (d *denial) shownByS3(presigned bool) *Error {
	e := &Error{Status: http.StatusForbidden, Message: d.message}
	switch {
	case d == errUnsigned:
		e.Code, e.Message = "AccessDenied", "Access Denied"
	case d == errUnknownKey:
		e.Code, e.Message = "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."
	case d == errOldToken:
		e.Code, e.Status, e.Message = "ExpiredToken", http.StatusBadRequest, "The provided token has expired."
	case d == errExpired && presigned:
		e.Code, e.Message = "AccessDenied", "Request has expired"
	case d == errExpired:
		e.Code, e.Message = "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."
	case d == errIncomplete:
		e.Code, e.Status = "AuthorizationHeaderMalformed", http.StatusBadRequest
	default:
		e.Code = "SignatureDoesNotMatch"
	}
	return e
}
