package loop

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"crypto/rand"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// Dynamic host ports are taken from Linux's ephemeral range.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_PortMapping.html
const (
	firstDynamicPort = 32768
	lastDynamicPort  = 60999
)

// provision gives a task its network interface; then it is PENDING.
func (d *driver) provision() bool {
	problem := ""
	d.write(func(tx *state.Tx, t *state.Task) {
		if t.NetworkConfiguration != nil {
			if problem = d.attach(tx, t); problem != "" {
				return
			}
		}
		t.LastStatus = "PENDING"
	})
	if problem != "" {
		d.fail("TaskFailedToStart", problem)
	}
	return true
}

// bind fills in the port bindings of a task that has none yet; it reports whether there was a port
// for each.
func bind(tx *state.Tx, ecs *state.ECS, t *state.Task, def *ecsapi.TaskDefinition) bool {
	var reserved []state.ReservedPort // on the instance, by its record and for this task so far
	var held map[placement.Port]int
	if ci, ok := ecs.ContainerInstances.Get(tx, t.ContainerInstance); ok {
		reserved = slices.Clip(ci.ReservedPorts)
	}
	if l := ecs.InstanceLoads.Get(tx, t.ContainerInstance); l != nil {
		held = l.Ports
	}
	used := func(number int, proto string) bool {
		if held[placement.Port{Number: number, Protocol: proto}] > 0 || proto == "tcp" && held[placement.Port{Number: number}] > 0 {
			return true
		}
		return slices.ContainsFunc(reserved, func(p state.ReservedPort) bool { return p.Port == number && protocol(p.Protocol) == proto })
	}
	for k := range t.Containers {
		c := &t.Containers[k]
		i := slices.IndexFunc(def.ContainerDefinitions, func(x ecsapi.ContainerDefinition) bool { return wire.Value(x.Name) == c.Name })
		if i < 0 || len(c.Bindings) > 0 {
			continue
		}
		var bindings []state.PortBinding
		for _, p := range def.ContainerDefinitions[i].PortMappings {
			b := state.PortBinding{ContainerPort: int(wire.Value(p.ContainerPort)), Protocol: protocol(wire.Value(p.Protocol)), HostPort: fixedPort(def, p)}
			dynamic := wire.Value(def.NetworkMode) == "" || wire.Value(def.NetworkMode) == "bridge"
			if b.HostPort == 0 && dynamic {
				if b.HostPort = freePort(used, b.Protocol); b.HostPort == 0 {
					return false
				}
				reserved = append(reserved, state.ReservedPort{Port: b.HostPort, Protocol: b.Protocol})
			}
			bindings = append(bindings, b)
		}
		c.Bindings = bindings
	}
	return true
}

// freePort is a dynamic port nobody uses; it starts at a random place, so that a port whose target
// still drains is not given out again at once. 0: all are in use.
func freePort(used func(number int, proto string) bool, proto string) int {
	const n = lastDynamicPort - firstDynamicPort + 1
	start := randomInt(n)
	for k := range n {
		if p := firstDynamicPort + (start+k)%n; !used(p, proto) {
			return p
		}
	}
	return 0
}

// attach gives a task in awsvpc mode an address of one of its subnets, in the zone of its instance.
// It returns what is wrong.
func (d *driver) attach(tx *state.Tx, t *state.Task) (problem string) {
	v := t.NetworkConfiguration.AwsvpcConfiguration
	if v == nil || len(v.Subnets) == 0 || d.l.cfg.Subnets == nil {
		return "ResourceInitializationError: no subnet is known for the task's network interface"
	}
	start := randomInt(len(v.Subnets))
	for k := range v.Subnets {
		id := v.Subnets[(start+k)%len(v.Subnets)]
		zone, cidr, ok := d.l.cfg.Subnets.Subnet(tx, id)
		if !ok || t.AZ != "" && zone != t.AZ {
			continue
		}
		ip, ok := freeAddress(tx, d.l.cfg.State, cidr)
		if !ok {
			continue
		}
		mac := make([]byte, 5)
		_, _ = rand.Read(mac) // never fails
		t.AZ = zone
		t.ENI = &state.ENI{ID: "eni-" + hexID(17), SubnetID: id, PrivateIP: ip, AZ: zone, MAC: "02:" + colons(hex.EncodeToString(mac))}
		return ""
	}
	return fmt.Sprintf("Unexpected EC2 error while attempting to Create Network Interface in subnet '%s'", v.Subnets[0])
}

func colons(h string) string {
	var parts []string
	for ; len(h) >= 2; h = h[2:] {
		parts = append(parts, h[:2])
	}
	return strings.Join(parts, ":")
}

// freeAddress is an address of the upper half of the subnet that no task has: the lower half is for
// instances. AWS keeps the first four and the last address of a subnet.
func freeAddress(tx *state.Tx, ecs *state.ECS, cidr netip.Prefix) (string, bool) {
	if !cidr.Addr().Is4() || cidr.Bits() > 28 {
		return "", false
	}
	size := 1 << (32 - cidr.Bits())
	base := cidr.Masked().Addr().As4()
	first := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
	low, n := size/2, size/2-1
	start := randomInt(n)
	for k := range n {
		a := first + uint32(low+(start+k)%n)
		ip := netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}).String()
		if ecs.TasksByEndpoint.Count(tx, ip) == 0 {
			return ip, true
		}
	}
	return "", false
}

func hostname(ip string) string { return "ip-" + strings.ReplaceAll(ip, ".", "-") + ".ec2.internal" }
