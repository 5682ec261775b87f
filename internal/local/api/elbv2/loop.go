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
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/targethealth"
)

// healthQueue keeps what the data plane reports until the loop writes it.
type healthQueue struct {
	mu   sync.Mutex
	news map[string]targethealth.Health
	wake chan struct{}
}

func (q *healthQueue) put(key string, h targethealth.Health) {
	q.mu.Lock()
	if q.news == nil {
		q.news = map[string]targethealth.Health{}
	}
	q.news[key] = h
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *healthQueue) take() map[string]targethealth.Health {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.news
	q.news = nil
	return out
}

// Run gives the data plane what the store says, until ctx ends: at the start, at each change of it
// or of a target's health, and when a target's deregistration delay has passed.
//
// The order is what keeps requests whole. A target gets requests before the store says that it is
// healthy, so that whoever waits for that may stop another one; and its record goes only after the
// data plane has stopped sending it new ones and those under way are done.
func (s *Service) Run(ctx context.Context) error {
	w := s.db.Watch(tableBalancers, tableGroups, tableListeners, tableRules, tableTrust, state.TableTargets, state.TableTasks)
	defer w.Stop()
	certificate, err := selfSigned(s.now())
	if err != nil {
		return fmt.Errorf("making a certificate: %w", err)
	}
	s.guardAddresses()
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if s.storage != nil {
		wg.Go(func() { s.publishLogs(ctx) })
	}
	if s.publisher != nil {
		wg.Go(func() { s.publishEachMinute(ctx) })
	}
	var said string
	for {
		plan := s.plan(certificate)
		s.checker.Apply(plan.checks)
		news := s.health.take()
		plan.judge(news)
		if err := s.plane.Apply(plan.config); err != nil && ctx.Err() == nil && err.Error() != said {
			said = err.Error()
			s.log.Error("applying the load balancers", "error", err)
		}
		if err := s.writeHealth(news); err != nil {
			return fmt.Errorf("writing targets' health: %w", err)
		}
		next, err := s.finishDraining(plan.draining)
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
				again = !s.relevant(w.Drain(), plan)
			case <-timer:
			case <-s.health.wake:
			}
		}
	}
}

// relevant says whether any change makes another plan. A task's change does only if a target waits
// for the address of a task.
func (s *Service) relevant(changes []state.Change, p *plan) bool {
	for _, c := range changes {
		if c.Table != state.TableTasks || p.homeless {
			return true
		}
	}
	return false
}

func (s *Service) writeHealth(news map[string]targethealth.Health) error {
	if len(news) == 0 {
		return nil
	}
	return s.db.Update(func(tx *state.Tx) error {
		for key, h := range news {
			if _, ok := s.ecs.Targets.Get(tx, key); !ok {
				continue
			}
			rec := state.TargetHealth{State: h.State, Reason: h.Reason, Description: h.Description, Since: s.now()}
			if old, ok := s.ecs.TargetHealth.Get(tx, key); ok && healthOf(old) == h {
				continue
			}
			s.ecs.TargetHealth.Put(tx, key, &rec)
		}
		return nil
	})
}

func healthOf(h *state.TargetHealth) targethealth.Health {
	return targethealth.Health{State: h.State, Reason: h.Reason, Description: h.Description}
}

// leaving is a target that is being deregistered.
type leaving struct {
	key   string // of its record
	plane balancer.TargetKey
	since time.Time
	delay time.Duration
}

// settle is the time in which a request that was just being routed shows up.
const settle = 500 * time.Millisecond

// finishDraining forgets the targets whose delay has passed, or who have nothing under way; it
// returns when to look again, 0 for not at all.
func (s *Service) finishDraining(draining []leaving) (time.Duration, error) {
	var next time.Duration
	var done []string
	now := s.now()
	for _, t := range draining {
		left := t.delay - now.Sub(t.since)
		// A target without requests under way is done at once
		// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html#deregistration-delay).
		if left <= 0 || now.Sub(t.since) >= settle && s.plane.Outstanding(t.plane) == 0 {
			done = append(done, t.key)
			continue
		}
		look := min(left, settle)
		if next == 0 || look < next {
			next = look
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
