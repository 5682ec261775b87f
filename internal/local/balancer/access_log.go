package balancer

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// stamp is a time as the logs have it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// resource is what the logs call a load balancer or listener: the end of its ARN.
func resource(arn, kind string) string {
	_, id, _ := strings.Cut(arn, ":"+kind+"/")
	return id
}

// orDash is a value of a log; one that is not there is a hyphen.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// quoted is a value between quotation marks, in which nothing ends the line or the value.
func quoted(s string) string {
	s = orDash(s)
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\' || c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// entry is what is known of a request for its line in the access log. All its methods do nothing on
// a nil one.
type entry struct {
	rt       *route
	r        *http.Request
	conn     *client
	created  time.Time // by the balancer's clock
	began    time.Time // by the machine's
	rule     *rule
	redirect string
	x        *exchange
	body     *counted
	head     int64 // bytes of the request's line and headers
}

// counted counts the bytes of a request's body.
type counted struct {
	io.ReadCloser
	n atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func (h *handler) entry(rt *route, r *http.Request, conn *client) *entry {
	e := &entry{rt: rt, r: r, conn: conn, created: h.now(), began: time.Now(), body: &counted{ReadCloser: r.Body}}
	e.head = int64(len(r.Method)+len(r.RequestURI)+len(r.Proto)+len("Host: \r\n")+len(r.Host)) + 6 + sizeOf(r.Header)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = e.body
	}
	return e
}

func sizeOf(h http.Header) int64 {
	n := 0
	for k, values := range h {
		for _, v := range values {
			n += len(k) + len(v) + 4
		}
	}
	return int64(n)
}

func (e *entry) matched(r *rule) {
	if e != nil {
		e.rule = r
	}
}

func (e *entry) redirected(to string) {
	if e != nil {
		e.redirect = to
	}
}

func (e *entry) forwards(x *exchange) {
	if e != nil {
		e.x = x
	}
}

// kind is the type of the request.
func (e *entry) kind(status int) string {
	secure := e.r.TLS != nil
	switch {
	case status == http.StatusSwitchingProtocols && secure:
		return "wss"
	case status == http.StatusSwitchingProtocols:
		return "ws"
	case secure && e.x != nil && e.x.group.ProtocolVersion == "GRPC":
		return "grpcs"
	case e.r.ProtoMajor == 2:
		return "h2"
	case secure:
		return "https"
	}
	return "http"
}

// line is the request's line in the access log.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-access-logs.html#access-log-entry-format
func (e *entry) line(rec *recorder, now time.Time) string {
	r, x := e.r, e.x
	scheme, sni, certificate := "http", "-", "-"
	cipher, version := "-", "-"
	if r.TLS != nil {
		scheme, sni, certificate = "https", r.TLS.ServerName, e.rt.ln.CertificateARN
		cipher, version = cipherName(r.TLS.CipherSuite), versionName(r.TLS.Version)
	}
	priority, action, group := "-1", "", "-"
	if e.rule != nil {
		priority = strconv.Itoa(e.rule.priority)
		switch a := e.rule.action; {
		case a.Forward != nil:
			action = "forward"
		case a.Redirect != nil:
			action = "redirect"
		case a.Fixed != nil:
			action = "fixed-response"
		}
	}
	target, targetStatus, trace := "-", "-", ""
	request, processing, response := "-1", "-1", "-1"
	transformedHost, transformedURI, transformed := "", "", ""
	status := rec.status
	if x != nil {
		group, target, trace = x.group.ARN, x.target.addr, x.trace
		if !x.sent.IsZero() {
			request = seconds(x.sent.Sub(e.began))
		}
		if !x.got.IsZero() {
			processing, targetStatus = seconds(x.got.Sub(x.sent)), strconv.Itoa(x.status)
			if response = "0.000"; !rec.at.IsZero() {
				response = seconds(rec.at.Sub(x.got))
			}
		}
		if status == 0 {
			status = x.status // of a connection that was taken over
		}
		if x.uri != "" {
			transformedHost, transformedURI, transformed = x.host, x.uri, "TransformSuccess"
			if rec.status == http.StatusInternalServerError && x.sent.IsZero() {
				transformed = "TransformInvalidUri"
			}
		}
	}
	if trace == "" {
		trace = traceID(r.Header.Get("X-Amzn-Trace-Id"), e.created)
	}
	host := r.Host
	if !strings.Contains(host[strings.LastIndexByte(host, ']')+1:], ":") {
		host += ":" + strconv.Itoa(e.rt.ln.Port)
	}
	elbStatus := "-"
	if status != 0 {
		elbStatus = strconv.Itoa(status)
	}
	return strings.Join([]string{
		e.kind(status), stamp(now), resource(e.rt.lb.ARN, "loadbalancer"), r.RemoteAddr, target, request, processing, response, elbStatus, targetStatus,
		strconv.FormatInt(e.head+e.body.n.Load(), 10), strconv.FormatInt(rec.bytes, 10), quoted(r.Method + " " + scheme + "://" + host + r.RequestURI + " " + r.Proto), quoted(r.UserAgent()),
		cipher, version, group, quoted(trace), quoted(sni), quoted(certificate), priority, stamp(e.created), quoted(action), quoted(e.redirect), quoted(""),
		quoted(target), quoted(targetStatus), quoted(""), quoted(""), e.conn.traceID(), quoted(transformedHost), quoted(transformedURI), quoted(transformed),
	}, " ")
}

// recorder passes a response on, with the headers that the listener puts in or leaves out, and notes
// what it was.
type recorder struct {
	http.ResponseWriter
	ln     *Listener
	status int
	bytes  int64
	at     time.Time // when the response began
}

func (rt *route) changesHeaders() bool { return rt.ln.HideServer || len(rt.ln.Headers) > 0 }

// Unwrap lets the server's other abilities be found: flushing, taking the connection over.
func (rec *recorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// WriteHeader begins the response.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/header-modification.html
func (rec *recorder) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		h := rec.Header()
		for name, value := range rec.ln.Headers {
			h.Set(name, value)
		}
		if rec.ln.HideServer && strings.HasPrefix(h.Get("Server"), "awselb/") {
			h.Del("Server")
		}
		rec.status, rec.at = status, time.Now()
		rec.bytes += int64(len("HTTP/1.1 200 \r\n\r\n")+len(http.StatusText(status))) + sizeOf(h)
	}
	rec.ResponseWriter.WriteHeader(status)
}

