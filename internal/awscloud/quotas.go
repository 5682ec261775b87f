package awscloud

import (
	"context"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// servicesPerCluster is the default; ECS tells no account's own limit.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
const servicesPerCluster = 5000

// Quotas asks the services themselves, which tell the account's own limits to whoever may read there
// at all; Service Quotas is another permission that few have.
func (s surroundings) Quotas(ctx context.Context, cluster string) []deploy.Quota {
	groups, rules := s.balancerQuotas(ctx)
	return []deploy.Quota{groups, rules, s.roleQuota(ctx), s.serviceQuota(ctx, cluster)}
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeAccountLimits.html
func (s surroundings) balancerQuotas(ctx context.Context) (groups, rules deploy.Quota) {
	groups, rules = deploy.Quota{Name: deploy.QuotaTargetGroups}, deploy.Quota{Name: deploy.QuotaRules}
	api, limits := elb.NewFromConfig(s.cfg), map[string]int{}
	pages := elb.NewDescribeAccountLimitsPaginator(api, &elb.DescribeAccountLimitsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			groups.Err, rules.Err = err, err
			return groups, rules
		}
		for _, l := range page.Limits {
			if n, err := strconv.Atoi(aws.ToString(l.Max)); err == nil {
				limits[aws.ToString(l.Name)] = n
			}
		}
	}
	const defaultGroups, defaultRules = 3000, 100
	set := func(q *deploy.Quota, name string, fallback int) {
		if q.Limit = limits[name]; q.Limit == 0 {
			q.Limit, q.Default = fallback, true
		}
	}
	set(&groups, "target-groups", defaultGroups)
	set(&rules, "rules-per-application-load-balancer", defaultRules)
	all := elb.NewDescribeTargetGroupsPaginator(api, &elb.DescribeTargetGroupsInput{PageSize: aws.Int32(400)})
	for all.HasMorePages() {
		page, err := all.NextPage(ctx)
		if err != nil {
			groups.Err = err
			break
		}
		groups.Used += len(page.TargetGroups)
	}
	return groups, rules
}

// https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccountSummary.html
func (s surroundings) roleQuota(ctx context.Context) deploy.Quota {
	q := deploy.Quota{Name: deploy.QuotaRoles}
	out, err := iam.NewFromConfig(s.cfg).GetAccountSummary(ctx, &iam.GetAccountSummaryInput{})
	if err != nil {
		q.Err = err
		return q
	}
	q.Used, q.Limit = int(out.SummaryMap["Roles"]), int(out.SummaryMap["RolesQuota"])
	return q
}

func (s surroundings) serviceQuota(ctx context.Context, cluster string) deploy.Quota {
	q := deploy.Quota{Name: deploy.QuotaServices, Limit: servicesPerCluster, Default: true}
	out, err := ecs.NewFromConfig(s.cfg).DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{cluster}})
	if err != nil {
		q.Err = err
	} else if len(out.Clusters) > 0 {
		q.Used = int(out.Clusters[0].ActiveServicesCount)
	}
	return q
}
