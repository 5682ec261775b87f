package elbv2

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/dataplane"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// healthQueue keeps what the data plane reports until the loop writes it.
type healthQueue struct {
	mu   sync.Mutex
	news map[string]dataplane.Health
	wake chan struct{}
}

func (q *healthQueue) put(key string, h dataplane.Health) {
	q.mu.Lock()
	if q.news == nil {
		q.news = map[string]dataplane.Health{}
	}
	q.news[key] = h
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *healthQueue) take() map[string]dataplane.Health {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.news
	q.news = nil
	return out
}

// Run gives the data plane what the store says, until ctx ends: at the start, at each change, and
// when a target's deregistration delay has passed.
func (s *Service) Run(ctx context.Context) error {
	w := s.db.Watch(tableBalancers, tableGroups, tableListeners, tableRules, state.TableTargets, state.TableTasks)
	defer w.Stop()
	certificate, err := selfSigned(s.now())
	if err != nil {
		return fmt.Errorf("making a certificate: %w", err)
	}
	var said string
	for {
		conf := s.config(certificate)
		if err := s.plane.Apply(conf); err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			s.log.Error("applying the load balancers", "error", err)
		}
		if err := s.writeHealth(); err != nil {
			return fmt.Errorf("writing targets' health: %w", err)
		}
		next, err := s.finishDraining(conf)
		if err != nil {
			return fmt.Errorf("finishing deregistrations: %w", err)
		}
		var timer <-chan time.Time
		if next > 0 {
			timer = s.clock.After(next)
		}
		for again := true; again; {
			again = false
			select {
			case <-ctx.Done():
				return nil
			case <-w.C:
				again = !relevant(w.Drain())
			case <-timer:
			case <-s.health.wake:
				if err := s.writeHealth(); err != nil {
					return fmt.Errorf("writing targets' health: %w", err)
				}
				again = true
			}
		}
	}
}

// relevant says whether any change is of a table that makes up the configuration. A task's change
// matters only through its target, which is looked up again with each of those.
func relevant(changes []state.Change) bool {
	for _, c := range changes {
		if c.Table != state.TableTasks {
			return true
		}
	}
	return false
}

func (s *Service) writeHealth() error {
	news := s.health.take()
	if len(news) == 0 {
		return nil
	}
	return s.db.Update(func(tx *state.Tx) error {
		for key, h := range news {
			if _, ok := s.ecs.Targets.Get(tx, key); !ok {
				continue
			}
			rec := state.TargetHealth{State: h.State, Reason: h.Reason, Description: h.Description, Since: s.now()}
			if old, ok := s.ecs.TargetHealth.Get(tx, key); ok && old.State == rec.State && old.Reason == rec.Reason && old.Description == rec.Description {
				continue
			}
			s.ecs.TargetHealth.Put(tx, key, &rec)
		}
		return nil
	})
}

// finishDraining forgets the targets whose delay has passed, or who have nothing under way; it
// returns when to look again, 0 for not at all.
func (s *Service) finishDraining(conf dataplane.Config) (time.Duration, error) {
	var next time.Duration
	var done []string
	now := s.now()
	for _, g := range conf.Groups {
		for _, t := range g.Targets {
			if t.Draining.IsZero() {
				continue
			}
			left := g.Delay - now.Sub(t.Draining)
			// A target without requests under way is done at once
			// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html#deregistration-delay),
			// given a moment in which a request that was just being routed shows up.
			if left <= 0 || now.Sub(t.Draining) >= settle && s.plane.Outstanding(g.ARN, t.Key) == 0 {
				done = append(done, t.Key)
				continue
			}
			look := min(left, settle)
			if next == 0 || look < next {
				next = look
			}
		}
	}
	if len(done) == 0 {
		return next, nil
	}
	return time.Millisecond, s.db.Update(func(tx *state.Tx) error {
		for _, key := range done {
			if t, ok := s.ecs.Targets.Get(tx, key); ok && !t.DrainingSince.IsZero() {
				s.ecs.Targets.Delete(tx, key)
				s.ecs.TargetHealth.Delete(tx, key)
			}
		}
		return nil
	})
}

const settle = 500 * time.Millisecond

// config translates the store into the data plane's configuration.
func (s *Service) config(cert tls.Certificate) dataplane.Config {
	var c dataplane.Config
	_ = s.db.View(func(tx *state.Tx) error {
		for arn, lb := range s.balancers.All(tx) {
			b := dataplane.LoadBalancer{ARN: arn, Name: wire.Value(lb.API.LoadBalancerName), Address: lb.Address, IdleTimeout: time.Duration(atoi(lb.Attributes["idle_timeout.timeout_seconds"])) * time.Second}
			for _, l := range s.listenersOf(tx, arn) {
				rec, _ := s.listeners.Get(tx, l)
				out := dataplane.Listener{ARN: l, Port: int(*rec.API.Port), Protocol: *rec.API.Protocol, Default: actions(rec.API.DefaultActions)}
				if out.Protocol == "HTTPS" {
					out.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
				}
				for _, r := range s.rulesOf(tx, l) {
					conds, regexes, err := conditions(r.API.Conditions)
					if err != nil {
						continue // it was checked when it was made
					}
					rw, _ := rewrites(r.API.Transforms)
					out.Rules = append(out.Rules, dataplane.Rule{ARN: r.ARN, Priority: r.Priority, Conditions: conds, Regexes: regexes, Rewrites: rw, Actions: actions(r.API.Actions)})
				}
				b.Listeners = append(b.Listeners, out)
			}
			c.Balancers = append(c.Balancers, b)
		}
		for arn, g := range s.groups.All(tx) {
			c.Groups = append(c.Groups, s.groupConfig(tx, arn, g))
		}
		return nil
	})
	return c
}

