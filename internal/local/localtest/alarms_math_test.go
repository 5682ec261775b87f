package localtest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func metricQuery(id, name string, shown bool) cwtypes.MetricDataQuery {
	return cwtypes.MetricDataQuery{Id: &id, ReturnData: &shown, MetricStat: &cwtypes.MetricStat{Stat: aws.String("Sum"), Period: aws.Int32(60), Metric: &cwtypes.Metric{Namespace: aws.String("App"), MetricName: &name}}}
}

func mathQuery(id, expression string) cwtypes.MetricDataQuery {
	return cwtypes.MetricDataQuery{Id: &id, Expression: &expression}
}

func TestMetricMath(t *testing.T) {
	a := localtest.Start(t)
	c, ctx := cloudwatch.NewFromConfig(a.Config), t.Context()
	base := time.Now().UTC().Truncate(time.Minute).Add(-10 * time.Minute)
	for i := range 5 {
		at := base.Add(time.Duration(i) * time.Minute)
		data := []cwtypes.MetricDatum{{MetricName: aws.String("Requests"), Timestamp: &at, Value: aws.Float64(100)}}
		if i%2 == 0 {
			data = append(data, cwtypes.MetricDatum{MetricName: aws.String("Errors"), Timestamp: &at, Value: aws.Float64(float64(i))})
		}
		ok[cloudwatch.PutMetricDataOutput](t)(c.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: data}))
	}
	get := func(queries ...cwtypes.MetricDataQuery) (*cloudwatch.GetMetricDataOutput, error) {
		return c.GetMetricData(ctx, &cloudwatch.GetMetricDataInput{StartTime: &base, EndTime: aws.Time(base.Add(5 * time.Minute)), ScanBy: "TimestampAscending",
			MetricDataQueries: append([]cwtypes.MetricDataQuery{metricQuery("errors", "Errors", false), metricQuery("requests", "Requests", false)}, queries...)})
	}
	out := ok[cloudwatch.GetMetricDataOutput](t)(get(mathQuery("rate", "100*errors/requests"), mathQuery("full", "FILL(errors, 0)"), mathQuery("twice", "rate*2"), mathQuery("all", "METRICS()"), mathQuery("found", "SEARCH('{App} MetricName=\"Errors\"', 'Sum', 60)")))
	got := map[string]string{}
	for _, r := range out.MetricDataResults {
		got[*r.Id] += fmt.Sprint(*r.Label, r.Values)
	}
	for id, want := range map[string]string{"rate": "rate[0 2 4]", "full": "full[0 0 2 0 4]", "twice": "twice[0 4 8]", "all": "Errors[0 2 4]Requests[100 100 100 100 100]", "found": "Errors[0 2 4]"} {
		same(t, id, got[id], want)
	}
	for expression, said := range map[string]string{"AVG(errors)": "time series", "nope(": "Error in expression 'bad'", "missing*2": "not the id of a query", "SELECT AVG(x) FROM y": "Metrics Insights"} {
		_, err := get(mathQuery("bad", expression))
		refused(t, err, "ValidationError")
		contains(t, expression, err.Error(), said)
	}
	_, err := get(mathQuery("errors", "1"))
	refused(t, err, "ValidationError")
	_, err = get(mathQuery("Bad", "errors"))
	refused(t, err, "ValidationError")
	// Pages hold as many points as are asked for, and no point twice.
	n := 0
	pages := cloudwatch.NewGetMetricDataPaginator(c, &cloudwatch.GetMetricDataInput{StartTime: &base, EndTime: aws.Time(base.Add(5 * time.Minute)), MaxDatapoints: aws.Int32(3),
		MetricDataQueries: []cwtypes.MetricDataQuery{metricQuery("errors", "Errors", true), metricQuery("requests", "Requests", true)}})
	for pages.HasMorePages() {
		page := ok[cloudwatch.GetMetricDataOutput](t)(pages.NextPage(ctx))
		on := 0
		for _, r := range page.MetricDataResults {
			on += len(r.Values)
		}
		if n += on; on > 3 {
			t.Errorf("%d points on a page", on)
		}
	}
	same(t, "points of all pages", n, 8)
}

