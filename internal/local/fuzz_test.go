package local

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// quiet makes a local AWS without loops or processes, for one request after another.
func quiet(f *testing.F) *Local {
	f.Helper()
	l, err := New(context.Background(), Config{Address: "127.0.0.1:4566", Runtime: "virtual"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.close(context.Background()) })
	return l
}

func answer(l *Local, header http.Header, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:4566/", strings.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return w
}

// FuzzQueryAPI sends forms to the services that take them: whatever is in one, the answer is well-formed
// XML, and no failure of ours.
func FuzzQueryAPI(f *testing.F) {
	for _, s := range []string{
		"Action=CreateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName=g&MinSize=0&MaxSize=2&AvailabilityZones.member.1=us-east-1a&LaunchTemplate.LaunchTemplateName=t&Tags.member.1.Key=k",
		"Action=CreateLaunchConfiguration&Version=2011-01-01&LaunchConfigurationName=c&ImageId=ami-1&InstanceType=m5.large",
		"Action=CreateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName=g&MinSize=0&MaxSize=2&AvailabilityZones.member.1=us-east-1a&LaunchConfigurationName=c",
		"Action=UpdateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName=g&DesiredCapacity=1", "Action=PutWarmPool&Version=2011-01-01&AutoScalingGroupName=g&MinSize=1",
		"Action=PutScalingPolicy&Version=2011-01-01&AutoScalingGroupName=g&PolicyName=p&PolicyType=TargetTrackingScaling&TargetTrackingConfiguration.TargetValue=50&TargetTrackingConfiguration.PredefinedMetricSpecification.PredefinedMetricType=ASGAverageCPUUtilization",
		"Action=PutScalingPolicy&Version=2011-01-01&AutoScalingGroupName=g&PolicyName=p&PolicyType=StepScaling&AdjustmentType=ChangeInCapacity&StepAdjustments.member.1.ScalingAdjustment=1&StepAdjustments.member.1.MetricIntervalLowerBound=0",
		"Action=PutScalingPolicy&Version=2011-01-01&AutoScalingGroupName=g&PolicyName=p&PolicyType=PredictiveScaling&PredictiveScalingConfiguration.MetricSpecifications.member.1.TargetValue=1&PredictiveScalingConfiguration.MetricSpecifications.member.1.PredefinedMetricPairSpecification.PredefinedMetricType=ASGCPUUtilization",
		"Action=StartInstanceRefresh&Version=2011-01-01&AutoScalingGroupName=g&Preferences.MinHealthyPercentage=50&Preferences.CheckpointPercentages.member.1=10", "Action=LaunchInstances&Version=2011-01-01&AutoScalingGroupName=g&ClientToken=a&RequestedCapacity=1",
		"Action=PutScheduledUpdateGroupAction&Version=2011-01-01&AutoScalingGroupName=g&ScheduledActionName=a&Recurrence=0+0+*+*+*&MinSize=1", "Action=DescribeAutoScalingGroups&Version=2011-01-01&Filters.member.1.Name=tag:a&Filters.member.1.Values.member.1=b",
		"Action=GetPredictiveScalingForecast&Version=2011-01-01&AutoScalingGroupName=g&PolicyName=p&StartTime=2026-01-01T00:00:00Z&EndTime=2026-01-02T00:00:00Z",
		"Action=PutMetricAlarm&Version=2010-08-01&AlarmName=a&MetricName=m&Namespace=N&Statistic=Sum&Period=60&EvaluationPeriods=1&Threshold=1&ComparisonOperator=GreaterThanThreshold",
		"Action=PutCompositeAlarm&Version=2010-08-01&AlarmName=b&AlarmRule=ALARM(a)+OR+NOT+OK(a)", "Action=PutMetricData&Version=2010-08-01&Namespace=N&MetricData.member.1.MetricName=m&MetricData.member.1.Values.member.1=1",
		"Action=GetMetricData&Version=2010-08-01&StartTime=2026-01-01T00:00:00Z&EndTime=2026-01-02T00:00:00Z&MetricDataQueries.member.1.Id=e&MetricDataQueries.member.1.Expression=TIME_SERIES(1)",
		"Action=GetMetricStatistics&Version=2010-08-01&Namespace=N&MetricName=m&StartTime=2026-01-01T00:00:00Z&EndTime=2026-01-02T00:00:00Z&Period=60&Statistics.member.1=Sum", "Action=SetAlarmState&Version=2010-08-01&AlarmName=a&StateValue=ALARM&StateReason=x",
		"Action=DescribeAlarms&Version=2010-08-01&AlarmTypes.member.1=CompositeAlarm&ChildrenOfAlarmName=b", "Action=GetCallerIdentity&Version=2011-06-15", "Action=CreateTopic&Version=2010-03-31&Name=t", "Action=ListRoles&Version=2010-05-08&MaxItems=1",
		"Action=DescribeLoadBalancers&Version=2015-12-01&Names.member.1=x", "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=instance-state-name&Filter.1.Value.1=running", "Action=RunInstances&Version=2016-11-15&MinCount=1&MaxCount=1&ImageId=ami-1&InstanceType=m5.large",
	} {
		f.Add(s)
	}
	l := quiet(f)
	f.Fuzz(func(t *testing.T, body string) {
		if form, err := url.ParseQuery(body); err != nil || form.Get("Action") == "" || form.Get("Version") == "" {
			return
		}
		w := answer(l, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, body)
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%s", w.Body)
		}
		if !strings.Contains(w.Header().Get("Content-Type"), "xml") {
			return
		}
		d := xml.NewDecoder(w.Body)
		for {
			if _, err := d.Token(); err == io.EOF {
				return
			} else if err != nil {
				t.Fatalf("the answer is no XML: %v", err)
			}
		}
	})
}

