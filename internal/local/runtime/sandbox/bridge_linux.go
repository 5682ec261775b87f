package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// bridge connects tasks' networks to this machine. Its addresses are a /20 of 198.18.0.0/15, which
// RFC 2544 keeps for tests and nobody routes.
type bridge struct {
	link netlink.Link
	net  *net.IPNet

	mu   sync.Mutex
	used map[string]bool
	next int
}

// bridgeName is short enough for an interface and the same for the same owner.
func bridgeName(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return "slw" + hex.EncodeToString(sum[:4])
}

// balancers is where the local AWS's load balancers listen: addresses of this machine's loopback interface,
// which in a task's network would be the task's own were they not routed out of it.
var balancers = &net.IPNet{IP: net.IPv4(127, 66, 0, 0).To4(), Mask: net.CIDRMask(16, 32)}

func openBridge(owner string) (*bridge, error) {
	name := bridgeName(owner)
	if old, err := netlink.LinkByName(name); err == nil { // of a killed predecessor
		if err := netlink.LinkDel(old); err != nil {
			return nil, fmt.Errorf("removing the old bridge: %w", err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	link := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(link); err != nil {
		return nil, fmt.Errorf("adding a bridge: %w", err)
	}
	b := &bridge{link: link, used: map[string]bool{}, next: 2}
	err := b.settle()
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	// Without it tasks do not reach load balancers, and get what a machine without them answers.
	_ = os.WriteFile("/proc/sys/net/ipv4/conf/"+name+"/route_localnet", []byte("1"), 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("setting the bridge up: %w", err), b.remove())
	}
	return b, nil
}

// settle gives the bridge a network. Another process may choose the same at the same time: both see it, and
// choose again, each from a place of its own.
func (b *bridge) settle() error {
	sum := sha256.Sum256([]byte(b.link.Attrs().Name))
	for k := range networks {
		ipnet, err := freeNet(int(sum[k])%networks, b.link)
		if err != nil {
			return err
		}
		b.net = ipnet
		own := &netlink.Addr{IPNet: &net.IPNet{IP: b.address(1), Mask: ipnet.Mask}}
		if err := netlink.AddrAdd(b.link, own); err != nil {
			return err
		}
		if again, err := freeNet(slot(ipnet), b.link); err == nil && again.IP.Equal(ipnet.IP) {
			return nil
		}
		if err := netlink.AddrDel(b.link, own); err != nil {
			return err
		}
	}
	return errors.New("other processes took every network first")
}

// networks is how many there are for bridges: the /20 of 198.18.0.0/15.
const networks = 32

func slot(n *net.IPNet) int {
	ip := n.IP.To4()
	return int(ip[1]-18)*16 + int(ip[2])/16
}

// freeNet is a network no other interface of this machine is in; they are tried from the given one on.
func freeNet(first int, own netlink.Link) (*net.IPNet, error) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	for k := range networks {
		i := (first + k) % networks
		candidate := &net.IPNet{IP: net.IPv4(198, 18+byte(i/16), byte(i%16*16), 0).To4(), Mask: net.CIDRMask(20, 32)}
		free := true
		for _, a := range addrs {
			if a.LinkIndex != own.Attrs().Index && (candidate.Contains(a.IP) || a.Contains(candidate.IP)) {
				free = false
			}
		}
		if free {
			return candidate, nil
		}
	}
	return nil, errors.New("198.18.0.0/15 is used up on this machine")
}

func (b *bridge) address(n int) net.IP {
	ip := make(net.IP, 4)
	copy(ip, b.net.IP.To4())
	ip[2] += byte(n / 256)
	ip[3] += byte(n % 256)
	return ip
}

// attach gives the network namespace of a process an interface on the bridge.
func (b *bridge) attach(pid int) (string, error) {
	ip, err := b.take()
	if err != nil {
		return "", err
	}
	if err := b.connect(pid, ip); err != nil {
		b.release(ip.String())
		return "", err
	}
	return ip.String(), nil
}

const hosts = 4096 // addresses of a /20

func (b *bridge) take() (net.IP, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range hosts {
		n := b.next
		if b.next++; b.next >= hosts-1 {
			b.next = 2
		}
		if ip := b.address(n); !b.used[ip.String()] {
			b.used[ip.String()] = true
			return ip, nil
		}
	}
	return nil, errors.New("all addresses of the bridge are in use")
}

func (b *bridge) release(ip string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.used, ip)
}

func (b *bridge) connect(pid int, ip net.IP) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("slv%d", pid)
	attrs.MasterIndex = b.link.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("adding an interface: %w", err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return fmt.Errorf("setting the interface up: %w", err)
	}
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("entering the task's network: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("entering the task's network: %w", err)
	}
	defer h.Close()
	eth, err := h.LinkByName("eth0")
	if err == nil {
		err = h.AddrAdd(eth, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: b.net.Mask}})
	}
	if err == nil {
		err = h.LinkSetUp(eth)
	}
	if err == nil {
		err = h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: b.address(1)})
	}
	if err == nil {
		err = h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: balancers, Gw: b.address(1), Table: unix.RT_TABLE_LOCAL})
	}
	if err != nil {
		return fmt.Errorf("setting the task's interface up: %w", err)
	}
	return nil
}

// remove removes the bridge; the interfaces on it went with their tasks.
func (b *bridge) remove() error {
	if err := netlink.LinkDel(b.link); err != nil {
		return fmt.Errorf("removing the bridge: %w", err)
	}
	return nil
}
