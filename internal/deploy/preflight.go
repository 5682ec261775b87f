package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	pack "github.com/slipway-ecs/slipway/internal/placement"
)

// Finding is what a look before a deployment has found out about one thing.
type Finding struct {
	Check   string // image, role, secret, network, listener, capacity, log group, …
	Subject string
	State   string // good, fault, unknown
	Says    string
	Fix     string // of a fault
}

// The states of a finding.
const (
	Good    = "good"
	Fault   = "fault"
	Unknown = "unknown" // could not be checked; Says tells why
)

// Surroundings are what a Preflight looks at beside the engine's ports.
type Surroundings interface {
	// Platforms of an image, such as linux/amd64; ErrNotFound.
	Platforms(ctx context.Context, image string) ([]string, error)
	// SecretExists returns ErrNotFound for a parameter or secret (as in valueFrom) that is not there. Its value is not read.
	SecretExists(ctx context.Context, valueFrom string) error
	// Networks returns the VPC of each subnet and security group that exists.
	Networks(ctx context.Context, ids []string) (map[string]string, error)
	// Denied returns what of the actions a role may not do with a resource; ErrForbidden or ErrUnavailable where that cannot be asked.
	Denied(ctx context.Context, role string, actions []string, resource string) ([]string, error)
	// Instances are the cluster's container instances with what runs on them.
	Instances(ctx context.Context, cluster string) ([]*pack.Instance, error)
	// Quotas are those that a deployment may meet, with Fargate's if it runs there.
	Quotas(ctx context.Context, cluster string, fargate bool) []Quota
}

// ErrUnavailable is what this endpoint does not offer.
var ErrUnavailable = errors.New("not available here")

// Preflight looks, changing nothing, whether a target could be deployed, and returns everything it found.
func (e *Engine) Preflight(ctx context.Context, t Target, s Surroundings) ([]Finding, error) {
	f := &preflight{Engine: e, t: t, s: s}
	d, o, lb, err := e.look(ctx, t)
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		f.fault("definition", t.Spec.Name, "Correct slipway.yaml.", "%s", refused.Reason)
		return f.all, nil
	case errors.Is(err, ErrNotFound) && lb == nil && t.Infra.Listener != "":
		f.fault("listener", t.Infra.Listener, "Name a listener that exists in route.listener.", "the listener does not exist")
		return f.all, nil
	case err != nil:
		return f.all, err
	}
	f.d, f.o = d, o
	for _, look := range []func(context.Context) error{f.images, f.roles, f.secrets, f.network, f.listener, f.targets, f.logs, f.quotas, f.capacity} {
		if err := look(ctx); err != nil {
			return f.all, err
		}
	}
	return f.all, nil
}

type preflight struct {
	*Engine
	t   Target
	s   Surroundings
	d   desired
	o   observed
	all []Finding
}

func (f *preflight) good(check, subject, says string, args ...any) {
	f.all = append(f.all, Finding{Check: check, Subject: subject, State: Good, Says: fmt.Sprintf(says, args...)})
}

func (f *preflight) unknown(check, subject, says string, args ...any) {
	f.all = append(f.all, Finding{Check: check, Subject: subject, State: Unknown, Says: "not checked: " + fmt.Sprintf(says, args...)})
}

func (f *preflight) fault(check, subject, fix, says string, args ...any) {
	f.all = append(f.all, Finding{Check: check, Subject: subject, State: Fault, Says: fmt.Sprintf(says, args...), Fix: fix})
}

func (f *preflight) images(ctx context.Context) error {
	want := map[string]string{"ARM64": "linux/arm64", "X86_64": "linux/amd64", "": "linux/amd64"}[f.d.definition.Architecture]
	for _, c := range f.d.definition.Containers {
		have, err := f.s.Platforms(ctx, c.Image)
		switch {
		case errors.Is(err, ErrNotFound):
			f.fault("image", c.Image, "Push it (slipway build --push), or correct its name.", "it is not in its registry")
		case err != nil:
			f.unknown("image", c.Image, "%v", err)
		case len(have) > 0 && want != "" && !slices.ContainsFunc(have, func(p string) bool { return p == want || strings.HasPrefix(p, want+"/") }):
			f.fault("image", c.Image, "Build it for "+want+", or set architecture to what it is built for.", "it is for %s; the service's architecture needs %s", strings.Join(have, ", "), want)
		default:
			f.good("image", c.Image, "is there, for %s", strings.Join(have, ", "))
		}
	}
	return nil
}