func (s *Service) groupConfig(tx *state.Tx, arn string, g *TargetGroup) dataplane.TargetGroup {
	seconds := func(name string) time.Duration { return time.Duration(atoi(g.Attributes[name])) * time.Second }
	a := g.API
	out := dataplane.TargetGroup{ARN: arn, Protocol: *a.Protocol, Version: wire.Value(a.ProtocolVersion), Algorithm: g.Attributes["load_balancing.algorithm.type"], SlowStart: seconds("slow_start.duration_seconds"),
		Delay: seconds("deregistration_delay.timeout_seconds"), InUse: len(s.balancersOf(tx, arn)) > 0}
	if g.Attributes["stickiness.enabled"] == "true" {
		out.Sticky = seconds("stickiness.lb_cookie.duration_seconds")
	}
	out.Check = dataplane.Check{Enabled: *a.HealthCheckEnabled, Protocol: *a.HealthCheckProtocol, Path: wire.Value(a.HealthCheckPath), Interval: time.Duration(*a.HealthCheckIntervalSeconds) * time.Second,
		Timeout: time.Duration(*a.HealthCheckTimeoutSeconds) * time.Second, Healthy: int(*a.HealthyThresholdCount), Unhealthy: int(*a.UnhealthyThresholdCount), GRPC: out.Version == "GRPC", Match: func(int) bool { return true }}
	if m := a.Matcher; m != nil && m.HttpCode != nil {
		out.Check.Match, _ = parseCodes(*m.HttpCode, 200, 499) // checked when it was set
	}
	if p := wire.Value(a.HealthCheckPort); p != "traffic-port" {
		out.Check.Port = atoi(p)
	}
	for key, t := range s.ecs.Targets.Prefix(tx, arn+"/") {
		out.Targets = append(out.Targets, dataplane.Target{Key: key, ID: t.ID, Port: t.Port, Addr: s.address(tx, t), Draining: t.DrainingSince})
	}
	return out
}

// address is the real address behind a target: given by whoever registered it, that of the task
// whose port or interface it names, or itself where it is a loopback address.
func (s *Service) address(tx *state.Tx, t *state.Target) string {
	if t.Addr != "" {
		return t.Addr
	}
	if ip := net.ParseIP(t.ID); ip != nil {
		for _, task := range s.ecs.TasksByEndpoint.Get(tx, t.ID) {
			for _, c := range task.Containers {
				for _, b := range c.Bindings {
					if b.ContainerPort == t.Port {
						return b.Addr
					}
				}
			}
		}
		if ip.IsLoopback() {
			return net.JoinHostPort(t.ID, fmt.Sprint(t.Port))
		}
		return ""
	}
	for _, ci := range s.ecs.InstancesByEC2.Get(tx, t.ID) {
		for _, task := range s.ecs.TasksByEndpoint.Get(tx, state.EndpointKey(ci.ARN, t.Port)) {
			for _, c := range task.Containers {
				for _, b := range c.Bindings {
					if b.HostPort == t.Port {
						return b.Addr
					}
				}
			}
		}
	}
	return ""
}

func actions(in []elbv2api.Action) []dataplane.Action {
	var out []dataplane.Action
	for _, a := range in {
		var act dataplane.Action
		switch wire.Value(a.Type) {
		case "forward":
			for _, t := range a.ForwardConfig.TargetGroups {
				act.Forward = append(act.Forward, dataplane.Weighted{Group: wire.Value(t.TargetGroupArn), Weight: int(wire.Value(t.Weight))})
			}
			if st := a.ForwardConfig.TargetGroupStickinessConfig; st != nil && wire.Value(st.Enabled) {
				act.Sticky = time.Duration(wire.Value(st.DurationSeconds)) * time.Second
			}
		case "redirect":
			r := a.RedirectConfig
			act.Redirect = &dataplane.Redirect{Protocol: wire.Value(r.Protocol), Host: wire.Value(r.Host), Port: wire.Value(r.Port), Path: wire.Value(r.Path), Query: wire.Value(r.Query), Status: atoi(strings.TrimPrefix(wire.Value(r.StatusCode), "HTTP_"))}
		case "fixed-response":
			f := a.FixedResponseConfig
			kind := wire.Value(f.ContentType)
			if kind == "" {
				kind = "text/plain"
			}
			act.Fixed = &dataplane.Fixed{Status: atoi(wire.Value(f.StatusCode)), ContentType: kind + "; charset=utf-8", Body: wire.Value(f.MessageBody)}
		}
		out = append(out, act)
	}
	return out
}

// selfSigned is the certificate of every HTTPS listener: the local AWS has no certificate authority
// that a client would trust.
func selfSigned(now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "slipway local AWS"}, NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(10, 0, 0),
		DNSNames: []string{"localhost", "*.localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
