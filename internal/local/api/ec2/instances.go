package ec2

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
)

func (s *Service) registerInstances(svc *wire.Service) {
	wire.Handle(svc, "RunInstances", s.run, wire.Partly("no network interfaces, volumes or key pairs of one's own"))
	wire.Handle(svc, "DescribeInstances", s.describe)
	wire.Handle(svc, "DescribeInstanceStatus", s.status)
	wire.Handle(svc, "TerminateInstances", s.terminate)
	wire.Handle(svc, "DescribeImages", s.images, wire.Partly("the ECS-optimized images only"))
}

// Launch is what a new instance is made of; the launch template fills what is empty.
type Launch struct {
	TemplateID, TemplateName, TemplateVersion string
	Type, ImageID, SubnetID, UserData         string
	SecurityGroups                            []string
	Profile                                   string
	Spot                                      bool
	Warm                                      bool // into a warm pool
	Tags                                      []ec2api.Tag
}

// Launch adds one instance in tx; it is pending until the loop has started it.
func (s *Service) Launch(tx *state.Tx, l Launch) (*Instance, error) {
	i := &Instance{ID: newID("i"), State: "pending", LaunchedAt: s.now(), StateAt: s.now(), Spot: l.Spot, Warm: l.Warm, Tags: l.Tags}
	if l.TemplateID != "" || l.TemplateName != "" {
		t, err := s.template(tx, wire.NonEmpty(l.TemplateID), wire.NonEmpty(l.TemplateName))
		if err != nil {
			return nil, err
		}
		v, err := t.Version(l.TemplateVersion)
		if err != nil {
			return nil, err
		}
		i.TemplateID, i.TemplateVersion = t.ID, v.Number
		l.fill(v.Data)
		for _, spec := range v.Data.TagSpecifications {
			if wire.Value(spec.ResourceType) == "instance" {
				i.Tags = mergeTags(spec.Tags, i.Tags)
			}
		}
	}
	n := s.net(tx)
	if l.SubnetID == "" { // EC2 chooses one where there is room
		l.SubnetID = n.Subnets[max(0, slices.IndexFunc(n.Subnets, func(sub Subnet) bool { return !s.down(sub.AZ) }))].ID
	}
	sub, ok := n.subnet(l.SubnetID)
	if !ok {
		return nil, wire.Errorf("InvalidSubnetID.NotFound", "The subnet ID '%s' does not exist", l.SubnetID)
	}
	if s.down(sub.AZ) {
		return nil, &wire.Error{Code: "InsufficientInstanceCapacity", Status: http.StatusInternalServerError, Message: "We currently do not have sufficient " + l.Type + " capacity in the Availability Zone you requested (" + sub.AZ +
			"). Our system will be working on provisioning additional capacity."}
	}
	if _, ok := capacity.TypeByName(cmp.Or(l.Type, "m1.small")); !ok {
		return nil, wire.Errorf("InvalidParameterValue", "Invalid value '%s' for InstanceType.", l.Type)
	}
	if l.ImageID == "" {
		return nil, wire.Errorf("MissingParameter", "The request must contain the parameter ImageId")
	}
	if len(l.SecurityGroups) == 0 {
		l.SecurityGroups = []string{n.DefaultGroup}
	}
	for _, g := range l.SecurityGroups {
		if _, ok := s.groups.Get(tx, g); !ok {
			return nil, noGroup(g)
		}
	}
	i.Type, i.ImageID, i.AZ, i.SubnetID, i.SecurityGroups = l.Type, l.ImageID, sub.AZ, sub.ID, l.SecurityGroups
	i.UserData, i.Profile, i.Spot, i.PrivateIP = l.UserData, l.Profile, l.Spot, s.address(tx, sub.ID)
	s.instances.Put(tx, i.ID, i)
	return i, nil
}