func (f *preflight) roles(ctx context.Context) error {
	for _, x := range []struct {
		kind, arn string
		own       *Role
	}{{resExecutionRole, f.d.definition.ExecutionRole, f.d.executionRole}, {resTaskRole, f.d.definition.TaskRole, f.d.taskRole}} {
		name := x.arn[strings.LastIndexByte(x.arn, '/')+1:]
		switch {
		case x.arn == "":
		case x.own != nil:
			f.good(x.kind, name, "is kept by the deployment, with just what is needed")
		default:
			role, err := found(f.ports.Roles.Role(ctx, name))
			switch {
			case err != nil:
				f.unknown(x.kind, name, "%v", err)
			case role == nil:
				f.fault(x.kind, name, "Correct its ARN, or leave it out: then the service gets one of its own.", "the role does not exist")
			case !trusts(role.Trust, "ecs-tasks.amazonaws.com"):
				f.fault(x.kind, name, "Let ecs-tasks.amazonaws.com assume it: sts:AssumeRole in its trust policy.", "ECS may not assume the role")
			default:
				f.good(x.kind, name, "is there, and ECS may assume it")
			}
		}
	}
	return nil
}

// trusts says whether a trust policy lets a service assume the role.
func trusts(policy, principal string) bool {
	var doc struct {
		Statement []struct {
			Effect    string
			Principal any
		}
	}
	if json.Unmarshal([]byte(policy), &doc) != nil {
		return false
	}
	return slices.ContainsFunc(doc.Statement, func(s struct {
		Effect    string
		Principal any
	}) bool {
		text, err := json.Marshal(s.Principal)
		return err == nil && s.Effect == "Allow" && strings.Contains(string(text), `"`+principal+`"`)
	})
}

func (f *preflight) secrets(ctx context.Context) error {
	for _, c := range f.d.definition.Containers {
		for _, variable := range slices.Sorted(maps.Keys(c.Secrets)) {
			from := c.Secrets[variable]
			switch err := f.s.SecretExists(ctx, from); {
			case errors.Is(err, ErrNotFound):
				f.fault("secret", variable, "Create it, or correct its name under secrets.", "%s does not exist", from)
				continue
			case err != nil:
				f.unknown("secret", variable, "%v", err)
				continue
			}
			if f.d.executionRole != nil {
				f.good("secret", variable, "%s is there; the execution role that is kept for the service may read it", from)
				continue
			}
			action, resource := "ssm:GetParameters", from
			if strings.Contains(from, ":secretsmanager:") {
				action = "secretsmanager:GetSecretValue"
			} else if !strings.HasPrefix(from, "arn:") {
				resource = f.t.Infra.arn("ssm", "parameter/"+strings.TrimPrefix(from, "/"))
			}
			denied, err := f.s.Denied(ctx, f.d.definition.ExecutionRole, []string{action}, resource)
			switch {
			case err != nil:
				f.unknown("secret", variable, "%s is there; whether the execution role may read it cannot be asked (%s)", from, firstLine(err.Error()))
			case len(denied) > 0:
				f.fault("secret", variable, "Allow "+action+" on "+resource+" in the execution role.", "the execution role may not read %s", from)
			default:
				f.good("secret", variable, "%s is there, and the execution role may read it", from)
			}
		}
	}
	return nil
}

func (f *preflight) network(ctx context.Context) error {
	if f.d.service == nil || f.d.definition.NetworkMode != "awsvpc" {
		return nil
	}
	ids := append(slices.Clone(f.d.service.Subnets), f.d.service.SecurityGroups...)
	if len(f.d.service.Subnets) == 0 {
		f.fault("network", "subnets", "Give network.subnets, or let slipway_cluster know them.", "tasks in awsvpc mode need subnets, and there are none")
	}
	if len(ids) == 0 {
		return nil
	}
	vpcs, err := f.s.Networks(ctx, ids)
	if err != nil {
		f.unknown("network", strings.Join(ids, ", "), "%v", err)
		return nil
	}
	want := ""
	if f.d.targetGroup != nil {
		want = f.d.targetGroup.VPC
	}
	for _, id := range ids {
		vpc, ok := vpcs[id]
		switch {
		case !ok:
			f.fault("network", id, "Correct network.subnets or network.security_groups.", "it does not exist")
		case want != "" && vpc != want:
			f.fault("network", id, "Use one of VPC "+want+".", "it is in VPC %s, the load balancer's target group in %s", vpc, want)
		default:
			want = vpc
			f.good("network", id, "is in VPC %s", vpc)
		}
	}
	return nil
}

// rulesPerBalancer is the quota that fills up first.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
const rulesPerBalancer = 100

func (f *preflight) listener(context.Context) error {
	if f.d.rule == nil {
		return nil
	}
	have := f.o.rule(f.d.rule.Listener)
	priority, err := allocate(f.o.live, *f.d.rule, have)
	switch {
	case err != nil:
		f.fault("listener", f.t.Spec.Route.Listener, "Use another listener, other hosts or paths, or have the quota raised.", "%v", err)
	case have != nil:
		f.good("listener", f.t.Spec.Route.Listener, "has the service's rule, at priority %d", have.Priority)
	default:
		f.good("listener", f.t.Spec.Route.Listener, "has a place for the rule, at priority %d (%d of %d rules are used)", priority, len(f.o.live), rulesPerBalancer)
	}
	return nil
}

