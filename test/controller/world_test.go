// Package controller tests the cluster controller's engines over HTTP against the local AWS.
package controller

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/local/localtest"
	"github.com/slipway-ecs/slipway/internal/rotate"
)

const (
	cluster = "c"
	group   = "hosts"
	speed   = 400
)

// world is a cluster of virtual tasks on a group of instances of two vCPU, four tasks to an instance.
type world struct {
	*testing.T
	aws *localtest.AWS
	ecs *ecs.Client
	as  *autoscaling.Client
	ec2 *ec2.Client
}

func must[T any](t testing.TB) func(out *T, err error) *T {
	return func(out *T, err error) *T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func newWorld(t *testing.T, instances, tasks int) *world {
	t.Helper()
	for _, name := range []string{"AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL"} {
		t.Setenv(name, "")
	}
	a := localtest.Start(t, localtest.Speed(speed))
	w := &world{t, a, ecs.NewFromConfig(a.Config), autoscaling.NewFromConfig(a.Config), ec2.NewFromConfig(a.Config)}
	ctx := t.Context()
	must[ecs.CreateClusterOutput](t)(w.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String(cluster)}))
	joining := base64.StdEncoding.EncodeToString([]byte("#!/bin/bash\necho ECS_CLUSTER=" + cluster + " >> /etc/ecs/ecs.config\n"))
	made := must[ec2.CreateLaunchTemplateOutput](t)(w.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("host"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-0510ca10ca10ca230"), InstanceType: "m7i.large", UserData: &joining}}))
	must[autoscaling.CreateAutoScalingGroupOutput](t)(w.as.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String(group), MinSize: aws.Int32(0), MaxSize: aws.Int32(60),
		DesiredCapacity: aws.Int32(int32(instances)), LaunchTemplate: &astypes.LaunchTemplateSpecification{LaunchTemplateId: made.LaunchTemplate.LaunchTemplateId, Version: aws.String("1")},
		AvailabilityZones: []string{"us-east-1a", "us-east-1b", "us-east-1c"}, Tags: []astypes.Tag{{Key: aws.String("slipway:cluster"), Value: aws.String(cluster)}}}))
	w.until("the instances join", func(s *drain.State) bool { return len(s.Instances) == instances })
	w.define("web", 500, nil)
	w.service("web", tasks, nil)
	if instances > 0 {
		w.until("the tasks run", func(s *drain.State) bool { return s.Services["web"].Running == tasks })
	}
	return w
}

func (w *world) define(family string, cpu int32, change func(*ecs.RegisterTaskDefinitionInput)) {
	w.Helper()
	in := &ecs.RegisterTaskDefinitionInput{Family: &family, ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("app"), Image: aws.String("app"), Cpu: cpu, Memory: aws.Int32(256), Essential: aws.Bool(true)}}}
	if change != nil {
		change(in)
	}
	must[ecs.RegisterTaskDefinitionOutput](w)(w.ecs.RegisterTaskDefinition(w.Context(), in))
}

func (w *world) service(name string, tasks int, change func(*ecs.CreateServiceInput)) {
	w.Helper()
	in := &ecs.CreateServiceInput{Cluster: aws.String(cluster), ServiceName: &name, TaskDefinition: &name, DesiredCount: aws.Int32(int32(tasks)), AvailabilityZoneRebalancing: ecstypes.AvailabilityZoneRebalancingDisabled}
	if change != nil {
		change(in)
	}
	must[ecs.CreateServiceOutput](w)(w.ecs.CreateService(w.Context(), in))
}

func (w *world) want(tasks int) {
	w.Helper()
	must[ecs.UpdateServiceOutput](w)(w.ecs.UpdateService(w.Context(), &ecs.UpdateServiceInput{Cluster: aws.String(cluster), Service: aws.String("web"), DesiredCount: aws.Int32(int32(tasks))}))
}

// look is the cluster as the drain engine sees it.
func (w *world) look() *drain.State {
	w.Helper()
	s, _, err := w.engines(nil).drain.Look(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return s
}

func (w *world) until(what string, done func(*drain.State) bool) {
	w.Helper()
	var s *drain.State
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if s = w.look(); done(s) {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("not within a minute: %s; %d instances, services %v", what, len(s.Instances), s.Services)
		}
	}
}

func (w *world) describe() astypes.AutoScalingGroup {
	w.Helper()
	out := must[autoscaling.DescribeAutoScalingGroupsOutput](w)(w.as.DescribeAutoScalingGroups(w.Context(), &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{group}}))
	return out.AutoScalingGroups[0]
}

// engines are a controller without its lease, made anew: it remembers nothing.
type engines struct {
	drain  *drain.Engine
	rotate *rotate.Engine
	scale  *autoscale.Engine // nil: not asked for
}

func (w *world) engines(client aws.HTTPClient) *engines {
	w.Helper()
	c, err := awscloud.Open(context.Background(), awscloud.Options{Region: "us-east-1", Endpoint: w.aws.Endpoint, HTTP: client})
	if err != nil {
		w.Fatal(err)
	}
	e := &engines{drain: c.Drain(cluster, drain.Defaults{Deadline: time.Hour, Policy: drain.Abort}), rotate: c.Rotate(cluster)}
	e.scale = c.Autoscale(cluster, autoscale.Config{Headroom: 0, Deadline: time.Hour, Budgets: nil})
	return e
}

// turn is one turn of the engines; scaling only if asked for.
func (e *engines) turn(ctx context.Context, scale bool) error {
	_, _, err := e.drain.Step(ctx)
	if err == nil {
		_, err = e.rotate.Step(ctx)
	}
	if err == nil && scale {
		_, err = e.scale.Step(ctx)
	}
	return err
}

// dying is a connection whose process is killed at the n-th call that changes something: before it is
// sent, or when it is done but its answer has not come.
type dying struct {
	mu     sync.Mutex
	n      int
	after  bool
	calls  []string
	cancel context.CancelFunc
	dead   bool
}

var errKilled = errors.New("killed")

func (d *dying) Do(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return nil, errKilled
	}
	op, err := operation(r)
	if err != nil {
		return nil, err
	}
	changes := !slices.ContainsFunc([]string{"Describe", "List", "Get", "Receive"}, func(p string) bool { return strings.HasPrefix(op, p) })
	if changes {
		d.calls = append(d.calls, op)
	}
	fatal := changes && len(d.calls) == d.n
	if fatal {
		d.dead = true
		defer d.cancel()
		if !d.after {
			return nil, errKilled
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if fatal && err == nil {
		_ = resp.Body.Close()
		return nil, errKilled
	}
	return resp, err
}

// operation is the name of the API operation of a request.
func operation(r *http.Request) (string, error) {
	if t := r.Header.Get("X-Amz-Target"); t != "" {
		return t[strings.LastIndexByte(t, '.')+1:], nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "", err
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	form, err := url.ParseQuery(string(body))
	return form.Get("Action"), err
}
