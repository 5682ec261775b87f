package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elbv2 "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
	"github.com/slipway-ecs/slipway/internal/local/wire/snsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
)

var at = time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)

// start serves s and returns the configuration of clients of it.
func start(t *testing.T, s *wire.Server) aws.Config {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return aws.Config{
		Region: "eu-west-1", BaseEndpoint: &srv.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", ""),
	}
}

func wantCode(t *testing.T, err error, code, message string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Fatalf("error %v is not an API error", err)
	}
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), message) {
		t.Errorf("error = %s: %s, want %s: …%s…", api.ErrorCode(), api.ErrorMessage(), code, message)
	}
}

func TestJSON(t *testing.T) {
	s := wire.NewServer()
	var caller wire.Identity
	wire.Handle(s.Service("ecs"), "RegisterTaskDefinition", func(ctx context.Context, in *ecsapi.RegisterTaskDefinitionInput) (*ecsapi.RegisterTaskDefinitionOutput, error) {
		caller = wire.Caller(ctx)
		if *in.Family == "bad" {
			return nil, wire.Errorf("ClientException", "Family is bad: %s", *in.Family)
		}
		return &ecsapi.RegisterTaskDefinitionOutput{Tags: in.Tags, TaskDefinition: &ecsapi.TaskDefinition{
			Family: in.Family, Revision: wire.Int32(3), ContainerDefinitions: in.ContainerDefinitions,
			RegisteredAt: wire.Timestamp(at), Volumes: []ecsapi.Volume{},
		}}, nil
	})
	c := ecs.NewFromConfig(start(t, s))
	in := &ecs.RegisterTaskDefinitionInput{
		Family: aws.String("web"),
		Tags:   []ecstypes.Tag{{Key: aws.String("k<>&\"\\\n\u2028é"), Value: aws.String("")}},
		ContainerDefinitions: []ecstypes.ContainerDefinition{{
			Name: aws.String("app"), Image: aws.String("x"), Cpu: 128, Essential: aws.Bool(false),
			DockerLabels: map[string]string{"a": "b", "": "c"},
			PortMappings: []ecstypes.PortMapping{{ContainerPort: aws.Int32(8080), Protocol: ecstypes.TransportProtocolTcp}},
		}},
	}
	out, err := c.RegisterTaskDefinition(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	td := out.TaskDefinition
	cd := td.ContainerDefinitions[0]
	if *td.Family != "web" || td.Revision != 3 || !td.RegisteredAt.Equal(at) || cd.Cpu != 128 || *cd.Essential ||
		cd.DockerLabels["a"] != "b" || *cd.PortMappings[0].ContainerPort != 8080 || *out.Tags[0].Key != *in.Tags[0].Key {
		t.Errorf("round trip gave %+v, tags %q", td, *out.Tags[0].Key)
	}
	if td.Volumes == nil || td.PlacementConstraints != nil {
		t.Error("an empty list must be sent and a nil one left out")
	}
	if caller.Account != "000000000000" || caller.Region != "eu-west-1" || caller.AccessKey != "AKIDTEST" || caller.RequestID == "" {
		t.Errorf("caller = %+v", caller)
	}
	_, err = c.RegisterTaskDefinition(t.Context(), &ecs.RegisterTaskDefinitionInput{Family: aws.String("bad"), ContainerDefinitions: []ecstypes.ContainerDefinition{}})
	var ce *ecstypes.ClientException
	if !errors.As(err, &ce) {
		t.Errorf("error = %v, want a ClientException", err)
	}
	wantCode(t, err, "ClientException", "Family is bad: bad")
	_, err = c.ListClusters(t.Context(), &ecs.ListClustersInput{})
	wantCode(t, err, "UnknownOperationException", "ListClusters")
	if n := s.Missing()["ecs:ListClusters"]; n != 1 {
		t.Errorf("missing = %v", s.Missing())
	}
}

func TestQuery(t *testing.T) {
	s := wire.NewServer()
	svc := s.Service("elbv2")
	var got *elbv2api.CreateRuleInput
	wire.Handle(svc, "CreateRule", func(_ context.Context, in *elbv2api.CreateRuleInput) (*elbv2api.CreateRuleOutput, error) {
		got = in
		return &elbv2api.CreateRuleOutput{Rules: []elbv2api.Rule{{RuleArn: wire.String("arn<&>"), Actions: in.Actions, Conditions: in.Conditions, IsDefault: wire.Bool(false)}}}, nil
	})
	wire.Handle(svc, "DescribeLoadBalancers", func(_ context.Context, in *elbv2api.DescribeLoadBalancersInput) (*elbv2api.DescribeLoadBalancersOutput, error) {
		if in.Names != nil {
			return nil, wire.Errorf("LoadBalancerNotFoundException", "Load balancers '%v' not found", in.Names)
		}
		return &elbv2api.DescribeLoadBalancersOutput{LoadBalancers: []elbv2api.LoadBalancer{{CreatedTime: wire.Timestamp(at)}}}, nil
	})
	c := elbv2.NewFromConfig(start(t, s))
	out, err := c.CreateRule(t.Context(), &elbv2.CreateRuleInput{
		ListenerArn: aws.String("l"), Priority: aws.Int32(7),
		Conditions: []elbtypes.RuleCondition{{Field: aws.String("host-header"), HostHeaderConfig: &elbtypes.HostHeaderConditionConfig{Values: []string{"a", "b"}}}},
		Actions: []elbtypes.Action{{Type: elbtypes.ActionTypeEnumForward, ForwardConfig: &elbtypes.ForwardActionConfig{
			TargetGroups: []elbtypes.TargetGroupTuple{{TargetGroupArn: aws.String("t"), Weight: aws.Int32(2)}}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := out.Rules[0]
	if *r.RuleArn != "arn<&>" || *r.IsDefault || r.Conditions[0].HostHeaderConfig.Values[1] != "b" || *r.Actions[0].ForwardConfig.TargetGroups[0].Weight != 2 || *got.Priority != 7 {
		t.Errorf("round trip gave %+v", r)
	}
	lbs, err := c.DescribeLoadBalancers(t.Context(), &elbv2.DescribeLoadBalancersInput{})
	if err != nil || !lbs.LoadBalancers[0].CreatedTime.Equal(at) {
		t.Errorf("DescribeLoadBalancers = %+v, %v", lbs, err)
	}
	_, err = c.DescribeLoadBalancers(t.Context(), &elbv2.DescribeLoadBalancersInput{Names: []string{"x"}})
	var nf *elbtypes.LoadBalancerNotFoundException
	if !errors.As(err, &nf) {
		t.Errorf("error = %v, want LoadBalancerNotFound", err)
	}
	_, err = c.DescribeListeners(t.Context(), &elbv2.DescribeListenersInput{})
	wantCode(t, err, "InvalidAction", "DescribeListeners")
}

func TestQueryMaps(t *testing.T) {
	s := wire.NewServer()
	wire.Handle(s.Service("sns"), "Publish", func(_ context.Context, in *snsapi.PublishInput) (*snsapi.PublishOutput, error) {
		return &snsapi.PublishOutput{MessageId: in.MessageAttributes["k"].StringValue}, nil
	})
	wire.Handle(s.Service("sns"), "GetTopicAttributes", func(_ context.Context, in *snsapi.GetTopicAttributesInput) (*snsapi.GetTopicAttributesOutput, error) {
		return &snsapi.GetTopicAttributesOutput{Attributes: map[string]string{"a": "1", "b": "<2>"}}, nil
	})
	wire.Handle(s.Service("autoscaling"), "SetDesiredCapacity", func(context.Context, *autoscalingapi.SetDesiredCapacityInput) (*autoscalingapi.SetDesiredCapacityOutput, error) {
		return nil, nil
	})
	cfg := start(t, s)
	c := sns.NewFromConfig(cfg)
	out, err := c.Publish(t.Context(), &sns.PublishInput{Message: aws.String("m"), MessageAttributes: map[string]snstypes.MessageAttributeValue{"k": {DataType: aws.String("String"), StringValue: aws.String("v")}}})
	if err != nil || *out.MessageId != "v" {
		t.Errorf("Publish = %+v, %v", out, err)
	}
	attrs, err := c.GetTopicAttributes(t.Context(), &sns.GetTopicAttributesInput{TopicArn: aws.String("t")})
	if err != nil || attrs.Attributes["b"] != "<2>" {
		t.Errorf("GetTopicAttributes = %+v, %v", attrs, err)
	}
	if _, err := autoscaling.NewFromConfig(cfg).SetDesiredCapacity(t.Context(), &autoscaling.SetDesiredCapacityInput{AutoScalingGroupName: aws.String("g"), DesiredCapacity: aws.Int32(1)}); err != nil {
		t.Error(err)
	}
}

func TestEC2(t *testing.T) {
	s := wire.NewServer()
	svc := s.Service("ec2")
	var run *ec2api.RunInstancesInput
	wire.Handle(svc, "RunInstances", func(_ context.Context, in *ec2api.RunInstancesInput) (*ec2api.RunInstancesOutput, error) {
		run = in
		return &ec2api.RunInstancesOutput{Instances: []ec2api.Instance{{InstanceId: wire.String("i-1"), LaunchTime: wire.Timestamp(at),
			Tags: in.TagSpecifications[0].Tags, SecurityGroups: []ec2api.GroupIdentifier{{GroupId: wire.String("sg-1")}}}}}, nil
	})
	wire.Handle(svc, "DescribeVpcs", func(_ context.Context, in *ec2api.DescribeVpcsInput) (*ec2api.DescribeVpcsOutput, error) {
		if len(in.VpcIds) > 0 {
			return nil, wire.Errorf("InvalidVpcID.NotFound", "The vpc ID '%s' does not exist", in.VpcIds[0])
		}
		return &ec2api.DescribeVpcsOutput{Vpcs: []ec2api.Vpc{{VpcId: wire.String(in.Filters[0].Values[1])}}}, nil
	})
	wire.Handle(svc, "DeleteVpc", func(context.Context, *ec2api.DeleteVpcInput) (*ec2api.DeleteVpcOutput, error) { return nil, nil })
	c := ec2.NewFromConfig(start(t, s))
	out, err := c.RunInstances(t.Context(), &ec2.RunInstancesInput{MinCount: aws.Int32(1), MaxCount: aws.Int32(2), SecurityGroupIds: []string{"sg-1", "sg-2"},
		NetworkInterfaces:   []ec2types.InstanceNetworkInterfaceSpecification{{DeviceIndex: aws.Int32(0), Groups: []string{"sg-9"}}},
		IamInstanceProfile:  &ec2types.IamInstanceProfileSpecification{Name: aws.String("p")},
		BlockDeviceMappings: []ec2types.BlockDeviceMapping{{DeviceName: aws.String("/dev/sda"), Ebs: &ec2types.EbsBlockDevice{VolumeSize: aws.Int32(9)}}},
		TagSpecifications:   []ec2types.TagSpecification{{ResourceType: "instance", Tags: []ec2types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}}})
	if err != nil {
		t.Fatal(err)
	}
	i := out.Instances[0]
	if *i.InstanceId != "i-1" || *i.Tags[0].Value != "v" || *i.SecurityGroups[0].GroupId != "sg-1" || !i.LaunchTime.Equal(at) {
		t.Errorf("instance = %+v", i)
	}
	if *run.MaxCount != 2 || run.SecurityGroupIds[1] != "sg-2" || run.NetworkInterfaces[0].Groups[0] != "sg-9" || *run.IamInstanceProfile.Name != "p" || *run.BlockDeviceMappings[0].Ebs.VolumeSize != 9 {
		t.Errorf("input = %+v", run)
	}
	vpcs, err := c.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{Filters: []ec2types.Filter{{Name: aws.String("vpc-id"), Values: []string{"a", "vpc-2"}}}})
	if err != nil || *vpcs.Vpcs[0].VpcId != "vpc-2" {
		t.Errorf("DescribeVpcs = %+v, %v", vpcs, err)
	}
	_, err = c.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{VpcIds: []string{"vpc-3"}})
	wantCode(t, err, "InvalidVpcID.NotFound", "'vpc-3'")
	if _, err = c.DeleteVpc(t.Context(), &ec2.DeleteVpcInput{VpcId: aws.String("vpc-1")}); err != nil {
		t.Error(err)
	}
	_, err = c.DescribeVolumes(t.Context(), &ec2.DescribeVolumesInput{})
	wantCode(t, err, "InvalidAction", "DescribeVolumes")
}

func TestCBOR(t *testing.T) {
	s := wire.NewServer()
	svc := s.Service("cloudwatch")
	var put *cloudwatchapi.PutMetricDataInput
	wire.Handle(svc, "PutMetricData", func(_ context.Context, in *cloudwatchapi.PutMetricDataInput) (*cloudwatchapi.PutMetricDataOutput, error) {
		put = in
		return nil, nil
	})
	wire.Handle(svc, "GetMetricStatistics", func(_ context.Context, in *cloudwatchapi.GetMetricStatisticsInput) (*cloudwatchapi.GetMetricStatisticsOutput, error) {
		return &cloudwatchapi.GetMetricStatisticsOutput{Label: in.MetricName, Datapoints: []cloudwatchapi.Datapoint{{Timestamp: in.StartTime, Average: wire.Ptr(1.5), Sum: wire.Ptr(2.0), ExtendedStatistics: map[string]float64{"p90": 3}}}}, nil
	})
	wire.Handle(svc, "DeleteAlarms", func(context.Context, *cloudwatchapi.DeleteAlarmsInput) (*cloudwatchapi.DeleteAlarmsOutput, error) {
		return nil, wire.Errorf("ResourceNotFound", "no such alarm")
	})
	c := cloudwatch.NewFromConfig(start(t, s))
	data := make([]cwtypes.MetricDatum, 200) // over 10 kB: the client packs it
	for i := range data {
		data[i] = cwtypes.MetricDatum{MetricName: aws.String(strings.Repeat("m", 60)), Timestamp: &at, Value: aws.Float64(float64(i)),
			Dimensions: []cwtypes.Dimension{{Name: aws.String("n"), Value: aws.String("v")}}}
	}
	if _, err := c.PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{Namespace: aws.String("ns"), MetricData: data}); err != nil {
		t.Fatal(err)
	}
	if d := put.MetricData[199]; *d.Value != 199 || !d.Timestamp.Equal(at) || *d.Dimensions[0].Name != "n" {
		t.Errorf("datum = %+v", d)
	}
	end := at.Add(time.Hour)
	out, err := c.GetMetricStatistics(t.Context(), &cloudwatch.GetMetricStatisticsInput{Namespace: aws.String("ns"), MetricName: aws.String("x"), StartTime: &at, EndTime: &end, Period: aws.Int32(60)})
	if err != nil {
		t.Fatal(err)
	}
	if d := out.Datapoints[0]; *out.Label != "x" || !d.Timestamp.Equal(at) || *d.Average != 1.5 || *d.Sum != 2 || d.ExtendedStatistics["p90"] != 3 {
		t.Errorf("statistics = %+v", out)
	}
	_, err = c.DeleteAlarms(t.Context(), &cloudwatch.DeleteAlarmsInput{AlarmNames: []string{"a"}})
	wantCode(t, err, "ResourceNotFound", "no such alarm")
	_, err = c.DescribeAlarms(t.Context(), &cloudwatch.DescribeAlarmsInput{})
	wantCode(t, err, "UnknownOperationException", "DescribeAlarms")
}

func TestQueryCompatibleJSON(t *testing.T) {
	s := wire.NewServer()
	wire.Handle(s.Service("sqs"), "GetQueueUrl", func(context.Context, *sqsapi.GetQueueUrlInput) (*sqsapi.GetQueueUrlOutput, error) {
		return nil, wire.Errorf("QueueDoesNotExist", "The specified queue does not exist.")
	})
	wire.Handle(s.Service("sqs"), "SendMessage", func(_ context.Context, in *sqsapi.SendMessageInput) (*sqsapi.SendMessageOutput, error) {
		return &sqsapi.SendMessageOutput{MessageId: wire.String(string(in.MessageAttributes["b"].BinaryValue)), MD5OfMessageBody: wire.String("5d41402abc4b2a76b9719d911017c592")}, nil
	})
	c := sqs.NewFromConfig(start(t, s))
	_, err := c.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("q")})
	var nf *sqstypes.QueueDoesNotExist
	if !errors.As(err, &nf) {
		t.Errorf("error = %#v, want QueueDoesNotExist", err)
	}
	w := post(t, s, map[string]string{"X-Amz-Target": "AmazonSQS.GetQueueUrl", "Content-Type": "application/x-amz-json-1.0"}, `{"QueueName":"q"}`)
	if got := w.Header().Get("X-Amzn-Query-Error"); got != "AWS.SimpleQueueService.NonExistentQueue;Sender" {
		t.Errorf("query error = %q", got)
	}
	out, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String("u"), MessageBody: aws.String("hello"),
		MessageAttributes: map[string]sqstypes.MessageAttributeValue{"b": {DataType: aws.String("Binary"), BinaryValue: []byte("bytes")}}})
	if err != nil || *out.MessageId != "bytes" {
		t.Errorf("SendMessage = %+v, %v", out, err)
	}
}