func (l *Launch) fill(d ec2api.ResponseLaunchTemplateData) {
	l.Type = cmp.Or(l.Type, wire.Value(d.InstanceType))
	l.ImageID = cmp.Or(l.ImageID, wire.Value(d.ImageId))
	l.UserData = cmp.Or(l.UserData, wire.Value(d.UserData))
	if len(l.SecurityGroups) == 0 {
		l.SecurityGroups = d.SecurityGroupIds
		for _, ni := range d.NetworkInterfaces {
			l.SecurityGroups = append(slices.Clone(l.SecurityGroups), ni.Groups...)
		}
	}
	if p := d.IamInstanceProfile; p != nil {
		l.Profile = cmp.Or(l.Profile, wire.Value(p.Arn), wire.Value(p.Name))
	}
	if m := d.InstanceMarketOptions; m != nil && wire.Value(m.MarketType) == "spot" {
		l.Spot = true
	}
}

// Terminate begins the end of an instance in tx: its agent is gone at once, the record a while later.
func (s *Service) Terminate(tx *state.Tx, id, reason string) {
	i, ok := s.instances.Get(tx, id)
	if !ok || i.State == "terminated" || i.State == "shutting-down" {
		return
	}
	s.instances.Modify(tx, id, func(i *Instance) { i.State, i.StateReason, i.StateAt = "shutting-down", reason, s.now() })
}

// Stop begins to stop an instance in tx: its agent loses its connection, what runs there ends.
func (s *Service) Stop(tx *state.Tx, id string) {
	if i, ok := s.instances.Get(tx, id); ok && i.State == "running" {
		s.instances.Modify(tx, id, func(i *Instance) { i.State, i.StateAt = "stopping", s.now() })
		s.cut(tx, id)
	}
}

// EnterPool says that an instance is in a warm pool now, LeavePool that it is not: it is started if it was
// stopped, and joins its cluster.
func (s *Service) EnterPool(tx *state.Tx, id string) {
	s.instances.Modify(tx, id, func(i *Instance) { i.Warm = true })
}

// LeavePool is the opposite of EnterPool.
func (s *Service) LeavePool(tx *state.Tx, id string) {
	s.instances.Modify(tx, id, func(i *Instance) {
		i.Warm = false
		if i.State == "stopped" || i.State == "stopping" {
			i.State, i.StateAt = "pending", s.now()
		}
	})
	if i, ok := s.instances.Get(tx, id); ok && i.State == "running" {
		s.join(tx, i)
	}
}

// cut ends what runs on an instance that stops, and its agent's connection.
func (s *Service) cut(tx *state.Tx, id string) {
	var arns, tasks []string
	for arn := range s.ecs.InstancesByEC2.Get(tx, id) {
		arns = append(arns, arn)
		for key, t := range s.ecs.TasksByInstance.Get(tx, arn) {
			if t.DesiredStatus != "STOPPED" {
				tasks = append(tasks, key)
			}
		}
	}
	for _, key := range tasks {
		s.ecs.Tasks.Modify(tx, key, func(t *state.Task) {
			t.DesiredStatus, t.StopCode = "STOPPED", "TerminationNotice"
			t.StoppedReason = "Host EC2 (instance " + id + ") stopped/terminated."
			t.StoppingAt, t.Version = s.now(), t.Version+1
		})
	}
	for _, arn := range arns {
		s.ecs.ContainerInstances.Modify(tx, arn, func(c *state.ContainerInstance) { c.AgentConnected, c.Version = false, c.Version+1 })
	}
}

// All are the instances there are, those that were terminated in the last hour included.
func (s *Service) All(tx *state.Tx) []*Instance {
	var out []*Instance
	for _, i := range s.instances.All(tx) {
		out = append(out, i)
	}
	return out
}

// spotNotice is how long before its end a Spot instance is told
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html).
const spotNotice = 2 * time.Minute

// Interrupt gives a Spot instance its notice. An agent that was set up to
// (ECS_ENABLE_SPOT_INSTANCE_DRAINING) drains it.
func (s *Service) Interrupt(tx *state.Tx, id string) {
	i, ok := s.instances.Get(tx, id)
	if !ok || !i.InterruptAt.IsZero() {
		return
	}
	s.instances.Modify(tx, id, func(i *Instance) { i.InterruptAt = s.now().Add(spotNotice) })
	if agentConfig(i.UserData)["ECS_ENABLE_SPOT_INSTANCE_DRAINING"] != "true" {
		return
	}
	var arns []string
	for arn := range s.ecs.InstancesByEC2.Get(tx, id) {
		arns = append(arns, arn)
	}
	for _, arn := range arns {
		if ci, ok := s.ecs.ContainerInstances.Get(tx, arn); ok && ci.Status == "ACTIVE" {
			s.ecs.ContainerInstances.Modify(tx, arn, func(c *state.ContainerInstance) { c.Status, c.Version = "DRAINING", c.Version+1 })
		}
	}
}

