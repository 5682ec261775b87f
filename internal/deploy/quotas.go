package deploy

import (
	"context"
	"encoding/json"
	"fmt"
)

// Quota is how much the account, or the cluster, has of something, and how much of it is taken.
type Quota struct {
	Name        string // QuotaTargetGroups, …
	Used, Limit int
	Default     bool  // AWS does not say the account's own limit here: it is the default, which may have been raised
	Err         error // it cannot be asked
}

// The quotas that Surroundings tell of.
const (
	QuotaTargetGroups = "target groups of the account"
	QuotaRules        = "rules of a load balancer"
	QuotaRoles        = "IAM roles of the account"
	QuotaServices     = "services of the cluster"
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
	need := map[string]int{QuotaTargetGroups: groups, QuotaRoles: roles, QuotaServices: services, QuotaRules: rules}
	for _, q := range f.s.Quotas(ctx, f.d.ref.Cluster) {
		n := need[q.Name]
		if q.Name == QuotaRules {
			q.Used = len(f.o.live)
		}
		kind := "limit"
		if q.Default {
			kind = "default limit"
		}
		switch {
		case n == 0:
			continue
		case q.Err != nil:
			f.unknown("quota", q.Name, "%s", firstLine(q.Err.Error()))
		case q.Used+n > q.Limit && q.Default:
			f.unknown("quota", q.Name, "%d are taken, %d more are needed, and the %s is %d; see Service Quotas whether the account's is higher", q.Used, n, kind, q.Limit)
		case q.Used+n > q.Limit:
			f.fault("quota", q.Name, "Delete unused ones, or have the quota raised (Service Quotas).", "%d are taken, %d more are needed, and the %s is %d", q.Used, n, kind, q.Limit)
		default:
			f.good("quota", q.Name, "%d of %d are taken, %d more are needed", q.Used, q.Limit, n)
		}
	}
	return nil
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
