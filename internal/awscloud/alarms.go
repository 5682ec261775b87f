package awscloud

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

type alarmPort struct{ api *cloudwatch.Client }

// descriptionPrefix is followed by the metric's name in Slipway's terms and what watched gives.
const descriptionPrefix = "Slipway: "

// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
func (p alarmPort) Alarms(ctx context.Context, prefix string) ([]deploy.Alarm, error) {
	pages := cloudwatch.NewDescribeAlarmsPaginator(p.api, &cloudwatch.DescribeAlarmsInput{AlarmNamePrefix: &prefix, AlarmTypes: []types.AlarmType{types.AlarmTypeMetricAlarm}})
	var out []deploy.Alarm
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, a := range page.MetricAlarms {
			text, ours := strings.CutPrefix(aws.ToString(a.AlarmDescription), descriptionPrefix)
			if !ours {
				continue
			}
			metric, mark, marked := strings.Cut(text, " ")
			now := &cloudwatch.PutMetricAlarmInput{Namespace: a.Namespace, MetricName: a.MetricName, Statistic: a.Statistic, ExtendedStatistic: a.ExtendedStatistic, Dimensions: a.Dimensions,
				ComparisonOperator: a.ComparisonOperator, TreatMissingData: a.TreatMissingData, Metrics: a.Metrics, OKActions: a.OKActions, ActionsEnabled: a.ActionsEnabled}
			if marked && mark != watched(now) {
				metric += " (changed)"
			}
			period := aws.ToInt32(a.Period)
			for _, m := range a.Metrics {
				if m.MetricStat != nil {
					period = aws.ToInt32(m.MetricStat.Period)
				}
			}
			out = append(out, deploy.Alarm{Name: aws.ToString(a.AlarmName), Metric: metric, Threshold: aws.ToFloat64(a.Threshold), Periods: int(aws.ToInt32(a.EvaluationPeriods)),
				Period: time.Duration(period) * time.Second, Notify: a.AlarmActions})
		}
	}
	return out, nil
}

// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
func (p alarmPort) PutAlarm(ctx context.Context, w deploy.Alarm) error {
	in := &cloudwatch.PutMetricAlarmInput{AlarmName: &w.Name, AlarmDescription: aws.String(descriptionPrefix + w.Metric), Threshold: &w.Threshold,
		EvaluationPeriods: aws.Int32(int32(w.Periods)), ComparisonOperator: types.ComparisonOperatorGreaterThanThreshold, TreatMissingData: aws.String("notBreaching"),
		AlarmActions: w.Notify, OKActions: w.Notify}
	for _, k := range sortedKeys(w.Tags) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(k), Value: aws.String(w.Tags[k])})
	}
	service := dimensions("ClusterName", lastPart(w.Ref.Cluster), "ServiceName", w.Ref.Service)
	target := dimensions("LoadBalancer", after(w.LoadBalancer, ":loadbalancer/"), "TargetGroup", "targetgroup/"+after(w.TargetGroup, ":targetgroup/"))
	period := secs(w.Period)
	set := func(namespace, metric string, d []types.Dimension) {
		in.Namespace, in.MetricName, in.Dimensions, in.Period = &namespace, &metric, d, period
	}
	switch w.Metric {
	case "cpu", "memory":
		set("AWS/ECS", map[string]string{"cpu": "CPUUtilization", "memory": "MemoryUtilization"}[w.Metric], service)
		in.Statistic = types.StatisticAverage
	case "unhealthy":
		set("AWS/ApplicationELB", "UnHealthyHostCount", target)
		in.Statistic = types.StatisticMaximum
	case "latency-p95":
		set("AWS/ApplicationELB", "TargetResponseTime", target)
		in.ExtendedStatistic = aws.String("p95")
	case "task-churn":
		set("AWS/Events", "TriggeredRules", dimensions("RuleName", w.EventRule))
		in.Statistic = types.StatisticSum
	case "5xx-percent":
		query := func(id, metric string) types.MetricDataQuery {
			return types.MetricDataQuery{Id: &id, ReturnData: aws.Bool(false), MetricStat: &types.MetricStat{Period: period, Stat: aws.String("Sum"),
				Metric: &types.Metric{Namespace: aws.String("AWS/ApplicationELB"), MetricName: &metric, Dimensions: target}}}
		}
		in.Metrics = []types.MetricDataQuery{query("faults", "HTTPCode_Target_5XX_Count"), query("requests", "RequestCount"),
			{Id: aws.String("share"), Expression: aws.String("100 * FILL(faults, 0) / requests"), ReturnData: aws.Bool(true)}}
	default:
		return &deploy.RefusedError{Reason: "not supported: an alarm on " + w.Metric}
	}
	in.ActionsEnabled = aws.Bool(true)
	in.AlarmDescription = aws.String(descriptionPrefix + w.Metric + " " + watched(in))
	_, err := p.api.PutMetricAlarm(ctx, in)
	if is(err, "ValidationError") && says(err, "not supported: ") {
		return fmt.Errorf("%w: %w", deploy.ErrUnavailable, err)
	}
	return err
}

// watched is the same for alarms that look at the same thing in the same way. It is kept in the
// description, so that an alarm that somebody points elsewhere is seen to be another.
func watched(in *cloudwatch.PutMetricAlarmInput) string {
	var b strings.Builder
	stat := func(namespace, metric, stat string, ds []types.Dimension) {
		fmt.Fprintf(&b, "%s %s %s", namespace, metric, stat)
		var pairs []string
		for _, d := range ds {
			pairs = append(pairs, aws.ToString(d.Name)+"="+aws.ToString(d.Value))
		}
		fmt.Fprintln(&b, sorted(pairs))
	}
	stat(aws.ToString(in.Namespace), aws.ToString(in.MetricName), string(in.Statistic)+aws.ToString(in.ExtendedStatistic), in.Dimensions)
	for _, m := range in.Metrics {
		fmt.Fprintln(&b, aws.ToString(m.Id), aws.ToString(m.Expression), m.ReturnData == nil || *m.ReturnData)
		if s := m.MetricStat; s != nil && s.Metric != nil {
			stat(aws.ToString(s.Metric.Namespace), aws.ToString(s.Metric.MetricName), aws.ToString(s.Stat), s.Metric.Dimensions)
		}
	}
	fmt.Fprintln(&b, in.ComparisonOperator, aws.ToString(in.TreatMissingData), sorted(in.OKActions), aws.ToBool(in.ActionsEnabled))
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:4])
}

func dimensions(pairs ...string) (out []types.Dimension) {
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, types.Dimension{Name: &pair[0], Value: &pair[1]})
	}
	return out
}

func after(s, mark string) string {
	_, rest, _ := strings.Cut(s, mark)
	return rest
}

// alarmBatch is how many alarms one DeleteAlarms takes.
// https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DeleteAlarms.html
const alarmBatch = 100

func (p alarmPort) DeleteAlarms(ctx context.Context, names []string) error {
	for chunk := range slices.Chunk(names, alarmBatch) {
		if _, err := p.api.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: chunk}); err != nil && !is(err, "ResourceNotFound") {
			return err
		}
	}
	return nil
}