// Instance returns the instance with the id.
func (s *Service) Instance(tx *state.Tx, id string) (*Instance, bool) { return s.instances.Get(tx, id) }

func (s *Service) run(_ context.Context, in *ec2api.RunInstancesInput) (*ec2api.RunInstancesOutput, error) {
	if err := dryRun(in.DryRun); err != nil {
		return nil, err
	}
	lo, hi := wire.Value(in.MinCount), wire.Value(in.MaxCount)
	if lo < 1 || hi < lo || hi > 1000 {
		return nil, wire.Errorf("InvalidParameterValue", "Invalid value for MinCount or MaxCount: %d, %d", lo, hi)
	}
	l := Launch{Type: wire.Value(in.InstanceType), ImageID: wire.Value(in.ImageId), SubnetID: wire.Value(in.SubnetId), UserData: wire.Value(in.UserData),
		SecurityGroups: in.SecurityGroupIds, Tags: tagsFor(in.TagSpecifications, "instance")}
	if t := in.LaunchTemplate; t != nil {
		l.TemplateID, l.TemplateName, l.TemplateVersion = wire.Value(t.LaunchTemplateId), wire.Value(t.LaunchTemplateName), wire.Value(t.Version)
	}
	if p := in.IamInstanceProfile; p != nil {
		l.Profile = cmp.Or(wire.Value(p.Arn), wire.Value(p.Name))
	}
	if m := in.InstanceMarketOptions; m != nil {
		l.Spot = wire.Value(m.MarketType) == "spot"
	}
	out := &ec2api.RunInstancesOutput{ReservationId: wire.Ptr(newID("r")), OwnerId: &s.account, Groups: []ec2api.GroupIdentifier{}}
	return out, s.db.Update(func(tx *state.Tx) error {
		for range hi {
			i, err := s.Launch(tx, l)
			if err != nil {
				return err
			}
			out.Instances = append(out.Instances, s.api(tx, i))
		}
		return nil
	})
}

