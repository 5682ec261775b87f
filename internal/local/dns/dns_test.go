package dns

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/slipway-ecs/slipway/internal/local/api/servicediscovery"
)

type names map[string][]servicediscovery.Record

func (n names) Resolve(name, kind string) ([]servicediscovery.Record, bool) {
	r, ok := n[name+" "+kind]
	return r, ok || name == "prod.local" || name == "none.prod.local" || name == "web.prod.local"
}

func TestServer(t *testing.T) {
	rec := servicediscovery.Record{TTL: 10 * time.Second, Address: netip.MustParseAddr("127.0.0.9"), Port: 8080, Instance: "abc"}
	s, err := Listen("127.0.0.1:0", names{"web.prod.local A": {rec}, "web.prod.local SRV": {rec}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s.forward = nil
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	ask := func(network, name string, kind uint16) *dns.Msg {
		t.Helper()
		c := dns.Client{Net: network, Timeout: 20 * time.Second}
		m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, kind), s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, network := range []string{"udp", "tcp"} {
		m := ask(network, "web.prod.local.", dns.TypeA)
		if len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "127.0.0.9" || m.Answer[0].Header().Ttl != 10 {
			t.Errorf("%s: %v", network, m)
		}
	}
	m := ask("udp", "web.prod.local.", dns.TypeSRV)
	if len(m.Answer) != 1 || m.Answer[0].(*dns.SRV).Port != 8080 || len(m.Extra) != 1 {
		t.Errorf("SRV: %v", m)
	}
	if m := ask("udp", "web.prod.local.", dns.TypeAAAA); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 0 {
		t.Errorf("a name without records of the type: %v", m)
	}
	if m := ask("udp", "none.prod.local.", dns.TypeA); m.Rcode != dns.RcodeNameError {
		t.Errorf("a name that is not there: %v", m)
	}
	if m := ask("udp", "elsewhere.example.", dns.TypeA); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("with nobody to ask: %v", m)
	}
}
