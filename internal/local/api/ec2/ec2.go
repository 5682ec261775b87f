// Package ec2 is the part of EC2 that an ECS cluster needs: a default VPC over three zones, security
// groups, launch templates, instance types and instances. An instance is a record without a machine:
// what it brings to a cluster is room for tasks, which are real.
package ec2

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
)

// TableInstances is the table of instances, for watches.
const TableInstances = "ec2.instances"

// Instance is an EC2 instance. Key: id.
type Instance struct {
	ID, Type, ImageID, AZ, SubnetID, PrivateIP string
	State                                      string // pending, running, shutting-down, terminated, stopping, stopped
	StateReason                                string
	SecurityGroups                             []string
	Profile                                    string // instance profile ARN
	UserData                                   string // base64
	TemplateID                                 string
	TemplateVersion                            int64
	Spot                                       bool
	Tags                                       []ec2api.Tag
	LaunchedAt, StateAt                        time.Time
	// InterruptAt is when a Spot instance will be reclaimed; zero: no notice given.
	InterruptAt time.Time
	// Warm says that it is in a warm pool, where agents that were told to look do not join a cluster.
	Warm bool
}

// Template is a launch template with all its versions. Key: id.
type Template struct {
	ID, Name        string
	Default, Latest int64
	Versions        []TemplateVersion
	Tags            []ec2api.Tag
	CreatedAt       time.Time
}

// TemplateVersion is one version of a launch template.
type TemplateVersion struct {
	Number      int64
	Description string
	Data        ec2api.ResponseLaunchTemplateData
	CreatedAt   time.Time
}

// SecurityGroup is a security group. Key: id.
type SecurityGroup struct {
	ID, Name, Description, VPC string
	Ingress, Egress            []ec2api.IpPermission
	Tags                       []ec2api.Tag
}

// Network is the one VPC of the local AWS, as EC2 makes it by default in a region. Key: "default".
type Network struct {
	VPC, DefaultGroup, RouteTable, Gateway string
	Subnets                                []Subnet
	NextHost                               map[string]int // by subnet: the next free address
	Tags                                   map[string][]ec2api.Tag
}

// Subnet is a default subnet of the VPC.
type Subnet struct{ ID, AZ, CIDR string }

// Service is EC2. Its loop is Run.
type Service struct {
	db        *state.DB
	ecs       *state.ECS
	instances *state.Table[Instance]
	templates *state.Table[Template]
	groups    *state.Table[SecurityGroup]
	network   *state.Table[Network]
	clock     clock.Clock
	log       *slog.Logger
	region    string
	account   string
	zoneDown  func(zone string) bool // nil: none is
}

// OnLaunch says in which zones nothing can be launched; call it before the first request.
func (s *Service) OnLaunch(zoneDown func(zone string) bool) { s.zoneDown = zoneDown }

// Down says whether nothing can be launched in a zone.
func (s *Service) Down(zone string) bool { return s.down(zone) }

// ZoneID is a zone's id, which is the same for all accounts.
func (s *Service) ZoneID(zone string) string { return s.zoneID(zone) }

func (s *Service) down(zone string) bool { return s.zoneDown != nil && s.zoneDown(zone) }

// Config is what the service needs to know.
type Config struct {
	DB              *state.DB
	ECS             *state.ECS
	Clock           clock.Clock
	Log             *slog.Logger
	Region, Account string
}

// Register adds the operations to svc and the tables to the store, and makes the default VPC if the
// store has none.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{db: c.DB, ecs: c.ECS, clock: c.Clock, log: c.Log, region: c.Region, account: c.Account}
	var e1, e2, e3, e4 error
	s.instances, e1 = state.NewTable[Instance](c.DB, TableInstances)
	s.templates, e2 = state.NewTable[Template](c.DB, "ec2.launchtemplates")
	s.groups, e3 = state.NewTable[SecurityGroup](c.DB, "ec2.securitygroups")
	s.network, e4 = state.NewTable[Network](c.DB, "ec2.network")
	if err := errors.Join(e1, e2, e3, e4); err != nil {
		return nil, err
	}
	s.registerNetwork(svc)
	s.registerGroups(svc)
	s.registerTemplates(svc)
	s.registerInstances(svc)
	s.registerTypes(svc)
	return s, s.db.Update(s.makeNetwork)
}