// post sends a request no SDK would send.
func post(t *testing.T, s *wire.Server, header map[string]string, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:4566/", strings.NewReader(body))
	for k, v := range header {
		r.Header.Set(k, v)
	}
	if h := header["Host"]; h != "" {
		r.Host = h
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestRefusals(t *testing.T) {
	s := wire.NewServer(wire.WithBodyLimit(1000), wire.WithHosts("box"))
	wire.Handle(s.Service("ecs"), "DescribeServices", func(context.Context, *ecsapi.DescribeServicesInput) (*ecsapi.DescribeServicesOutput, error) {
		panic("at the disco")
	})
	wire.Handle(s.Service("ecs"), "CreateCluster", func(context.Context, *ecsapi.CreateClusterInput) (*ecsapi.CreateClusterOutput, error) {
		return nil, errors.New("the disk says secret things")
	})
	wire.Handle(s.Service("elbv2"), "CreateRule", func(context.Context, *elbv2api.CreateRuleInput) (*elbv2api.CreateRuleOutput, error) {
		return nil, nil
	})
	target := func(op string) map[string]string {
		return map[string]string{"X-Amz-Target": "AmazonEC2ContainerServiceV20141113." + op, "Content-Type": "application/x-amz-json-1.1"}
	}
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
	with := func(h map[string]string, k, v string) map[string]string {
		h[k] = v
		return h
	}
	for _, tt := range []struct {
		name   string
		header map[string]string
		body   string
		status int
		want   string
	}{
		{"required", target("DescribeServices"), `{}`, 400, "Value null at 'services' failed to satisfy constraint"},
		{"panic", target("DescribeServices"), `{"services":["a"]}`, 500, "InternalFailure"},
		{"other error", target("CreateCluster"), `{"later":{"member":1}}`, 500, "unknown error"},
		{"not JSON", target("CreateCluster"), `{`, 400, "SerializationException"},
		{"wrong type", target("CreateCluster"), `{"clusterName":1}`, 400, "number can not be converted to string at 'clusterName'"},
		{"too large", target("CreateCluster"), strings.Repeat(" ", 1001), 413, "RequestEntityTooLarge"},
		{"unknown operation", target("Nope"), `{}`, 400, "UnknownOperationException"},
		{"no service", map[string]string{"X-Amz-Target": "Nope.Nope"}, `{}`, 404, "no AWS service"},
		{"host", with(target("CreateCluster"), "Host", "evil.example:4566"), `{}`, 403, "not allowed"},
		{"allowed host", with(target("Nope"), "Host", "box:4566"), `{}`, 400, "UnknownOperation"},
		{"subdomain of localhost", with(target("Nope"), "Host", "a.b.localhost"), `{}`, 400, "UnknownOperation"},
		{"other site's form", map[string]string{"Content-Type": form["Content-Type"], "Origin": "https://evil.example"}, "Action=CreateRule&Version=2015-12-01", 403, "other sites"},
		{"other site's script", with(target("Nope"), "Sec-Fetch-Site", "cross-site"), `{}`, 403, "other sites"},
		{"IPv6 loopback", with(target("Nope"), "Host", "[::1]:4566"), `{}`, 400, "UnknownOperation"},
		{"nested required", form, "Action=CreateRule&Version=2015-12-01&ListenerArn=a&Priority=1&Conditions.member.1.Field=x&Actions.member.1.Order=1", 400, "Value null at &#39;actions.1.member.type&#39; failed"},
		{"not an integer", form, "Action=CreateRule&Version=2015-12-01&Priority=x", 400, "Invalid value &#39;x&#39; for integer parameter Priority"},
		{"deep", form, "Action=CreateRule&Version=2015-12-01&" + strings.Repeat("a.", 40) + "=x", 400, "nested too deeply"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := post(t, s, tt.header, tt.body)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%d %s, want %d …%s…", w.Code, w.Body, tt.status, tt.want)
			}
			if strings.Contains(w.Body.String(), "secret") || strings.Contains(w.Body.String(), "disco") {
				t.Error("the answer tells what went wrong inside")
			}
			if w.Header().Get("X-Amzn-Requestid") == "" {
				t.Error("no request id")
			}
		})
	}
}

