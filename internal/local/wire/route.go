package wire

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
)

type protocol int

const (
	jsonRPC protocol = iota
	awsQuery
	ec2Query
	rpcCBOR
	rest    // restJson1
	restXML // of S3, whose requests are handled as they are
)

// route is where a request goes.
type route struct {
	svc   *Service
	op    string
	proto protocol
	json  string            // version of awsJson: "1.0", "1.1"
	form  url.Values        // of a query request
	names map[string]string // of a REST request: what its path names
	// badBody is why the form could not be read.
	badBody error
}

// route finds the service and operation, or the handler of a path that is none of AWS's. It fills
// in what the signature's scope says of the caller.
func (s *Server) route(r *http.Request, id *Identity) (*route, http.Handler) {
	var query url.Values
	if r.URL.RawQuery != "" {
		query = r.URL.Query()
	}
	sc := credentialScope(r.Header, query)
	id.AccessKey = sc.accessKey
	if sc.region != "" {
		id.Region = sc.region
	}
	if len(sc.accessKey) == 12 && strings.Trim(sc.accessKey, "0123456789") == "" {
		id.Account = sc.accessKey // a way to act as another account
	}
	if sc.service == "s3" {
		return s.root()
	}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		if i := strings.LastIndexByte(target, '.'); i > 0 {
			if svc := s.find(func(m *Model) bool { return m.Target == target[:i] }); svc != nil {
				return &route{svc: svc, op: target[i+1:], proto: jsonRPC, json: jsonVersion(r, svc)}, nil
			}
		}
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, "/service/"); ok && r.Header.Get("Smithy-Protocol") == "rpc-v2-cbor" {
		if name, op, ok := strings.Cut(rest, "/operation/"); ok {
			if svc := s.find(func(m *Model) bool { return m.Target == name }); svc != nil {
				return &route{svc: svc, op: op, proto: rpcCBOR}, nil
			}
		}
	}
	if h := s.fallbackFor(r.URL.Path, false); h != nil {
		return nil, h
	}
	if rt := s.queryRoute(r, query, sc); rt != nil {
		return rt, nil
	}
	if svc := s.find(func(m *Model) bool { return m.Scope == sc.service }); svc != nil && sc.service != "" {
		rt := &route{svc: svc, op: r.Method + " " + r.URL.Path, proto: rest, json: "1.1"}
		if op, names := svc.model.restOperation(r.Method, r.URL.EscapedPath()); op != "" {
			rt.op, rt.names = op, names
		}
		return rt, nil
	}
	return s.root()
}

// root is where requests for S3 go, and those that are for no other service.
func (s *Server) root() (*route, http.Handler) {
	if svc := s.s3(); svc != nil {
		return &route{svc: svc, proto: restXML}, nil
	}
	return nil, s.fallbackFor("/", true)
}

// isFallback reports whether a request is certainly none of the services': by its path, or signed
// for S3. Its body may be large and is not ours to read.
func (s *Server) isFallback(r *http.Request) bool {
	if r.Header.Get("X-Amz-Target") != "" || strings.HasPrefix(r.URL.Path, "/service/") {
		return false
	}
	var query url.Values
	if r.URL.RawQuery != "" {
		query = r.URL.Query()
	}
	sc := credentialScope(r.Header, query)
	if sc.service == "s3" || s.fallbackFor(r.URL.Path, false) != nil {
		return true
	}
	ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	form := r.Method == http.MethodPost && ct == "application/x-www-form-urlencoded"
	return sc.service == "" && !form && query.Get("Action") == ""
}

func jsonVersion(r *http.Request, svc *Service) string {
	if v, ok := strings.CutPrefix(r.Header.Get("Content-Type"), "application/x-amz-json-"); ok && (v == "1.0" || v == "1.1") {
		return v
	}
	return svc.model.JSONVersion
}