func TestAlarmOnMetricMath(t *testing.T) {
	a := localtest.Start(t, localtest.Speed(120))
	c, ctx := cloudwatch.NewFromConfig(a.Config), t.Context()
	put := func(queries ...cwtypes.MetricDataQuery) error {
		_, err := c.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{AlarmName: aws.String("rate"), EvaluationPeriods: aws.Int32(1), Threshold: aws.Float64(5), ComparisonOperator: "GreaterThanThreshold", Metrics: queries})
		return err
	}
	errors, requests, rate := metricQuery("errors", "Errors", false), metricQuery("requests", "Requests", false), mathQuery("rate", "100*FILL(errors,0)/requests")
	refused(t, put(errors, requests), "ValidationError")                                     // none returns data
	refused(t, put(errors, requests, rate, mathQuery("other", "errors")), "ValidationError") // two do
	refused(t, put(errors, requests, mathQuery("all", "METRICS()")), "ValidationError")      // not one series
	if err := put(errors, requests, rate); err != nil {
		t.Fatal(err)
	}
	alarm := func() cwtypes.MetricAlarm {
		return ok[cloudwatch.DescribeAlarmsOutput](t)(c.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"rate"}})).MetricAlarms[0]
	}
	same(t, "queries kept", len(alarm().Metrics), 3)
	feed := func(errors float64) {
		ok[cloudwatch.PutMetricDataOutput](t)(c.PutMetricData(ctx, &cloudwatch.PutMetricDataInput{Namespace: aws.String("App"), MetricData: []cwtypes.MetricDatum{
			{MetricName: aws.String("Requests"), Value: aws.Float64(100)}, {MetricName: aws.String("Errors"), Value: &errors}}}))
	}
	localtest.Eventually(t, "two in a hundred is fine", func() bool { feed(2); return alarm().StateValue == "OK" })
	localtest.Eventually(t, "ten in a hundred is not", func() bool { feed(10); return alarm().StateValue == "ALARM" })
}