func (f *preflight) targets(context.Context) error {
	if f.d.targetGroup == nil {
		return nil
	}
	lb := f.d.service.LoadBalancers[0]
	for _, c := range f.d.definition.Containers {
		if c.Name != lb.Container {
			continue
		}
		for _, p := range c.Ports {
			if p.Container == lb.Port {
				f.good("target group", f.d.targetGroup.Name, "gets container %s on port %d", lb.Container, lb.Port)
				return nil
			}
		}
		f.fault("target group", f.d.targetGroup.Name, "Set route.port to a port of the container, or add it to its ports.", "container %s does not publish port %d", lb.Container, lb.Port)
		return nil
	}
	f.fault("target group", f.d.targetGroup.Name, "Name a container of the service in route.container.", "there is no container %s", lb.Container)
	return nil
}

func (f *preflight) logs(ctx context.Context) error {
	group := f.d.definition.LogOptions["awslogs-group"]
	switch {
	case group == "":
	case f.d.logGroup != nil:
		f.good(resLogGroup, group, "is kept by the deployment")
	default:
		g, err := found(f.ports.Logs.LogGroup(ctx, group))
		switch {
		case err != nil:
			f.unknown(resLogGroup, group, "%v", err)
		case g == nil:
			f.fault(resLogGroup, group, "Create it, or leave it out: then the service gets one of its own.", "the log group does not exist")
		default:
			f.good(resLogGroup, group, "is there")
		}
	}
	return nil
}

// capacity places the tasks a rolling deployment starts beside the running ones.
func (f *preflight) capacity(ctx context.Context) error {
	d := f.d.definition
	if d.LaunchType == "FARGATE" {
		f.unknown("capacity", f.t.Infra.Cluster, "what capacity Fargate has is AWS's to know")
		return nil
	}
	instances, err := f.s.Instances(ctx, f.d.ref.Cluster)
	if err != nil {
		f.unknown("capacity", f.d.ref.Cluster, "%v", err)
		return nil
	}
	if len(instances) == 0 {
		f.fault("capacity", f.d.ref.Cluster, "Raise the size of the cluster's Auto Scaling group.", "the cluster has no container instances")
		return nil
	}
	need := f.request()
	want, placed := 1, 0
	if f.d.service != nil && !f.d.service.Daemon {
		want = max(1, min(f.d.service.Desired, f.d.service.Desired*f.d.service.Maximum/100-f.d.service.Desired))
	}
	var refusals []pack.Refusal
	for range want {
		at, why, err := pack.Place(&need, instances)
		if err != nil {
			f.fault("capacity", f.d.ref.Cluster, "Correct placement.", "%v", err)
			return nil
		}
		if at == nil {
			refusals = why
			break
		}
		at.Take(&need)
		placed++
	}
	switch {
	case placed == 0:
		f.fault("capacity", f.d.ref.Cluster, "Lower cpu or memory, correct placement, or add instances.", "not one more task fits: %s", fits(refusals))
	case placed < want:
		f.good("capacity", f.d.ref.Cluster, "%d of the %d tasks a deployment would start at once fit now; it takes longer", placed, want)
	default:
		f.good("capacity", f.d.ref.Cluster, "%s more fit", tasks(placed))
	}
	return nil
}

func fits(refusals []pack.Refusal) string {
	if r, ok := pack.Closest(refusals); ok {
		return fmt.Sprintf("%s; the closest, %s: %s", pack.Summary(refusals), r.InstanceID[strings.LastIndexByte(r.InstanceID, '/')+1:], r.Detail)
	}
	return pack.Summary(refusals)
}

// request is what a task asks of an instance.
func (f *preflight) request() pack.Request {
	d := f.d.definition
	r := pack.Request{Resources: pack.Resources{CPU: d.CPU, Memory: d.Memory}, Group: "service:" + f.d.ref.Service}
	var cpu, memory int
	for _, c := range d.Containers {
		cpu += c.CPU
		if c.MemoryReservation > 0 {
			memory += c.MemoryReservation
		} else {
			memory += c.Memory
		}
		for _, p := range c.Ports {
			if p.Host > 0 {
				r.Ports = append(r.Ports, pack.Port{Number: p.Host, Protocol: p.Protocol})
			}
		}
	}
	if r.CPU == 0 {
		r.CPU = cpu
	}
	if r.Memory == 0 {
		r.Memory = memory
	}
	if d.NetworkMode == "awsvpc" {
		r.ENI = 1
	}
	for _, s := range f.t.Spec.Placement.Strategies {
		r.Strategies = append(r.Strategies, pack.Strategy{Type: s.Type, Field: s.Field})
	}
	for _, c := range f.t.Spec.Placement.Constraints {
		r.Constraints = append(r.Constraints, pack.Constraint{Type: c.Type, Expression: c.Expression})
	}
	return r
}
