//go:build linux

package e2e

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// TestKill9MidDeployment kills the local AWS at enumerated points of deployments, one after another on
// the same state, starts it again, and expects each deployment to end as if nothing had been.
func TestKill9MidDeployment(t *testing.T) {
	w := newTeam(t)
	releases := []string{"v1.0.0", "v2.0.0"}
	digests := map[string]string{}
	for _, r := range releases {
		digests[r] = w.commitAndPush(r)
	}
	var was string // the task definition before the deployment
	// Of the task definition that is being deployed, in one of these states.
	inState := func(isNew bool, states ...string) func() (bool, string) {
		return func() (bool, string) {
			s := w.service()
			if s == nil {
				return false, "no service"
			}
			said, met := fmt.Sprintf("%d deployments:", len(s.Deployments)), false
			for _, task := range w.tasks() {
				newer := aws.ToString(task.TaskDefinitionArn) == aws.ToString(s.TaskDefinition)
				if aws.ToString(task.LastStatus) != "STOPPED" {
					said += fmt.Sprintf(" %s (new: %v)", aws.ToString(task.LastStatus), newer)
				}
				met = met || newer == isNew && aws.ToString(s.TaskDefinition) != was && slices.Contains(states, aws.ToString(task.LastStatus))
			}
			return met, said
		}
	}
	for i, point := range []struct {
		name string
		is   func() (bool, string)
	}{
		{"the service is created", func() (bool, string) { return w.service() != nil, "the service" }},
		{"the first new task is pending", inState(true, "PROVISIONING", "PENDING", "ACTIVATING")},
		{"the first new task runs", inState(true, "RUNNING")},
		{"all new tasks run and old ones go", func() (bool, string) {
			s := w.service()
			if s == nil || aws.ToString(s.TaskDefinition) == was {
				return false, "no deployment"
			}
			d := s.Deployments[0]
			return d.RunningCount == d.DesiredCount, fmt.Sprintf("%d of %d run, %d deployments", d.RunningCount, d.DesiredCount, len(s.Deployments))
		}},
	} {
		release := releases[i%2]
		if s := w.service(); s != nil {
			was = aws.ToString(s.TaskDefinition)
		}
		if !t.Run(point.name, func(t *testing.T) {
			w.on(t).killAt(release, digests[release], point.is)
		}) {
			return // what follows would be about the ruins
		}
	}
}

func (w *team) killAt(release, digest string, point func() (bool, string)) {
	t := w.t
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// A deployment by the CLI, which lives through the crash.
	var said strings.Builder
	deploy := command(ctx, w.work, w.env, slipway, "deploy", "qa", "--image", release)
	deploy.Stdout, deploy.Stderr = &said, &said
	if err := deploy.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- deploy.Wait() }()

	// Beside it, somebody who writes all the time and remembers what was acknowledged.
	acknowledged := make(chan map[string]string, 1)
	writing, stop := context.WithCancel(ctx)
	defer stop()
	go func() { acknowledged <- w.writeAlways(writing, release) }()

	var trace []string
	_, met := poll(ctx, 30*time.Second, 5*time.Millisecond, func() (bool, string) {
		met, seen := point()
		if len(trace) == 0 || trace[len(trace)-1] != seen {
			trace = append(trace, seen)
		}
		return met, seen
	})
	if !met {
		t.Fatalf("its point was not seen; seen:\n%s\nthe CLI said:\n%s", strings.Join(trace, "\n"), said.String())
	}
	before := w.inventory()
	w.kill()
	wrote := <-acknowledged // the writer ends at its first error
	killed := time.Now()
	w.up()
	back := time.Since(killed)

	after := w.inventory()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if !after[name] {
			t.Errorf("acknowledged, and gone after the crash: %s", name)
		}
	}
	if len(before) < 8 || len(wrote) == 0 {
		t.Errorf("too little to lose: %d resources, %d writes", len(before), len(wrote))
	}
	for name, value := range wrote {
		out, err := w.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &name})
		if err != nil || aws.ToString(out.Parameter.Value) != value {
			t.Errorf("acknowledged, and lost: %s=%s: %v", name, value, err)
		}
	}
	w.settled(digest, release)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the CLI did not live through the crash: %v\n%s", err, said.String())
		}
	case <-ctx.Done():
		t.Errorf("the CLI does not see that the deployment has ended\n%s", said.String())
	}
	// And what comes next finds everything as it should be.
	if r := w.slipway("deploy", "qa", "--image", release); !strings.Contains(r.stdout, "nothing to change") {
		t.Errorf("a second deploy of the same image changes something: %s", r)
	}
	t.Logf("killed at %q; %d resources and %d writes survived; it answered again %s after the kill", trace[len(trace)-1], len(before), len(wrote), back.Round(time.Millisecond))
}

