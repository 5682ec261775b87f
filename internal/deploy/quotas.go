package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Quota is how much the account, or the cluster, has of something, and how much of it is taken.
type Quota struct {
	Name        string // QuotaTargetGroups, …
	Used, Limit float64
	Default     bool  // AWS does not say the account's own limit here: it is the default, which may have been raised
	Err         error // it cannot be asked
}

// The quotas that Surroundings tell of.
const (
	QuotaTargetGroups = "target groups of the account"
	QuotaRules        = "rules of a load balancer"
	QuotaRoles        = "IAM roles of the account"
	QuotaServices     = "services of the cluster"
	QuotaFargate      = "vCPUs of Fargate on demand"
	QuotaFargateSpot  = "vCPUs of Fargate Spot"
)

// Limits that cannot be raised, or only by AWS for good reasons.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
const (
	tasksPerService      = 5000
	tasksPerFoundService = 1000 // with service discovery or Service Connect
	containersPerTask    = 10
	definitionBytes      = 64 << 10
	subnetsPerService    = 16
	groupsPerService     = 5 // security groups
)

// quotas holds what a deployment would add against what is left.
func (f *preflight) quotas(ctx context.Context) error {
	f.hardLimits()
	groups, roles, services, rules := 0, 0, 0, 0
	for _, tg := range f.d.groups() {
		if f.o.targetGroup(tg.Name) == nil {
			groups++
		}
	}
	for _, r := range [][2]*Role{{f.d.executionRole, f.o.executionRole}, {f.d.taskRole, f.o.taskRole}, {f.d.trafficRole, f.o.trafficRole}, {f.d.volumeRole, f.o.volumeRole}, {f.d.scheduleRole, f.o.scheduleRole}} {
		if r[0] != nil && r[1] == nil {
			roles++
		}
	}
	if f.d.service != nil && f.o.service == nil {
		services++
	}
	if f.d.rule != nil && f.o.rule(f.d.rule.Listener) == nil {
		rules++
	}
	onDemand, spot := f.fargate()
	need := map[string]float64{QuotaTargetGroups: float64(groups), QuotaRoles: float64(roles), QuotaServices: float64(services), QuotaRules: float64(rules), QuotaFargate: onDemand, QuotaFargateSpot: spot}
	for _, q := range f.s.Quotas(ctx, f.d.ref.Cluster, f.d.definition.LaunchType == "FARGATE") {
		n := need[q.Name]
		if q.Name == QuotaRules {
			q.Used = float64(len(f.o.live))
		}
		kind := "limit"
		if q.Default {
			kind = "default limit"
		}
		fix := "Stop or delete unused ones, or have the quota raised (Service Quotas)."
		if q.Name == QuotaFargate || q.Name == QuotaFargateSpot {
			fix = "Lower count or cpu, stop what is not needed, or have the quota raised (Service Quotas, AWS Fargate)."
		}
		switch {
		case n == 0:
			continue
		case q.Err != nil:
			f.unknown("quota", q.Name, "%s", firstLine(q.Err.Error()))
		case q.Used+n > q.Limit && q.Default:
			f.unknown("quota", q.Name, "%g are taken, %g more are needed, and the %s is %g; see Service Quotas whether the account's is higher", q.Used, n, kind, q.Limit)
		case q.Used+n > q.Limit:
			f.fault("quota", q.Name, fix, "%g are taken, %g more are needed, and the %s is %g", q.Used, n, kind, q.Limit)
		default:
			f.good("quota", q.Name, "%g of %g are taken, %g more are needed", q.Used, q.Limit, n)
		}
	}
	return nil
}

// fargate is how many vCPUs a deployment takes on Fargate beyond what the service runs now.
func (f *preflight) fargate() (onDemand, spot float64) {
	if f.d.definition.LaunchType != "FARGATE" {
		return 0, 0
	}
	more, s := 1, f.d.service // a job's task
	var strategy []service.CapacityProviderStrategy
	if s != nil {
		strategy = s.CapacityProvider
		if more = s.Desired; f.o.service != nil {
			most := s.Desired * s.Maximum / 100
			if s.Strategy != "ROLLING" {
				most = 2 * s.Desired // all that is new beside all that is old
			}
			more = max(0, most-f.o.service.Running-f.o.service.Pending)
		}
	}
	onSpot := spotOf(strategy, more)
	each := float64(f.request().CPU) / 1024
	return each * float64(more-onSpot), each * float64(onSpot)
}

// spotOf is how many of n tasks a strategy puts on Fargate Spot: the base first, the rest by weight.
func spotOf(strategy []service.CapacityProviderStrategy, n int) int {
	on := func(p service.CapacityProviderStrategy) float64 {
		if p.Name == "FARGATE_SPOT" {
			return 1
		}
		return 0
	}
	spot, weight, spotWeight := 0.0, 0.0, 0.0
	for _, p := range strategy {
		base := min(p.Base, n)
		n -= base
		spot += on(p) * float64(base)
		weight += float64(p.Weight)
		spotWeight += on(p) * float64(p.Weight)
	}
	switch {
	case weight > 0:
		spot += float64(n) * spotWeight / weight
	case len(strategy) == 1:
		spot += float64(n) * on(strategy[0])
	}
	return int(math.Ceil(spot))
}

func (f *preflight) hardLimits() {
	over := func(subject, fix string, n, limit int) {
		if n > limit {
			f.fault("quota", subject, fix, "%d, and ECS takes %d", n, limit)
		}
	}
	containers := len(f.d.definition.Containers)
	if f.d.definition.Router != nil {
		containers++
	}
	over("containers of a task", "Take sidecars out.", containers, containersPerTask)
	if data, err := json.Marshal(f.d.definition); err == nil { // ECS's own form is longer: what is too long here is too long there
		over("bytes of the task definition", "Put long variables into an environment file in S3, or into a parameter.", len(data), definitionBytes)
	}
	s := f.d.service
	if s == nil {
		return
	}
	most := s.Desired
	if f.d.scaling != nil {
		most = max(most, f.d.scaling.Max)
	}
	limit, what := tasksPerService, "tasks of the service"
	if f.d.registry != nil || f.d.connect != nil {
		limit, what = tasksPerFoundService, "tasks of a service with discovery"
	}
	over(what, fmt.Sprintf("Lower count or scaling.max to %d.", limit), most, limit)
	over("subnets", "Name fewer under network.subnets.", len(s.Subnets), subnetsPerService)
	over("security groups", "Name fewer under network.security_groups.", len(s.SecurityGroups), groupsPerService)
}
