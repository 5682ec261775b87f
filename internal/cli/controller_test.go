package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/service"
)

// A Spot interruption comes as an event of EventBridge: the instance is emptied at once and replaced; each
// decision is one line of JSON with its reason, and is counted.
func TestControllerOnAnEvent(t *testing.T) {
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID"} {
		t.Setenv(name, "")
	}
	a := localtest.Start(t, localtest.Speed(50))
	ctx := t.Context()
	api, groups, machines := ecs.NewFromConfig(a.Config), autoscaling.NewFromConfig(a.Config), ec2.NewFromConfig(a.Config)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := api.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("c")})
	check(err)
	joining := base64.StdEncoding.EncodeToString([]byte("#!/bin/bash\necho ECS_CLUSTER=c >> /etc/ecs/ecs.config\n"))
	_, err = machines.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("host"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-0510ca10ca10ca230"), InstanceType: "m7i.large", UserData: &joining}})
	check(err)
	_, err = groups.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("hosts"), MinSize: aws.Int32(2), MaxSize: aws.Int32(4), DesiredCapacity: aws.Int32(2),
		LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateName: aws.String("host")}, AvailabilityZones: []string{"us-east-1a"}})
	check(err)
	cloud, err := awscloud.Open(ctx, awscloud.Options{Region: "us-east-1", Endpoint: a.Endpoint})
	check(err)
	var lines bytes.Buffer
	c := newController(cloud, "c", autoscale.Defaults(), drainDefaults, false)
	c.log = slog.New(slog.NewJSONHandler(&lines, nil))
	var first string
	localtest.Eventually(t, "two instances", func() bool {
		s, _, err := c.drain.Look(ctx)
		check(err)
		if len(s.Instances) == 2 {
			first = s.Instances[0].EC2ID
		}
		return len(s.Instances) == 2
	})
	text, err := os.ReadFile("testdata/spot-interruption.json")
	check(err)
	event := strings.ReplaceAll(string(text), "i-0123456789abcdef0", first)
	out, err := c.invoke(ctx, []byte(event), time.Minute)
	check(err)
	if out["notices"] != 1 {
		t.Errorf("%v", out)
	}
	localtest.Eventually(t, "it is replaced", func() bool {
		check(c.turn(ctx, 20*time.Second))
		s, _, err := c.drain.Look(ctx)
		check(err)
		return len(s.Instances) == 2 && s.Find(first) == nil
	})
	said := false
	for line := range strings.Lines(lines.String()) {
		var m map[string]any
		check(json.Unmarshal([]byte(line), &m))
		said = said || m["msg"] == "drain" && m["action"] == string(drain.SetMark) && m["why"] == "notice: spot" && m["instance"] == first
	}
	if !said {
		t.Errorf("no line tells of the notice:\n%s", lines.String())
	}
	if _, err := c.invoke(ctx, []byte("{"), time.Second); err == nil {
		t.Error("what is no event is taken")
	}

	stop, err := c.serve("127.0.0.1:19102")
	check(err)
	defer stop()
	resp, err := http.Get("http://127.0.0.1:19102/metrics")
	check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(err)
	for _, want := range []string{"# TYPE slipway_controller_instances gauge", `slipway_controller_instances{cluster="c"} 2`, `slipway_controller_leader{cluster="c"} 1`, `slipway_controller_decisions_total{cluster="c",kind="drain_terminate"} 1`} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
}

// The example is a service that can be deployed, and its command is one there is.
func TestControllerExample(t *testing.T) {
	text, err := os.ReadFile("../../examples/controller/ecs/slipway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, faults := service.Parse("slipway.yaml", text)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	spec, faults := f.Spec("prod")
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	cmd, args, err := newControllerCommand().Find(spec.Containers[0].Command[1:])
	if err != nil || cmd.Name() != "run" {
		t.Fatalf("%v: %v", spec.Containers[0].Command, err)
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Error(err)
	}
}
