// Package dns answers the names of Cloud Map's private namespaces on this machine, and passes all
// others on to the machine's own servers.
package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/slipway-ecs/slipway/internal/local/api/servicediscovery"
)

// Names answers names that are known here.
type Names interface {
	Resolve(name, kind string) (records []servicediscovery.Record, known bool)
}

// Server is a DNS server. Its loop is Run.
type Server struct {
	names   Names
	log     *slog.Logger
	forward []string // host:port of servers for other names
	packet  []net.PacketConn
	stream  []net.Listener
}

// Address is where `local up` listens if it may: port 53 needs rights.
const Address = "127.66.0.53:53"

// Listen listens on an address by UDP and TCP; with no right to it, on a free port of 127.0.0.1.
func Listen(address string, names Names, log *slog.Logger) (*Server, error) {
	s := &Server{names: names, log: log}
	if conf, err := dns.ClientConfigFromFile("/etc/resolv.conf"); err == nil {
		for _, server := range conf.Servers {
			if own, _, _ := net.SplitHostPort(address); server != own {
				s.forward = append(s.forward, net.JoinHostPort(server, conf.Port))
			}
		}
	}
	err := s.open(address)
	for range 10 { // the port that UDP got may be another's for TCP
		if err == nil {
			break
		}
		err = s.open("127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("listening for DNS: %w", err)
	}
	return s, nil
}

func (s *Server) open(address string) error {
	packet, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	stream, err := net.Listen("tcp", packet.LocalAddr().String())
	if err != nil {
		return errors.Join(err, packet.Close())
	}
	s.packet, s.stream = append(s.packet, packet), append(s.stream, stream)
	return nil
}

// Also makes the server listen at one more address; call it before Run.
func (s *Server) Also(address string) error {
	if err := s.open(address); err != nil {
		return fmt.Errorf("listening for DNS: %w", err)
	}
	return nil
}

// Addr is the host:port it answers at.
func (s *Server) Addr() string { return s.packet[0].LocalAddr().String() }

// Close ends a server that was never run.
func (s *Server) Close() error {
	var errs []error
	for i := range s.packet {
		for _, err := range []error{s.packet[i].Close(), s.stream[i].Close()} {
			if !errors.Is(err, net.ErrClosed) { // Run closed them
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(ctx, w, q) })
	var servers []*dns.Server
	for i := range s.packet {
		servers = append(servers, &dns.Server{PacketConn: s.packet[i], Handler: h}, &dns.Server{Listener: s.stream[i], Handler: h})
	}
	ended := make(chan error, len(servers))
	for _, one := range servers {
		go func() { ended <- one.ActivateAndServe() }()
	}
	var err error
	left := len(servers)
	select {
	case <-ctx.Done():
	case err = <-ended:
		left--
	}
	_ = s.Close() // both loops end by it
	for range left {
		<-ended
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("answering DNS: %w", err)
}

func (s *Server) serve(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	answer := s.answer(ctx, w.RemoteAddr().Network(), q)
	if w.RemoteAddr().Network() == "udp" {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		answer.Truncate(size)
	}
	if err := w.WriteMsg(answer); err != nil {
		s.log.Debug("a DNS answer could not be sent", "error", err)
	}
}

// answer answers a question from the namespaces, or with what another server says.
func (s *Server) answer(ctx context.Context, network string, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	one := q.Question[0]
	name := strings.TrimSuffix(one.Name, ".")
	kind := dns.TypeToString[one.Qtype]
	records, known := s.names.Resolve(name, kind)
	if !known {
		return s.ask(ctx, network, q, m)
	}
	m.Authoritative = true
	for _, r := range records {
		head := dns.RR_Header{Name: one.Name, Rrtype: one.Qtype, Class: dns.ClassINET, Ttl: uint32(r.TTL / time.Second)}
		switch one.Qtype {
		case dns.TypeA:
			m.Answer = append(m.Answer, &dns.A{Hdr: head, A: r.Address.AsSlice()})
		case dns.TypeSRV:
			target := dns.Fqdn(r.Instance + "." + name)
			m.Answer = append(m.Answer, &dns.SRV{Hdr: head, Priority: 1, Weight: 1, Port: uint16(r.Port), Target: target})
			m.Extra = append(m.Extra, &dns.A{Hdr: dns.RR_Header{Name: target, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: head.Ttl}, A: r.Address.AsSlice()})
		}
	}
	if len(m.Answer) == 0 && !s.exists(name) {
		m.Rcode = dns.RcodeNameError
	}
	return m
}

// exists reports whether a name has records of any type.
func (s *Server) exists(name string) bool {
	for _, kind := range []string{"A", "SRV"} {
		if r, _ := s.names.Resolve(name, kind); len(r) > 0 {
			return true
		}
	}
	return false
}

func (s *Server) ask(ctx context.Context, network string, q, failed *dns.Msg) *dns.Msg {
	c := dns.Client{Net: network, Timeout: 3 * time.Second}
	for _, server := range s.forward {
		if in, _, err := c.ExchangeContext(ctx, q, server); err == nil {
			return in
		}
	}
	failed.Rcode = dns.RcodeServerFailure
	return failed
}