var stateCodes = map[string]int32{"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}

func stateAPI(name string) *ec2api.InstanceState {
	return &ec2api.InstanceState{Code: wire.Ptr(stateCodes[name]), Name: wire.Ptr(name)}
}

func (s *Service) api(tx *state.Tx, i *Instance) ec2api.Instance {
	n := s.net(tx)
	out := ec2api.Instance{InstanceId: &i.ID, InstanceType: &i.Type, ImageId: &i.ImageID, State: stateAPI(i.State), LaunchTime: wire.Timestamp(i.LaunchedAt), Architecture: wire.Ptr(architecture(i.Type)),
		Placement: &ec2api.Placement{AvailabilityZone: &i.AZ, Tenancy: wire.Ptr("default")}, SubnetId: &i.SubnetID, VpcId: &n.VPC, PrivateIpAddress: &i.PrivateIP,
		PrivateDnsName: wire.Ptr(privateName(i.PrivateIP)), Monitoring: &ec2api.Monitoring{State: wire.Ptr("disabled")}, RootDeviceType: wire.Ptr("ebs"),
		RootDeviceName: wire.Ptr("/dev/xvda"), VirtualizationType: wire.Ptr("hvm"), Hypervisor: wire.Ptr("xen"), EnaSupport: wire.Ptr(true), AmiLaunchIndex: wire.Ptr[int32](0),
		MetadataOptions: &ec2api.InstanceMetadataOptionsResponse{HttpTokens: wire.Ptr("required"), HttpEndpoint: wire.Ptr("enabled"), State: wire.Ptr("applied")}, Tags: i.Tags}
	for _, g := range i.SecurityGroups {
		id := ec2api.GroupIdentifier{GroupId: wire.Ptr(g)}
		if sg, ok := s.groups.Get(tx, g); ok {
			id.GroupName = &sg.Name
		}
		out.SecurityGroups = append(out.SecurityGroups, id)
	}
	if i.Profile != "" {
		out.IamInstanceProfile = &ec2api.IamInstanceProfile{Arn: &i.Profile}
	}
	if i.Spot {
		out.InstanceLifecycle = wire.Ptr("spot")
	}
	if i.StateReason != "" {
		code, _, _ := strings.Cut(i.StateReason, ": ")
		out.StateReason, out.StateTransitionReason = &ec2api.StateReason{Code: &code, Message: &i.StateReason}, &i.StateReason
	}
	return out
}

func privateName(ip string) string {
	return "ip-" + strings.ReplaceAll(ip, ".", "-") + ".ec2.internal"
}

func architecture(instanceType string) string {
	t, _ := capacity.TypeByName(instanceType) // checked at the launch
	return archAPI(t)
}

func (s *Service) matching(tx *state.Tx, ids []string, filters []ec2api.Filter) ([]*Instance, error) {
	for _, id := range ids {
		if _, ok := s.instances.Get(tx, id); !ok {
			return nil, wire.Errorf("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
		}
	}
	var out []*Instance
	for id, i := range s.instances.All(tx) {
		if len(ids) > 0 && !slices.Contains(ids, id) {
			continue
		}
		ok, err := filter(filters, map[string][]string{"instance-id": {id}, "instance-type": {i.Type}, "instance-state-name": {i.State}, "availability-zone": {i.AZ}, "subnet-id": {i.SubnetID},
			"image-id": {i.ImageID}, "private-ip-address": {i.PrivateIP}, "vpc-id": {s.net(tx).VPC}, "instance.group-id": i.SecurityGroups, "network-interface.group-id": i.SecurityGroups, "instance-lifecycle": lifecycle(i),
			"private-dns-name": {privateName(i.PrivateIP)}, "instance-state-code": {strconv.Itoa(int(stateCodes[i.State]))}, "reservation-id": {"r-" + i.ID[2:]}, "owner-id": {s.account},
			"architecture": {architecture(i.Type)}, "iam-instance-profile.arn": {i.Profile}, "root-device-type": {"ebs"}, "virtualization-type": {"hvm"}, "tenancy": {"default"}, "monitoring-state": {"disabled"},
			"launch-time": {i.LaunchedAt.UTC().Format("2006-01-02T15:04:05.000Z")}}, i.Tags)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, i)
		}
	}
	return out, nil
}

func lifecycle(i *Instance) []string {
	if i.Spot {
		return []string{"spot"}
	}
	return nil
}

func (s *Service) describe(_ context.Context, in *ec2api.DescribeInstancesInput) (*ec2api.DescribeInstancesOutput, error) {
	out := &ec2api.DescribeInstancesOutput{Reservations: []ec2api.Reservation{}}
	return out, s.db.View(func(tx *state.Tx) error {
		all, err := s.matching(tx, in.InstanceIds, in.Filters)
		if err != nil {
			return err
		}
		some, next := page(all, func(i *Instance) string { return i.ID }, in.NextToken, pageSize(in.MaxResults))
		for _, i := range some {
			out.Reservations = append(out.Reservations, ec2api.Reservation{ReservationId: wire.Ptr("r-" + i.ID[2:]), OwnerId: &s.account, Instances: []ec2api.Instance{s.api(tx, i)}})
		}
		out.NextToken = next
		return nil
	})
}

func (s *Service) status(_ context.Context, in *ec2api.DescribeInstanceStatusInput) (*ec2api.DescribeInstanceStatusOutput, error) {
	out := &ec2api.DescribeInstanceStatusOutput{InstanceStatuses: []ec2api.InstanceStatus{}}
	return out, s.db.View(func(tx *state.Tx) error {
		all, err := s.matching(tx, in.InstanceIds, in.Filters)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(i *Instance) bool { return i.State != "running" && !wire.Value(in.IncludeAllInstances) })
		some, next := page(all, func(i *Instance) string { return i.ID }, in.NextToken, pageSize(in.MaxResults))
		for _, i := range some {
			health := &ec2api.InstanceStatusSummary{Status: wire.Ptr("ok"), Details: []ec2api.InstanceStatusDetails{{Name: wire.Ptr("reachability"), Status: wire.Ptr("passed")}}}
			if i.State != "running" {
				health = &ec2api.InstanceStatusSummary{Status: wire.Ptr("not-applicable")}
			}
			out.InstanceStatuses = append(out.InstanceStatuses, ec2api.InstanceStatus{InstanceId: &i.ID, AvailabilityZone: &i.AZ, InstanceState: stateAPI(i.State), InstanceStatus: health, SystemStatus: health})
		}
		out.NextToken = next
		return nil
	})
}

