package awscloud

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// servicesPerCluster is the default; ECS tells no account's own limit.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html
const servicesPerCluster = 5000

// Quotas asks the services themselves, which tell the account's own limits to whoever may read there at all.
// Only Service Quotas knows Fargate's.
func (s surroundings) Quotas(ctx context.Context, cluster string, fargate bool) []deploy.Quota {
	groups, rules := s.balancerQuotas(ctx)
	all := []deploy.Quota{groups, rules, s.roleQuota(ctx), s.serviceQuota(ctx, cluster)}
	if fargate {
		all = append(all, s.fargateQuota(ctx, deploy.QuotaFargate, "L-3032A538"), s.fargateQuota(ctx, deploy.QuotaFargateSpot, "L-36FBB829"))
	}
	return all
}

// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeAccountLimits.html
func (s surroundings) balancerQuotas(ctx context.Context) (groups, rules deploy.Quota) {
	groups, rules = deploy.Quota{Name: deploy.QuotaTargetGroups}, deploy.Quota{Name: deploy.QuotaRules}
	api, limits := elb.NewFromConfig(s.cfg), map[string]float64{}
	pages := elb.NewDescribeAccountLimitsPaginator(api, &elb.DescribeAccountLimitsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			groups.Err, rules.Err = err, err
			return groups, rules
		}
		for _, l := range page.Limits {
			if n, err := strconv.Atoi(aws.ToString(l.Max)); err == nil {
				limits[aws.ToString(l.Name)] = float64(n)
			}
		}
	}
	const defaultGroups, defaultRules = 3000, 100
	set := func(q *deploy.Quota, name string, fallback float64) {
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
		groups.Used += float64(len(page.TargetGroups))
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
	q.Used, q.Limit = float64(out.SummaryMap["Roles"]), float64(out.SummaryMap["RolesQuota"])
	return q
}

func (s surroundings) serviceQuota(ctx context.Context, cluster string) deploy.Quota {
	q := deploy.Quota{Name: deploy.QuotaServices, Limit: servicesPerCluster, Default: true}
	out, err := ecs.NewFromConfig(s.cfg).DescribeClusters(ctx, &ecs.DescribeClustersInput{Clusters: []string{cluster}})
	if err != nil {
		q.Err = err
	} else if len(out.Clusters) > 0 {
		q.Used = float64(out.Clusters[0].ActiveServicesCount)
	}
	return q
}

// fargateQuota is a quota of vCPUs. CloudWatch tells what is taken, in the metric that Service Quotas names;
// where there is none yet nothing is taken.
//
// https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/monitoring-fargate-usage.html
func (s surroundings) fargateQuota(ctx context.Context, name, code string) deploy.Quota {
	q := deploy.Quota{Name: name}
	out, err := servicequotas.NewFromConfig(s.cfg).GetServiceQuota(ctx, &servicequotas.GetServiceQuotaInput{ServiceCode: aws.String("fargate"), QuotaCode: &code})
	if err == nil && (out.Quota == nil || out.Quota.Value == nil) {
		err = fmt.Errorf("Service Quotas tells no value of %s", code)
	}
	if err != nil {
		q.Err = err
		return q
	}
	q.Limit = *out.Quota.Value
	m := out.Quota.UsageMetric
	if m == nil {
		q.Err = fmt.Errorf("it is %g, and Service Quotas does not tell how much is taken", q.Limit)
		return q
	}
	var dims []cwtypes.Dimension
	for k, v := range m.MetricDimensions {
		dims = append(dims, cwtypes.Dimension{Name: &k, Value: &v})
	}
	now := s.Clock.Now()
	got, err := cloudwatch.NewFromConfig(s.cfg).GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: m.MetricNamespace, MetricName: m.MetricName, Dimensions: dims, StartTime: aws.Time(now.Add(-15 * time.Minute)), EndTime: aws.Time(now.Add(time.Minute)),
		Period: aws.Int32(60), Statistics: []cwtypes.Statistic{cwtypes.StatisticMaximum},
	})
	if err != nil {
		q.Err = err
		return q
	}
	var last time.Time
	for _, p := range got.Datapoints {
		if p.Timestamp != nil && p.Timestamp.After(last) && p.Maximum != nil {
			last, q.Used = *p.Timestamp, *p.Maximum
		}
	}
	return q
}