func TestFallbackAndMiddleware(t *testing.T) {
	s := wire.NewServer()
	wire.Handle(s.Service("ecs"), "ListClusters", func(context.Context, *ecsapi.ListClustersInput) (*ecsapi.ListClustersOutput, error) {
		return &ecsapi.ListClustersOutput{ClusterArns: []string{}}, nil
	}, wire.Partly("paging"))
	s.Use(func(next wire.Next) wire.Next {
		return func(ctx context.Context, c wire.Call) (any, error) {
			if c.Service == "ecs" && wire.Caller(ctx).Region == "ap-south-1" {
				return nil, wire.Errorf("ThrottlingException", "Rate exceeded")
			}
			return next(ctx, c)
		}
	})
	name := func(n string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(n)) })
	}
	s.Fallback("/", name("s3"))
	s.Fallback("/v2/", name("registry"))
	for _, tt := range []struct{ method, path, scope, want string }{
		{"GET", "/v2/", "", "registry"},
		{"POST", "/v2/x/blobs/uploads/", "", "registry"},
		{"GET", "/v2", "", "registry"},
		{"GET", "/bucket/key", "", "s3"},
		{"GET", "/v2/key", "s3", "s3"},
		{"POST", "/", "ecs", "UnknownOperationException"},
		{"GET", "/schedules", "scheduler", "UnknownOperationException"},
		{"GET", "/?Action=GetCallerIdentity&Version=2011-06-15", "", "InvalidAction"},
	} {
		r := httptest.NewRequest(tt.method, "http://localhost"+tt.path, nil)
		if tt.scope != "" {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/"+tt.scope+"/aws4_request, SignedHeaders=host, Signature=0")
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s %s (%s): %s, want %s", tt.method, tt.path, tt.scope, w.Body, tt.want)
		}
	}
	cfg := start(t, s)
	if _, err := ecs.NewFromConfig(cfg).ListClusters(t.Context(), &ecs.ListClustersInput{}); err != nil {
		t.Error(err)
	}
	cfg.Region = "ap-south-1"
	_, err := ecs.NewFromConfig(cfg).ListClusters(t.Context(), &ecs.ListClustersInput{})
	wantCode(t, err, "ThrottlingException", "Rate exceeded")
	var handled int
	for _, o := range s.Service("ecs").Operations() {
		if o.Handled {
			handled++
			if o.Operation != "ListClusters" || o.Partly != "paging" {
				t.Errorf("support = %+v", o)
			}
		}
	}
	var page strings.Builder
	if err := s.WriteReference(&page); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| ECS | 77 | 0 | 1 | 76 |", "| ListClusters | partly: paging |", "| CreateCluster | not supported |", "## Scheduler\n\nNone of its 12"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the reference lacks %q", want)
		}
	}
	func() {
		defer func() {
			if p := fmt.Sprint(recover()); !strings.Contains(p, "takes ListClustersInput") {
				t.Errorf("panic = %s", p)
			}
		}()
		wire.Handle(s.Service("ecs"), "ListServices", func(context.Context, *ecsapi.ListClustersInput) (*ecsapi.ListServicesOutput, error) { return nil, nil })
	}()
	if handled != 1 {
		t.Errorf("%d operations are handled, want 1", handled)
	}
}
