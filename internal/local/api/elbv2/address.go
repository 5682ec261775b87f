package elbv2

import (
	"fmt"
	"net"
	"runtime"
	"sync"

	"github.com/slipway-ecs/slipway/internal/local/state"
)

// guardPort is held open on the address of each load balancer, so that another local AWS on this
// machine takes other addresses: a request to an address must not reach somebody else's balancer.
const guardPort = 65066

// guards are the open guard ports by address.
type guards struct {
	mu   sync.Mutex
	open map[string]net.Listener
}

// take reserves an address; false if another process has it.
func (g *guards) take(address string) bool {
	if runtime.GOOS != "linux" {
		return true // all share 127.0.0.1
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[address] != nil {
		return true
	}
	ln, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", address, guardPort))
	if err != nil {
		return false
	}
	if g.open == nil {
		g.open = map[string]net.Listener{}
	}
	g.open[address] = ln
	return true
}

// keep lets go of all addresses but those in use.
func (g *guards) keep(used map[string]bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for a, ln := range g.open {
		if !used[a] {
			_ = ln.Close() // nothing was ever accepted on it
			delete(g.open, a)
		}
	}
}

// guardAddresses reserves the addresses of all load balancers, those of an earlier run too.
func (s *Service) guardAddresses() {
	used := map[string]bool{}
	_ = s.db.View(func(tx *state.Tx) error {
		for _, lb := range s.balancers.All(tx) {
			used[lb.Address] = true
		}
		return nil
	})
	for a := range used {
		if !s.guards.take(a) {
			s.log.Warn("the address of a load balancer is in use by another process; its listeners may get other ports", "address", a)
		}
	}
}

// freeAddress is a loopback address no other balancer has, of this process or another.
func (s *Service) freeAddress(tx *state.Tx) (string, error) {
	used := map[string]bool{}
	for _, lb := range s.balancers.All(tx) {
		used[lb.Address] = true
	}
	for n := range 250 * 250 {
		if a := fmt.Sprintf("127.66.%d.%d", n/250, n%250+1); !used[a] && s.guards.take(a) {
			return a, nil
		}
	}
	return "", fmt.Errorf("no loopback address is free for another load balancer")
}
