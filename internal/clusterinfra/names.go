package clusterinfra

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// TagCluster marks what was made for a cluster; TagListener names a listener, TagGroup a group of instances.
const (
	TagCluster  = "slipway:cluster"
	TagListener = "slipway:listener"
	TagGroup    = "slipway:group"
)

// names are of what is made for a cluster, and for one of its groups of instances; the main one has no name.
type names struct{ cluster, part string }

// own is the cluster's name with the group's. No dot: capacity providers can have none.
func (n names) own() string {
	if n.part == "" {
		return n.cluster
	}
	return n.cluster + "_" + n.part
}

func (n names) template() string      { return "slipway-" + n.own() }
func (n names) group() string         { return "slipway-" + n.own() }
func (n names) provider() string      { return "slipway-" + n.own() }
func (n names) instanceGroup() string { return "slipway-" + n.own() + "-instances" }
func (n names) role() string          { return bounded("slipway-"+n.cluster+"-instances", 64) }
func (n names) balancer() string      { return bounded("slipway-"+n.cluster, 32) }
func (n names) balancerGroup() string { return "slipway-" + n.cluster + "-balancer" }
func (n names) logGroup() string      { return "/slipway/" + n.cluster }

// bounded shortens a name that is too long, and makes up for it with a digest.
func bounded(name string, limit int) string {
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(name[:limit-9], "-") + "-" + hex.EncodeToString(sum[:4])
}

func tagged(s Spec) map[string]string {
	tags := maps.Clone(s.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	tags[TagCluster] = s.Name
	return tags
}

// part is one group of instances of a spec.
type part struct {
	names
	i Instances
}

// parts are the spec's groups, the main one first.
func (s Spec) parts() []part {
	var out []part
	if s.Instances != nil {
		out = append(out, part{names{cluster: s.Name}, *s.Instances})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Groups)) {
		out = append(out, part{names{s.Name, name}, s.Groups[name]})
	}
	return out
}

// owned says whether something was made for the cluster, and not given.
func owned(tags map[string]string, cluster string) bool { return tags[TagCluster] == cluster }

// userData configures the agent, then runs what the user gave. Tasks find a group that has a name by its
// instances' attribute slipway.group.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html
func userData(n names, more string) string {
	text := `#!/bin/bash
cat >> /etc/ecs/ecs.config <<'CONFIG'
ECS_CLUSTER=` + n.cluster + `
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
ECS_ENABLE_TASK_IAM_ROLE=true
ECS_ENABLE_TASK_IAM_ROLE_NETWORK_HOST=true
ECS_AWSVPC_BLOCK_IMDS=true
ECS_ENABLE_CONTAINER_METADATA=true
ECS_AVAILABLE_LOGGING_DRIVERS=["json-file","awslogs"]
`
	if n.part != "" {
		text += `ECS_INSTANCE_ATTRIBUTES={"slipway.group":"` + n.part + "\"}\n"
	}
	text += "CONFIG\n"
	if more = strings.TrimSpace(more); more != "" {
		text += more + "\n"
	}
	return text
}

// The ECS-optimized Amazon Linux 2023 AMIs.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/retrieve-ecs-optimized_AMI.html
func amiParameter(architecture string) string {
	if architecture == "arm64" {
		return "/aws/service/ecs/optimized-ami/amazon-linux-2023/arm64/recommended/image_id"
	}
	return "/aws/service/ecs/optimized-ami/amazon-linux-2023/recommended/image_id"
}

// architectureOf tells by the type's name: processors of AWS's own carry a g after the generation.
func architectureOf(i Instances) string {
	if i.Architecture != "" {
		return strings.ToLower(i.Architecture)
	}
	family, _, _ := strings.Cut(i.Type, ".")
	digit := strings.IndexAny(family, "0123456789")
	if family == "a1" || digit >= 0 && strings.HasPrefix(strings.TrimLeft(family[digit:], "0123456789"), "g") && !strings.HasPrefix(family, "g") {
		return "arm64"
	}
	return "x86_64"
}

const instanceTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// The agent's own permissions, and sessions through SSM instead of SSH keys.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/instance_IAM_role.html
var instancePolicies = []string{
	"arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role",
	"arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
}

// RefusedError is a spec that cannot be made as it is written.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

func refuse(format string, args ...any) error { return &RefusedError{fmt.Sprintf(format, args...)} }

// mostTypes is how many types a group may have.
// https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_LaunchTemplate.html
const mostTypes = 40

var partName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

func (i Instances) check(where string) error {
	switch {
	case i.Type == "":
		return refuse("%s: instances need a type", where)
	case i.Min < 0 || i.Max < i.Min || i.Max == 0:
		return refuse("%s: instances need 0 ≤ min ≤ max and max ≥ 1, not min %d and max %d", where, i.Min, i.Max)
	case i.Desired != 0 && (i.Desired < i.Min || i.Desired > i.Max):
		return refuse("%s: %d instances are not between min %d and max %d", where, i.Desired, i.Min, i.Max)
	case i.SpotPercent < 0 || i.SpotPercent > 100:
		return refuse("%s: spot_percent is %d; it goes from 0 to 100", where, i.SpotPercent)
	case i.OnDemandBase < 0:
		return refuse("%s: on_demand_base is %d; it cannot be below 0", where, i.OnDemandBase)
	case len(i.OtherTypes) >= mostTypes:
		return refuse("%s: a group has at most %d types", where, mostTypes)
	}
	for k, t := range i.OtherTypes {
		switch other := architectureOf(Instances{Type: t}); {
		case t == i.Type || slices.Contains(i.OtherTypes[:k], t):
			return refuse("%s: type %s is named twice", where, t)
		case other != architectureOf(i):
			return refuse("%s: %s is %s, but %s is %s; a group has one image, so one architecture", where, t, other, i.Type, architectureOf(i))
		}
	}
	return nil
}

func (s Spec) check() error {
	if s.Name == "" {
		return refuse("the cluster has no name")
	}
	for _, g := range s.parts() {
		where := "cluster " + s.Name
		if g.part != "" {
			where += ", group " + g.part
		}
		if g.part != "" && !partName.MatchString(g.part) {
			return refuse("%s: the name begins with a letter and has up to 32 small letters, digits and hyphens", where)
		}
		if err := g.i.check(where); err != nil {
			return err
		}
	}
	if err := s.AlarmTopic.check("cluster " + s.Name); err != nil {
		return err
	}
	if s.Balancer == nil {
		return nil
	}
	ports := map[int]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Balancer.Listeners)) {
		l := s.Balancer.Listeners[name]
		switch {
		case l.Port < 1 || l.Port > 65535:
			return refuse("cluster %s: listener %s has port %d: 1 to 65535 are allowed", s.Name, name, l.Port)
		case ports[l.Port] != "":
			return refuse("cluster %s: listeners %s and %s have the same port %d", s.Name, ports[l.Port], name, l.Port)
		case l.Protocol == "HTTPS" && l.Certificate == "":
			return refuse("cluster %s: listener %s is HTTPS and needs a certificate", s.Name, name)
		case l.Protocol != "" && l.Protocol != "HTTP" && l.Protocol != "HTTPS":
			return refuse("not supported: listener %s of protocol %s; use HTTP or HTTPS", name, l.Protocol)
		}
		ports[l.Port] = name
	}
	return nil
}