// FuzzJSONAPI does the same with JSON and Application Auto Scaling, whose policies nest the deepest.
func FuzzJSONAPI(f *testing.F) {
	const id = `"ServiceNamespace":"ecs","ResourceId":"service/c/s","ScalableDimension":"ecs:service:DesiredCount"`
	f.Add("RegisterScalableTarget", `{`+id+`,"MinCapacity":1,"MaxCapacity":2}`)
	f.Add("PutScalingPolicy", `{`+id+`,"PolicyName":"p","PolicyType":"TargetTrackingScaling","TargetTrackingScalingPolicyConfiguration":{"TargetValue":5,"CustomizedMetricSpecification":{"Metrics":[{"Id":"m","MetricStat":{"Stat":"Sum","Metric":{"MetricName":"x","Namespace":"N"}}}]}}}`)
	f.Add("PutScalingPolicy", `{`+id+`,"PolicyName":"p","PolicyType":"PredictiveScaling","PredictiveScalingPolicyConfiguration":{"MetricSpecifications":[{"TargetValue":5,"PredefinedMetricPairSpecification":{"PredefinedMetricType":"ECSServiceCPUUtilization"}}]}}`)
	f.Add("PutScalingPolicy", `{`+id+`,"PolicyName":"p","PolicyType":"StepScaling","StepScalingPolicyConfiguration":{"AdjustmentType":"ChangeInCapacity","StepAdjustments":[{"ScalingAdjustment":1,"MetricIntervalLowerBound":0}]}}`)
	f.Add("GetPredictiveScalingForecast", `{`+id+`,"PolicyName":"p","StartTime":1700000000,"EndTime":1700003600}`)
	f.Add("PutScheduledAction", `{`+id+`,"ScheduledActionName":"a","Schedule":"cron(0 1 * * ? *)","ScalableTargetAction":{"MinCapacity":1}}`)
	f.Add("DescribeScalingActivities", `{"ServiceNamespace":"ecs","IncludeNotScaledActivities":true,"MaxResults":1}`)
	l := quiet(f)
	f.Fuzz(func(t *testing.T, operation, body string) {
		w := answer(l, http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"AnyScaleFrontendService." + operation}}, body)
		if w.Code == http.StatusInternalServerError {
			t.Fatalf("%s", w.Body)
		}
		if strings.Contains(w.Header().Get("Content-Type"), "json") && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("the answer is no JSON: %s", w.Body)
		}
	})
}