func newID(prefix string) string {
	b := make([]byte, 9)
	_, _ = rand.Read(b) // never fails
	return prefix + "-" + hex.EncodeToString(b)[:17]
}

// The ids are the same in every local AWS, so that configurations can name them.
func (s *Service) makeNetwork(tx *state.Tx) error {
	if s.network.Len(tx) > 0 {
		return nil
	}
	n := &Network{VPC: "vpc-0510ca10000000000", DefaultGroup: "sg-0510ca10000000000", RouteTable: "rtb-0510ca10000000000", Gateway: "igw-0510ca10000000000",
		NextHost: map[string]int{}, Tags: map[string][]ec2api.Tag{}}
	for i, zone := range []string{"a", "b", "c"} {
		n.Subnets = append(n.Subnets, Subnet{ID: fmt.Sprintf("subnet-0510ca1000000000%s", zone), AZ: s.region + zone, CIDR: fmt.Sprintf("172.31.%d.0/20", i*16)})
	}
	s.network.Put(tx, "default", n)
	s.groups.Put(tx, n.DefaultGroup, &SecurityGroup{ID: n.DefaultGroup, Name: "default", Description: "default VPC security group", VPC: n.VPC,
		Ingress: []ec2api.IpPermission{{IpProtocol: wire.Ptr("-1"), UserIdGroupPairs: []ec2api.UserIdGroupPair{{GroupId: wire.Ptr(n.DefaultGroup), UserId: wire.Ptr(s.account)}}}},
		Egress:  []ec2api.IpPermission{everything()}})
	return nil
}

func everything() ec2api.IpPermission {
	return ec2api.IpPermission{IpProtocol: wire.Ptr("-1"), IpRanges: []ec2api.IpRange{{CidrIp: wire.Ptr("0.0.0.0/0")}}}
}

func (s *Service) net(tx *state.Tx) *Network {
	n, _ := s.network.Get(tx, "default") // made at the start
	return n
}

func (n *Network) subnet(id string) (Subnet, bool) {
	for _, sub := range n.Subnets {
		if sub.ID == id {
			return sub, true
		}
	}
	return Subnet{}, false
}

// address takes the next free address of a subnet.
func (s *Service) address(tx *state.Tx, subnet string) string {
	var host int
	s.network.Modify(tx, "default", func(n *Network) {
		next := map[string]int{}
		for k, v := range n.NextHost {
			next[k] = v
		}
		host = max(next[subnet], 10)
		next[subnet] = host + 1
		n.NextHost = next
	})
	sub, _ := s.net(tx).subnet(subnet)
	var third int
	_, _ = fmt.Sscanf(sub.CIDR, "172.31.%d.0", &third)
	return fmt.Sprintf("172.31.%d.%d", third+host/250%16, host%250+4)
}

// convert copies between the request and the response form of the same structure, which differ in
// type but not in the names of their members.
func convert[To, From any](from From) (To, error) {
	var to To
	data, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(data, &to)
	}
	return to, err
}

func pageSize(max *int32) int { return int(cmp.Or(wire.Value(max), 1000)) }

// page cuts one page out of all; the token is the key of the first one left.
func page[T any](all []T, key func(T) string, token *string, limit int) ([]T, *string) {
	out := []T{}
	for _, v := range all {
		switch k := key(v); {
		case k < wire.Value(token):
		case len(out) == limit:
			return out, wire.Ptr(k)
		default:
			out = append(out, v)
		}
	}
	return out, nil
}

var errDryRun = &wire.Error{Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set.", Status: 412}

func dryRun(flag *bool) error {
	if wire.Value(flag) {
		return errDryRun
	}
	return nil
}

func (s *Service) now() time.Time { return s.clock.Now() }