func (rec *recorder) Write(p []byte) (int, error) {
	if rec.status == 0 {
		rec.WriteHeader(http.StatusOK)
	}
	n, err := rec.ResponseWriter.Write(p)
	rec.bytes += int64(n)
	return n, err
}

// connected writes a connection's line in the connection log, once: when it is good for requests, or
// has ended before that.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-connection-logs.html#connection-log-entry-format
func (h *handler) connected(nc net.Conn, good bool) {
	rt, c := h.route.Load(), clientOf(nc)
	if rt.lb.ConnectionLog == nil || c == nil || !c.logged.CompareAndSwap(false, true) {
		return
	}
	ip, port, _ := net.SplitHostPort(c.RemoteAddr().String())
	version, cipher, latency, subject, valid, number, status := "-", "-", "-", `"-"`, "-", "-", "-"
	if t, ok := nc.(*tls.Conn); ok {
		if cs := t.ConnectionState(); cs.HandshakeComplete {
			version, cipher = versionName(cs.Version), cipherName(cs.CipherSuite)
		}
		if d := c.shaken.Load(); d > 0 {
			latency = seconds(time.Duration(d))
		}
		if leaf, ok := c.leaf.Load().(*x509.Certificate); ok {
			subject, valid, number = quoted(leaf.Subject.String()), validity(leaf), serial(leaf)
		}
		switch why, _ := c.failed.Load().(string); {
		case why != "":
			status = "Failed:" + why
		case !good:
			status = "Failed:UnmappedConnectionError"
		default:
			status = "Success"
		}
	}
	rt.lb.ConnectionLog(strings.Join([]string{stamp(h.now()), ip, port, strconv.Itoa(rt.ln.Port), version, cipher, latency, subject, valid, number, status, c.traceID()}, " "))
}

// streamEntry is a connection over TLS to a Network Load Balancer.
type streamEntry struct {
	rt             *route
	client         net.Addr
	target         string
	began, ended   time.Time // by the balancer's clock
	took, shaken   time.Duration
	received, sent int64
	tls            tls.ConnectionState
}

// line is the connection's line in the access log.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-access-logs.html#access-log-entry-format
func (e streamEntry) line() string {
	version, cipher, shaken := "-", "-", "-"
	if e.tls.HandshakeComplete {
		version, cipher, shaken = strings.ReplaceAll(strings.ToLower(versionName(e.tls.Version)), ".", ""), cipherName(e.tls.CipherSuite), strconv.FormatInt(e.shaken.Milliseconds(), 10)
	}
	id := resource(e.rt.ln.ARN, "listener")
	const short = "2006-01-02T15:04:05"
	return strings.Join([]string{"tls", "2.0", e.ended.UTC().Format(short), resource(e.rt.lb.ARN, "loadbalancer"), id[strings.LastIndexByte(id, '/')+1:], e.client.String(), e.target,
		strconv.FormatInt(e.took.Milliseconds(), 10), shaken, strconv.FormatInt(e.received, 10), strconv.FormatInt(e.sent, 10), "-", orDash(e.rt.ln.CertificateARN), "-", cipher, version, "-",
		orDash(e.tls.ServerName), orDash(e.tls.NegotiatedProtocol), "-", "-", e.began.UTC().Format(short)}, " ")
}