func TestCompositeAlarms(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir), localtest.Speed(60))
	c, ctx := cloudwatch.NewFromConfig(a.Config), t.Context()
	for _, name := range []string{"cpu", "memory", "deploying"} {
		ok[cloudwatch.PutMetricAlarmOutput](t)(c.PutMetricAlarm(ctx, &cloudwatch.PutMetricAlarmInput{AlarmName: &name, Namespace: aws.String("App"), MetricName: &name, Statistic: "Sum", Period: aws.Int32(60), EvaluationPeriods: aws.Int32(1),
			Threshold: aws.Float64(5), ComparisonOperator: "GreaterThanThreshold", TreatMissingData: aws.String("ignore")}))
	}
	set := func(name string, state cwtypes.StateValue) {
		t.Helper()
		ok[cloudwatch.SetAlarmStateOutput](t)(c.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{AlarmName: &name, StateValue: state, StateReason: aws.String("by hand")}))
	}
	put := func(name, rule string, change func(*cloudwatch.PutCompositeAlarmInput)) error {
		in := &cloudwatch.PutCompositeAlarmInput{AlarmName: &name, AlarmRule: &rule}
		if change != nil {
			change(in)
		}
		_, err := c.PutCompositeAlarm(ctx, in)
		return err
	}
	get := func(name string) cwtypes.CompositeAlarm {
		t.Helper()
		out := ok[cloudwatch.DescribeAlarmsOutput](t)(c.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{name}, AlarmTypes: []cwtypes.AlarmType{"CompositeAlarm"}}))
		if len(out.CompositeAlarms) != 1 {
			t.Fatalf("%d composite alarms named %s", len(out.CompositeAlarms), name)
		}
		return out.CompositeAlarms[0]
	}
	topic := ok[sns.CreateTopicOutput](t)(sns.NewFromConfig(a.Config).CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("pager")})).TopicArn
	inbox, arn := queue(t, sqs.NewFromConfig(a.Config), "pager", nil)
	ok[sns.SubscribeOutput](t)(sns.NewFromConfig(a.Config).Subscribe(ctx, &sns.SubscribeInput{TopicArn: topic, Protocol: aws.String("sqs"), Endpoint: &arn, Attributes: map[string]string{"RawMessageDelivery": "true"}}))
	events := tell(t, a, "composites", `{"source":["aws.cloudwatch"],"detail":{"alarmName":["sick"],"state":{"value":["ALARM"]}}}`)

	refused(t, put("sick", "ALARM(cpu) AND", nil), "ValidationError")
	refused(t, put("sick", "ALARM(cpu) AND ALARM(nobody)", nil), "ValidationError")
	refused(t, put("cpu", "TRUE", nil), "ValidationError") // the name is a metric alarm's
	refused(t, put("sick", "TRUE", func(in *cloudwatch.PutCompositeAlarmInput) {
		in.AlarmActions = []string{"arn:aws:autoscaling:us-east-1:000000000000:scalingPolicy:x:resource/ecs/service/c/s:policyName/p"}
	}), "ValidationError")
	refused(t, put("sick", "TRUE", func(in *cloudwatch.PutCompositeAlarmInput) { in.ActionsSuppressor = aws.String("deploying") }), "ValidationError")
	if err := put("sick", `ALARM("cpu") AND (ALARM(memory) OR NOT OK(memory))`, func(in *cloudwatch.PutCompositeAlarmInput) { in.AlarmActions = []string{*topic} }); err != nil {
		t.Fatal(err)
	}
	same(t, "evaluated at once", string(get("sick").StateValue), "OK")
	set("memory", "ALARM")
	same(t, "one of two", string(get("sick").StateValue), "OK")
	set("cpu", "ALARM")
	sick := get("sick")
	same(t, "both", string(sick.StateValue), "ALARM")
	contains(t, "why", str(sick.StateReason), "alarm:cpu transitioned to ALARM at ")
	contains(t, "the data", str(sick.StateReasonData), `"triggeringAlarms"`)
	m := heard(t, a, inbox)
	same(t, "the topic's alarm", m["AlarmName"], any("sick"))
	contains(t, "its rule", fmt.Sprint(m["AlarmRule"]), `ALARM("cpu")`)
	same(t, "the event", heard(t, a, events)["detail"].(map[string]any)["alarmName"], any("sick"))

	// A composite of a composite; families; what may be deleted.
	if err := put("all", "ALARM(sick)", nil); err != nil {
		t.Fatal(err)
	}
	same(t, "the one above", string(get("all").StateValue), "ALARM")
	parents := ok[cloudwatch.DescribeAlarmsOutput](t)(c.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{ParentsOfAlarmName: aws.String("sick")}))
	same(t, "parents", len(parents.CompositeAlarms), 1)
	children := ok[cloudwatch.DescribeAlarmsOutput](t)(c.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{ChildrenOfAlarmName: aws.String("sick")}))
	same(t, "children", len(children.MetricAlarms), 2)
	plain := ok[cloudwatch.DescribeAlarmsOutput](t)(c.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{}))
	same(t, "without a kind", fmt.Sprint(len(plain.MetricAlarms), len(plain.CompositeAlarms)), "3 0")
	_, err := c.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"sick"}})
	refused(t, err, "ValidationError")
	_, err = c.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"sick", "all"}})
	refused(t, err, "ValidationError")
	history := ok[cloudwatch.DescribeAlarmHistoryOutput](t)(c.DescribeAlarmHistory(ctx, &cloudwatch.DescribeAlarmHistoryInput{AlarmName: aws.String("sick"), HistoryItemType: "StateUpdate"}))
	same(t, "history", fmt.Sprint(len(history.AlarmHistoryItems), history.AlarmHistoryItems[0].AlarmType), "2CompositeAlarm")

	// While a suppressor is in alarm, actions wait.
	set("cpu", "OK")
	quiet := ok[sns.CreateTopicOutput](t)(sns.NewFromConfig(a.Config).CreateTopic(ctx, &sns.CreateTopicInput{Name: aws.String("quiet")})).TopicArn
	inbox, arn = queue(t, sqs.NewFromConfig(a.Config), "quiet", nil)
	ok[sns.SubscribeOutput](t)(sns.NewFromConfig(a.Config).Subscribe(ctx, &sns.SubscribeInput{TopicArn: quiet, Protocol: aws.String("sqs"), Endpoint: &arn, Attributes: map[string]string{"RawMessageDelivery": "true"}}))
	if err := put("sick", "ALARM(cpu)", func(in *cloudwatch.PutCompositeAlarmInput) {
		in.AlarmActions, in.ActionsSuppressor = []string{*quiet}, aws.String("deploying")
		in.ActionsSuppressorWaitPeriod, in.ActionsSuppressorExtensionPeriod = aws.Int32(3600), aws.Int32(30)
	}); err != nil {
		t.Fatal(err)
	}
	set("cpu", "ALARM")
	same(t, "waiting for the suppressor", string(get("sick").ActionsSuppressedBy), "WaitPeriod")
	set("deploying", "ALARM")
	same(t, "suppressed", string(get("sick").ActionsSuppressedBy), "Alarm")
	if got := receive(t, sqs.NewFromConfig(a.Config), inbox); len(got) > 0 {
		t.Errorf("told while it was suppressed: %s", str(got[0].Body))
	}
	set("deploying", "OK")
	same(t, "and a while longer", string(get("sick").ActionsSuppressedBy), "ExtensionPeriod")
	same(t, "then it acts", heard(t, a, inbox)["NewStateValue"], any("ALARM"))
	same(t, "nothing holds it now", string(get("sick").ActionsSuppressedBy), "")

	ok[cloudwatch.SetAlarmStateOutput](t)(c.SetAlarmState(ctx, &cloudwatch.SetAlarmStateInput{AlarmName: aws.String("all"), StateValue: "OK", StateReason: aws.String("by hand")}))
	same(t, "set by hand", string(get("all").StateValue), "OK")
	if out := a.Must(t, "cloudwatch", "describe-alarms", "--alarm-types", "CompositeAlarm", "--query", "{names: CompositeAlarms[].AlarmName}"); strings.Join(strings.Fields(fmt.Sprint(out["names"])), " ") != "[all sick]" {
		t.Errorf("the CLI sees %v", out)
	}
	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir))
	c = cloudwatch.NewFromConfig(a.Config)
	same(t, "after a restart", string(get("sick").StateValue), "ALARM")
	ok[cloudwatch.DeleteAlarmsOutput](t)(c.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"all"}}))
	ok[cloudwatch.DeleteAlarmsOutput](t)(c.DeleteAlarms(ctx, &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"sick", "cpu"}}))
}