// writeAlways puts parameters until something fails.
func (w *team) writeAlways(ctx context.Context, release string) map[string]string {
	done := map[string]string{}
	for i := 0; ctx.Err() == nil; i++ {
		name, value := fmt.Sprintf("/e2e/%d", i%50), fmt.Sprintf("%s-%d", release, i)
		if _, err := w.ssm.PutParameter(ctx, &ssm.PutParameterInput{Name: &name, Value: &value, Type: ssmtypes.ParameterTypeString, Overwrite: aws.Bool(true)}); err != nil {
			// This one may or may not have been written.
			delete(done, name)
			return done
		}
		done[name] = value
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	return done
}

// inventory names all that was acknowledged and that nobody deletes, service by service.
func (w *team) inventory() map[string]bool {
	w.t.Helper()
	ctx, found := w.t.Context(), map[string]bool{}
	add := func(kind string, err error, names ...string) {
		if err != nil {
			w.t.Fatalf("listing %s: %v", kind, err)
		}
		for _, n := range names {
			found[kind+" "+n] = true
		}
	}
	clusters, err := w.ecs.ListClusters(ctx, &ecs.ListClustersInput{})
	add("clusters", err, orNone(clusters).ClusterArns...)
	services, err := w.ecs.ListServices(ctx, &ecs.ListServicesInput{Cluster: aws.String(clusterName)})
	add("services", err, orNone(services).ServiceArns...)
	definitions, err := w.ecs.ListTaskDefinitions(ctx, &ecs.ListTaskDefinitionsInput{})
	add("task definitions", err, orNone(definitions).TaskDefinitionArns...)
	instances, err := w.ecs.ListContainerInstances(ctx, &ecs.ListContainerInstancesInput{Cluster: aws.String(clusterName)})
	add("container instances", err, orNone(instances).ContainerInstanceArns...)
	if len(found) > 0 && w.service() != nil {
		deployments, err := w.ecs.ListServiceDeployments(ctx, &ecs.ListServiceDeploymentsInput{Cluster: aws.String(clusterName), Service: aws.String(serviceName)})
		for _, d := range orNone(deployments).ServiceDeployments {
			add("service deployments", err, aws.ToString(d.ServiceDeploymentArn))
		}
	}
	images, err := w.ecr.ListImages(ctx, &ecr.ListImagesInput{RepositoryName: aws.String("iplookup")})
	add("images", err)
	for _, i := range images.ImageIds {
		add("images", nil, aws.ToString(i.ImageDigest)+" "+aws.ToString(i.ImageTag))
	}
	balancers, err := w.elb.DescribeLoadBalancers(ctx, &elb.DescribeLoadBalancersInput{})
	add("load balancers", err)
	for _, b := range balancers.LoadBalancers {
		listeners, err := w.elb.DescribeListeners(ctx, &elb.DescribeListenersInput{LoadBalancerArn: b.LoadBalancerArn})
		add("load balancers", err, aws.ToString(b.LoadBalancerArn)+" "+aws.ToString(b.DNSName))
		for _, l := range listeners.Listeners {
			rules, err := w.elb.DescribeRules(ctx, &elb.DescribeRulesInput{ListenerArn: l.ListenerArn})
			add("listeners", err, aws.ToString(l.ListenerArn))
			for _, r := range rules.Rules {
				add("rules", nil, aws.ToString(r.RuleArn)+" "+aws.ToString(r.Priority))
			}
		}
	}
	groups, err := w.elb.DescribeTargetGroups(ctx, &elb.DescribeTargetGroupsInput{})
	add("target groups", err)
	for _, g := range groups.TargetGroups {
		add("target groups", nil, aws.ToString(g.TargetGroupArn))
	}
	return found
}

func orNone[T any](out *T) *T {
	if out == nil {
		return new(T)
	}
	return out
}
