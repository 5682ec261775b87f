package wire_test

import (
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
	"github.com/slipway-ecs/slipway/internal/local/wire/iamapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/snsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/stsapi"
)

// TestBoto3 meets the client that the AWS CLI is made of, one service a protocol.
func TestBoto3(t *testing.T) {
	if testing.Short() {
		t.Skip("starts Python")
	}
	if err := exec.Command("python3", "-c", "import boto3").Run(); err != nil {
		t.Skip("python3 with boto3 is not installed")
	}
	s := wire.NewServer()
	wire.Handle(s.Service("ecs"), "DescribeClusters", func(_ context.Context, in *ecsapi.DescribeClustersInput) (*ecsapi.DescribeClustersOutput, error) {
		if len(in.Clusters) == 0 {
			return nil, wire.Errorf("ClusterNotFoundException", "Cluster not found.")
		}
		return &ecsapi.DescribeClustersOutput{Clusters: []ecsapi.Cluster{{ClusterName: &in.Clusters[0], Tags: []ecsapi.Tag{}}}}, nil
	})
	wire.Handle(s.Service("elbv2"), "DescribeTargetHealth", func(_ context.Context, in *elbv2api.DescribeTargetHealthInput) (*elbv2api.DescribeTargetHealthOutput, error) {
		if len(in.Targets) == 0 {
			return nil, wire.Errorf("TargetGroupNotFoundException", "Target groups '%s' not found", *in.TargetGroupArn)
		}
		return &elbv2api.DescribeTargetHealthOutput{TargetHealthDescriptions: []elbv2api.TargetHealthDescription{{Target: &in.Targets[1]}}}, nil
	})
	wire.Handle(s.Service("ec2"), "DescribeSubnets", func(_ context.Context, in *ec2api.DescribeSubnetsInput) (*ec2api.DescribeSubnetsOutput, error) {
		return &ec2api.DescribeSubnetsOutput{Subnets: []ec2api.Subnet{{SubnetId: &in.Filters[0].Values[0], DefaultForAz: wire.Bool(true), Tags: []ec2api.Tag{{Key: wire.String("k"), Value: wire.String("v")}}}}}, nil
	})
	wire.Handle(s.Service("cloudwatch"), "GetMetricStatistics", func(_ context.Context, in *cloudwatchapi.GetMetricStatisticsInput) (*cloudwatchapi.GetMetricStatisticsOutput, error) {
		if *in.MetricName == "none" {
			return nil, wire.Errorf("InvalidParameterValueException", "The parameter MetricName is empty")
		}
		return &cloudwatchapi.GetMetricStatisticsOutput{Label: in.MetricName, Datapoints: []cloudwatchapi.Datapoint{{Timestamp: in.StartTime, Sum: wire.Ptr(4.5)}}}, nil
	})
	wire.Handle(s.Service("sqs"), "GetQueueUrl", func(_ context.Context, in *sqsapi.GetQueueUrlInput) (*sqsapi.GetQueueUrlOutput, error) {
		if *in.QueueName == "none" {
			return nil, wire.Errorf("QueueDoesNotExist", "The specified queue does not exist.")
		}
		return &sqsapi.GetQueueUrlOutput{QueueUrl: in.QueueName}, nil
	})
	wire.Handle(s.Service("sns"), "GetTopicAttributes", func(_ context.Context, in *snsapi.GetTopicAttributesInput) (*snsapi.GetTopicAttributesOutput, error) {
		return &snsapi.GetTopicAttributesOutput{Attributes: map[string]string{"TopicArn": *in.TopicArn}}, nil
	})
	wire.Handle(s.Service("iam"), "GetRole", func(_ context.Context, in *iamapi.GetRoleInput) (*iamapi.GetRoleOutput, error) {
		return nil, wire.Errorf("NoSuchEntityException", "The role with name %s cannot be found.", *in.RoleName)
	})
	wire.Handle(s.Service("sts"), "GetCallerIdentity", func(ctx context.Context, _ *stsapi.GetCallerIdentityInput) (*stsapi.GetCallerIdentityOutput, error) {
		return &stsapi.GetCallerIdentityOutput{Account: wire.String(wire.Caller(ctx).Account)}, nil
	})
	srv := httptest.NewServer(s)
	defer srv.Close()
	cmd := exec.Command("python3", "testdata/boto.py", srv.URL)
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(strings.TrimSpace(string(out)), "ok") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestCloudWatchProtocols: the same operation as older clients send it.
func TestCloudWatchProtocols(t *testing.T) {
	s := wire.NewServer()
	var seen []cloudwatchapi.PutMetricDataInput
	wire.Handle(s.Service("cloudwatch"), "PutMetricData", func(_ context.Context, in *cloudwatchapi.PutMetricDataInput) (*cloudwatchapi.PutMetricDataOutput, error) {
		seen = append(seen, *in)
		if len(in.MetricData) == 0 {
			return nil, wire.Errorf("InvalidParameterValueException", "no data")
		}
		return nil, nil
	})
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	json := map[string]string{"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "GraniteServiceVersion20100801.PutMetricData"}
	w := post(t, s, form, "Action=PutMetricData&Version=2010-08-01&Namespace=n&MetricData.member.1.MetricName=m&MetricData.member.1.Value=1.5&MetricData.member.1.Dimensions.member.1.Name=d&MetricData.member.1.Dimensions.member.1.Value=e&MetricData.member.1.Timestamp=2026-01-02T03:04:05Z")
	if w.Code != 200 || !strings.Contains(w.Body.String(), "<PutMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\">") {
		t.Errorf("query: %d %s", w.Code, w.Body)
	}
	w = post(t, s, json, `{"Namespace":"n","MetricData":[{"MetricName":"m","Value":1.5,"Dimensions":[{"Name":"d","Value":"e"}],"Timestamp":1767323045}]}`)
	if w.Code != 200 || w.Body.String() != "{}" {
		t.Errorf("json: %d %s", w.Code, w.Body)
	}
	for _, in := range seen {
		d := in.MetricData[0]
		if *in.Namespace != "n" || *d.MetricName != "m" || *d.Value != 1.5 || *d.Dimensions[0].Value != "e" || d.Timestamp.Unix() != 1767323045 {
			t.Errorf("input = %+v", in)
		}
	}
	w = post(t, s, form, "Action=PutMetricData&Version=2010-08-01&Namespace=n")
	if w.Code != 400 || !strings.Contains(w.Body.String(), "<Code>InvalidParameterValue</Code>") {
		t.Errorf("query error: %d %s", w.Code, w.Body)
	}
	w = post(t, s, json, `{"Namespace":"n"}`)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "#InvalidParameterValueException") || w.Header().Get("X-Amzn-Query-Error") != "InvalidParameterValue;Sender" {
		t.Errorf("json error: %d %v %s", w.Code, w.Header(), w.Body)
	}
}