// queryRoute recognises requests with Action and Version, in the query or a form.
func (s *Server) queryRoute(r *http.Request, query url.Values, sc scope) *route {
	rt := &route{form: query}
	if ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method == http.MethodPost && ct == "application/x-www-form-urlencoded" {
		body, err := readBody(r, s.bodyLimit)
		if err == nil {
			rt.form, err = url.ParseQuery(string(body))
		}
		if rt.badBody = err; rt.form == nil {
			rt.form = url.Values{}
		}
		for k, v := range query {
			if _, ok := rt.form[k]; !ok {
				rt.form[k] = v
			}
		}
	}
	rt.op = rt.form.Get("Action")
	version := rt.form.Get("Version")
	if rt.op == "" && rt.badBody == nil {
		return nil
	}
	rt.svc = s.find(func(m *Model) bool {
		return sc.service != "" && m.Scope == sc.service && m.query() && m.Version == version
	})
	if rt.svc == nil {
		rt.svc = s.find(func(m *Model) bool { return m.Version == version && m.query() })
	}
	if rt.svc == nil {
		rt.svc = s.find(func(m *Model) bool { return sc.service != "" && m.Scope == sc.service && m.query() })
	}
	if rt.svc == nil {
		return nil
	}
	if rt.svc.model.ID == "sqs" && rt.form.Get("QueueUrl") == "" && strings.Count(r.URL.Path, "/") == 2 {
		// Sent to the URL of a queue: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-xml.html
		rt.form.Set("QueueUrl", "http://"+r.Host+r.URL.Path)
	}
	rt.proto = awsQuery
	if rt.svc.model.Protocols[0] == "ec2" {
		rt.proto = ec2Query
	}
	return rt
}

func (m *Model) query() bool {
	for _, p := range m.Protocols {
		if p == "query" || p == "ec2" {
			return true
		}
	}
	return false
}

// find returns the first service whose model matches, among all models: a service nobody has added
// operations to is known too, and answers that it does not support them.
func (s *Server) find(match func(*Model) bool) *Service {
	for i := range models {
		if match(&models[i]) {
			if svc := s.services[models[i].ID]; svc != nil {
				return svc
			}
			return &Service{model: &models[i]}
		}
	}
	return nil
}

func (s *Server) fallbackFor(path string, root bool) http.Handler {
	for _, f := range s.fallbacks {
		if f.prefix == "/" == root && (strings.HasPrefix(path, f.prefix) || path+"/" == f.prefix) {
			return f.h
		}
	}
	return nil
}

// unknown is the service's answer to an operation that it does not know or we do not support.
func (rt *route) unknown() *Error {
	switch rt.proto {
	case awsQuery:
		return Errorf("InvalidAction", "Could not find operation %s for version %s", rt.op, rt.svc.model.Version)
	case ec2Query:
		return Errorf("InvalidAction", "The action %s is not valid for this web service.", rt.op)
	case rpcCBOR, rest:
		e := Errorf("UnknownOperationException", "not supported by this local AWS: %s %s", rt.svc.model.ID, rt.op)
		e.Status = http.StatusNotFound
		return e
	}
	return Errorf("UnknownOperationException", "not supported by this local AWS: %s %s", rt.svc.model.ID, rt.op)
}

var errTooLarge = errors.New("the body is too large")

// readBody reads at most limit bytes, also after decompression.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	var src io.Reader = r.Body
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(io.LimitReader(r.Body, limit+1))
		if err != nil {
			return nil, fmt.Errorf("unpacking the body: %w", err)
		}
		src = z
	}
	var buf bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= 1<<20 {
		buf.Grow(int(n) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(io.LimitReader(src, limit+1)); err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	if int64(buf.Len()) > limit {
		return nil, errTooLarge
	}
	return buf.Bytes(), nil
}

// decode reads the request into the operation's input.
func (rt *route) decode(r *http.Request, limit int64, in any, p *plan) error {
	var err error
	switch rt.proto {
	case awsQuery, ec2Query:
		if err = rt.badBody; err == nil {
			err = decodeQuery(rt.form, in, p)
		}
		if rt.svc.model.ID == "sqs" {
			p.fillLists(in) // an empty batch is refused as such; here it cannot be told from none
		}
	default:
		var body []byte
		if body, err = readBody(r, limit); err != nil {
			break
		}
		if rt.proto == rpcCBOR {
			err = decodeCBOR(body, in)
		} else if rt.proto == rest {
			err = decodeREST(body, rt.names, r.URL.Query(), in)
		} else {
			err = decodeJSON(body, in)
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errTooLarge):
		return &Error{Code: "RequestEntityTooLarge", Status: http.StatusRequestEntityTooLarge, Message: "Request size exceeds the maximum."}
	case rt.proto == ec2Query:
		return Errorf("InvalidParameterValue", "%s", err)
	case rt.proto == awsQuery:
		return Errorf("MalformedInput", "%s", err)
	}
	return Errorf("SerializationException", "%s", err)
}
