package wire

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"sync"
)

// response encodes one answer.
type response struct {
	w         http.ResponseWriter
	route     *route
	requestID string
}

func (r response) ok(o *operation, out any) {
	v := reflect.ValueOf(out).Elem()
	m := r.route.svc.model
	switch r.route.proto {
	case awsQuery:
		var x xmlWriter
		x.WriteString("<" + o.name + `Response xmlns="` + m.Namespace + `">`)
		x.open(o.name + "Result")
		o.out.members(&x, v)
		x.close(o.name + "Result")
		x.open("ResponseMetadata")
		x.element("RequestId", r.requestID)
		x.close("ResponseMetadata")
		x.close(o.name + "Response")
		r.write(http.StatusOK, "text/xml", x.Bytes())
	case ec2Query:
		var x xmlWriter
		x.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<" + o.name + `Response xmlns="` + m.Namespace + `/">`)
		x.element("requestId", r.requestID)
		if len(o.out.fields) == 0 {
			x.element("return", "true")
		}
		o.out.members(&x, v)
		x.close(o.name + "Response")
		r.write(http.StatusOK, "text/xml;charset=UTF-8", x.Bytes())
	case rpcCBOR:
		data, err := cborOut.Marshal(out)
		if err != nil { // the types are ours and have no value CBOR lacks
			panic(err)
		}
		r.write(http.StatusOK, "application/cbor", data)
	default:
		buf := buffers.Get().(*[]byte)
		body := o.out.appendJSON((*buf)[:0], v)
		r.write(http.StatusOK, r.jsonType(), body)
		if cap(body) <= 64<<10 { // few answers are larger
			*buf = body
			buffers.Put(buf)
		}
	}
}

// buffers are what answers are written in, again and again.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

func (r response) jsonType() string {
	if r.route.proto == rest {
		return "application/json"
	}
	return "application/x-amz-json-" + r.route.json
}

func (r response) fail(e shown) {
	kind := "Sender"
	if !e.sender() {
		kind = "Receiver"
	}
	m := r.route.svc.model
	if m.QueryCompatible && (r.route.proto == jsonRPC || r.route.proto == rpcCBOR) {
		r.w.Header().Set("X-Amzn-Query-Error", e.code+";"+kind)
	}
	switch r.route.proto {
	case awsQuery:
		var x xmlWriter
		x.WriteString(`<ErrorResponse xmlns="` + m.Namespace + `">`)
		x.open("Error")
		x.element("Type", kind)
		x.element("Code", e.code)
		x.element("Message", e.message)
		x.close("Error")
		x.element("RequestId", r.requestID)
		x.close("ErrorResponse")
		r.write(e.status, "text/xml", x.Bytes())
	case ec2Query:
		var x xmlWriter
		x.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n<Response><Errors><Error>")
		x.element("Code", e.code)
		x.element("Message", e.message)
		x.WriteString("</Error></Errors>")
		x.element("RequestID", r.requestID)
		x.close("Response")
		r.write(e.status, "text/xml;charset=UTF-8", x.Bytes())
	default:
		body := map[string]any{"__type": e.name, "message": e.message}
		if e.upper {
			delete(body, "message")
			body["Message"] = e.message
		}
		if m.QueryCompatible {
			body["__type"] = "com.amazonaws." + m.ID + "#" + e.name
		}
		for k, v := range e.fields {
			body[k] = v
		}
		if r.route.proto == rpcCBOR {
			data, err := cborOut.Marshal(body)
			if err != nil {
				data = []byte{0xa0}
			}
			r.write(e.status, "application/cbor", data)
			return
		}
		data, err := json.Marshal(body)
		if err != nil {
			data = []byte("{}")
		}
		r.w.Header().Set("X-Amzn-Errortype", e.name)
		r.write(e.status, r.jsonType(), data)
	}
}

func (r response) write(status int, contentType string, body []byte) {
	h := r.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.route.proto == rpcCBOR {
		h.Set("Smithy-Protocol", "rpc-v2-cbor")
	}
	r.w.WriteHeader(status)
	_, _ = r.w.Write(body) // a client that has gone away is not our failure
}