func (s *Service) terminate(_ context.Context, in *ec2api.TerminateInstancesInput) (*ec2api.TerminateInstancesOutput, error) {
	out := &ec2api.TerminateInstancesOutput{TerminatingInstances: []ec2api.InstanceStateChange{}}
	return out, s.db.Update(func(tx *state.Tx) error {
		if _, err := s.matching(tx, in.InstanceIds, nil); err != nil {
			return err
		}
		for _, id := range in.InstanceIds {
			before, _ := s.instances.Get(tx, id)
			s.Terminate(tx, id, "Client.UserInitiatedShutdown")
			after, _ := s.instances.Get(tx, id)
			out.TerminatingInstances = append(out.TerminatingInstances, ec2api.InstanceStateChange{InstanceId: wire.Ptr(id), PreviousState: stateAPI(before.State), CurrentState: stateAPI(after.State)})
		}
		return nil
	})
}

var imagesSince = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)

func (s *Service) images(_ context.Context, in *ec2api.DescribeImagesInput) (*ec2api.DescribeImagesOutput, error) {
	out := &ec2api.DescribeImagesOutput{Images: []ec2api.Image{}}
	for _, im := range [][3]string{
		{"ami-0510ca10ca10ca230", "al2023-ami-ecs-hvm-2023-x86_64", "x86_64"}, {"ami-0510ca10ca10ca231", "al2023-ami-ecs-hvm-2023-arm64", "arm64"},
		{"ami-0510ca10ca10ca020", "amzn2-ami-ecs-hvm-x86_64", "x86_64"}, {"ami-0510ca10ca10ca021", "amzn2-ami-ecs-hvm-arm64", "arm64"}, {"ami-0510ca10ca10ca0b0", "bottlerocket-aws-ecs-x86_64", "x86_64"},
	} {
		if len(in.ImageIds) > 0 && !slices.Contains(in.ImageIds, im[0]) {
			continue
		}
		ok, err := filter(in.Filters, map[string][]string{"image-id": {im[0]}, "name": {im[1]}, "architecture": {im[2]}, "state": {"available"}, "owner-alias": {"amazon"}, "virtualization-type": {"hvm"}, "root-device-type": {"ebs"}}, nil)
		if err != nil {
			return nil, err
		}
		if ok {
			out.Images = append(out.Images, ec2api.Image{ImageId: wire.Ptr(im[0]), Name: wire.Ptr(im[1]), Architecture: wire.Ptr(im[2]), State: wire.Ptr("available"), ImageType: wire.Ptr("machine"), Public: wire.Ptr(true),
				OwnerId: wire.Ptr("591542846629"), ImageOwnerAlias: wire.Ptr("amazon"), RootDeviceName: wire.Ptr("/dev/xvda"), RootDeviceType: wire.Ptr("ebs"), VirtualizationType: wire.Ptr("hvm"),
				CreationDate: wire.Ptr(imagesSince.Format("2006-01-02T15:04:05.000Z"))})
		}
	}
	if len(in.ImageIds) > 0 && len(out.Images) == 0 {
		return nil, wire.Errorf("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", in.ImageIds[0])
	}
	return out, nil
}

// Subnets are the subnets of the VPC.
func (s *Service) Subnets(tx *state.Tx) []Subnet { return s.net(tx).Subnets }

// ZoneOf is the zone and the VPC of a subnet.
func (s *Service) ZoneOf(tx *state.Tx, subnet string) (zone, vpc string, ok bool) {
	n := s.net(tx)
	sub, ok := n.subnet(subnet)
	return sub.AZ, n.VPC, ok
}

// Subnet is the zone and the addresses of a subnet.
func (s *Service) Subnet(tx *state.Tx, id string) (zone string, cidr netip.Prefix, ok bool) {
	sub, ok := s.net(tx).subnet(id)
	if !ok {
		return "", netip.Prefix{}, false
	}
	cidr, err := netip.ParsePrefix(sub.CIDR)
	return sub.AZ, cidr, err == nil
}
