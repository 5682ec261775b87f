package elbv2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/api/elbv2"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// zones is a VPC with subnets a, b and c.
type zones struct{}

func (zones) ZoneOf(_ *state.Tx, subnet string) (zone, vpc string, ok bool) {
	return "us-east-1" + subnet, "vpc-1", strings.Contains("abc", subnet) && len(subnet) == 1
}

type world struct {
	*elb.Client
	t   *testing.T
	svc *elbv2.Service
	ecs *state.ECS
	url string
	end func()
}

// start serves Elastic Load Balancing with the state in dir (empty: in memory). Its clock is fast.
func start(t *testing.T, dir string) *world {
	t.Helper()
	return startWith(t, dir, func(*elbv2.Service) {})
}

func startWith(t *testing.T, dir string, change func(*elbv2.Service)) *world {
	t.Helper()
	return startAt(t, dir, 20, change)
}

// startAt starts with a clock that is so many times faster.
func startAt(t *testing.T, dir string, speed float64, change func(*elbv2.Service)) *world {
	t.Helper()
	db, err := state.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	ecs, err := state.NewECS(db)
	if err != nil {
		t.Fatal(err)
	}
	s := wire.NewServer()
	svc, err := elbv2.Register(s.Service("elbv2"), elbv2.Config{DB: db, ECS: ecs, Network: zones{}, Clock: clock.NewFast(speed), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	change(svc)
	s.Fallback(elbv2.FilesPath, svc)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	srv := httptest.NewServer(s)
	w := &world{t: t, svc: svc, ecs: ecs, url: srv.URL, Client: elb.New(elb.Options{Region: "us-east-1", BaseEndpoint: &srv.URL, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")})}
	ended := false
	w.end = func() {
		if ended {
			return
		}
		ended = true
		srv.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		cut, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = svc.Close(cut) // what is left is cut
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(w.end)
	return w
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantError(t *testing.T, err error, code string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code {
		t.Errorf("error = %v, want %s", err, code)
	}
}

func (w *world) balancer(name string) types.LoadBalancer {
	w.t.Helper()
	out := must[*elb.CreateLoadBalancerOutput](w.t)(w.CreateLoadBalancer(w.t.Context(), &elb.CreateLoadBalancerInput{Name: &name, Subnets: []string{"a", "b"}}))
	return out.LoadBalancers[0]
}

func (w *world) group(name string) string {
	w.t.Helper()
	out := must[*elb.CreateTargetGroupOutput](w.t)(w.CreateTargetGroup(w.t.Context(), &elb.CreateTargetGroupInput{Name: &name, Protocol: types.ProtocolEnumHttp, Port: aws.Int32(80),
		VpcId: aws.String("vpc-1"), TargetType: types.TargetTypeEnumIp, HealthCheckIntervalSeconds: aws.Int32(5), HealthCheckTimeoutSeconds: aws.Int32(4), HealthyThresholdCount: aws.Int32(2)}))
	return *out.TargetGroups[0].TargetGroupArn
}

func forward(arn string) []types.Action {
	return []types.Action{{Type: types.ActionTypeEnumForward, TargetGroupArn: &arn}}
}

// port is the first of a range that only this test uses: a balancer has an address of its own, but
// other local AWSs on the machine may have the same.
func (w *world) listener(lb types.LoadBalancer, port int, actions []types.Action) string {
	w.t.Helper()
	out := must[*elb.CreateListenerOutput](w.t)(w.CreateListener(w.t.Context(), &elb.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: aws.Int32(int32(port)), Protocol: types.ProtocolEnumHttp, DefaultActions: actions}))
	return *out.Listeners[0].ListenerArn
}

func (w *world) rule(listener string, priority int, path string, actions []types.Action) (string, error) {
	out, err := w.CreateRule(w.t.Context(), &elb.CreateRuleInput{ListenerArn: &listener, Priority: aws.Int32(int32(priority)), Actions: actions,
		Conditions: []types.RuleCondition{{Field: aws.String("path-pattern"), Values: []string{path}}}})
	if err != nil {
		return "", err
	}
	return *out.Rules[0].RuleArn, nil
}

// app serves text on a loopback address; healthy says whether its health checks pass.
func (w *world) app(text string) types.TargetDescription {
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, text) }))
	w.t.Cleanup(srv.Close)
	a := netip.MustParseAddrPort(srv.Listener.Addr().String())
	return types.TargetDescription{Id: aws.String(a.Addr().String()), Port: aws.Int32(int32(a.Port()))}
}

func (w *world) register(group string, targets ...types.TargetDescription) {
	w.t.Helper()
	must[*elb.RegisterTargetsOutput](w.t)(w.RegisterTargets(w.t.Context(), &elb.RegisterTargetsInput{TargetGroupArn: &group, Targets: targets}))
}

// health is the state and reason of each target.
func (w *world) health(group string) (out []string) {
	w.t.Helper()
	for _, d := range must[*elb.DescribeTargetHealthOutput](w.t)(w.DescribeTargetHealth(w.t.Context(), &elb.DescribeTargetHealthInput{TargetGroupArn: &group})).TargetHealthDescriptions {
		out = append(out, strings.TrimSpace(string(d.TargetHealth.State)+" "+string(d.TargetHealth.Reason)+" "+aws.ToString(d.TargetHealth.Description)))
	}
	return out
}

func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s did not happen", what)
		}
	}
}

func (w *world) at(listener string) string {
	w.t.Helper()
	url := ""
	w.eventually("listening", func() bool {
		for _, a := range w.svc.Addresses() {
			if a.ListenerARN == listener {
				url = a.URL
			}
		}
		return url != ""
	})
	return url
}

func get(url string) (int, string) {
	resp, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body)
}

func TestTrafficFollowsTheAPI(t *testing.T) {
	w, ctx := start(t, ""), t.Context()
	lb, blue, green := w.balancer("web"), w.group("blue"), w.group("green")
	if lb.State.Code != types.LoadBalancerStateEnumActive || !strings.HasPrefix(*lb.DNSName, "127.66.") || len(lb.AvailabilityZones) != 2 {
		t.Errorf("load balancer = %+v", lb)
	}
	a := w.app("blue")
	w.register(blue, a)
	w.eventually("unused", func() bool {
		return slices.Equal(w.health(blue), []string{"unused Target.NotInUse Target group is not configured to receive traffic from the load balancer"})
	})
	l := w.listener(lb, 18417, forward(blue))
	url := w.at(l)
	w.eventually("healthy", func() bool { return slices.Equal(w.health(blue), []string{"healthy"}) })
	if code, body := get(url); code != 200 || body != "blue" {
		t.Errorf("got %d %s", code, body)
	}

	w.register(green, w.app("green"))
	rule := must[string](t)(w.rule(l, 10, "/green*", forward(green)))
	w.eventually("the rule", func() bool { _, body := get(url + "green"); return body == "green" })
	if err := w.ecs.DB.Update(func(tx *state.Tx) error { return w.svc.Shift(tx, rule, map[string]int{blue: 1, green: 0}) }); err != nil {
		t.Fatal(err)
	}
	w.eventually("the shift", func() bool { _, body := get(url + "green"); return body == "blue" })
	if err := w.ecs.DB.Update(func(tx *state.Tx) error { return w.svc.Shift(tx, rule, map[string]int{green: 1}) }); err != nil {
		t.Fatal(err)
	}
	shown := must[*elb.DescribeRulesOutput](t)(w.DescribeRules(ctx, &elb.DescribeRulesInput{ListenerArn: &l})).Rules
	if len(shown) != 2 || *shown[0].Priority != "10" || *shown[0].Actions[0].TargetGroupArn != green || *shown[1].Priority != "default" || !*shown[1].IsDefault {
		t.Errorf("rules = %+v", shown)
	}

	b := w.app("second")
	w.register(blue, b)
	w.eventually("two healthy", func() bool { return slices.Equal(w.health(blue), []string{"healthy", "healthy"}) })
	must[*elb.DeregisterTargetsOutput](t)(w.DeregisterTargets(ctx, &elb.DeregisterTargetsInput{TargetGroupArn: &blue, Targets: []types.TargetDescription{a}}))
	if h := w.health(blue); !slices.Contains(h, "draining Target.DeregistrationInProgress Target deregistration is in progress") && len(h) != 1 {
		t.Errorf("health = %v", h)
	}
	w.eventually("gone", func() bool { return slices.Equal(w.health(blue), []string{"healthy"}) })
	for range 4 {
		if _, body := get(url); body != "second" {
			t.Errorf("a deregistered target got a request: %s", body)
		}
	}
	if m := w.svc.Metrics(); m.LoadBalancers[*lb.LoadBalancerArn].RequestCount < 5 || m.TargetGroups[blue].Target2XX < 5 {
		t.Errorf("counters = %+v", m)
	}

	must[*elb.DeleteLoadBalancerOutput](t)(w.DeleteLoadBalancer(ctx, &elb.DeleteLoadBalancerInput{LoadBalancerArn: lb.LoadBalancerArn}))
	w.eventually("closing", func() bool { code, _ := get(url); return code == 0 })
	_, err := w.DescribeListeners(ctx, &elb.DescribeListenersInput{ListenerArns: []string{l}})
	wantError(t, err, "ListenerNotFound")
	if err := elb.NewLoadBalancersDeletedWaiter(w.Client).Wait(ctx, &elb.DescribeLoadBalancersInput{LoadBalancerArns: []string{*lb.LoadBalancerArn}}, time.Second); err != nil {
		t.Error(err)
	}
}

func TestUnhealthyReasons(t *testing.T) {
	w := start(t, "")
	lb, g := w.balancer("web"), w.group("app")
	bad := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) }))
	defer bad.Close()
	a := netip.MustParseAddrPort(bad.Listener.Addr().String())
	w.register(g, types.TargetDescription{Id: aws.String("127.0.0.1"), Port: aws.Int32(int32(a.Port()))})
	url := w.at(w.listener(lb, 18418, forward(g)))
	w.eventually("unhealthy", func() bool {
		return slices.Equal(w.health(g), []string{"unhealthy Target.ResponseCodeMismatch Health checks failed with these codes: [500]"})
	})
	if code, _ := get(url); code != 500 { // fails open
		t.Errorf("status %d", code)
	}
	out := must[*elb.DescribeTargetHealthOutput](t)(w.DescribeTargetHealth(t.Context(), &elb.DescribeTargetHealthInput{TargetGroupArn: &g, Targets: []types.TargetDescription{{Id: aws.String("10.0.0.1"), Port: aws.Int32(1)}}}))
	if h := out.TargetHealthDescriptions[0].TargetHealth; h.State != types.TargetHealthStateEnumUnused || h.Reason != types.TargetHealthReasonEnumNotRegistered {
		t.Errorf("health = %+v", h)
	}
}

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	w := start(t, dir)
	lb, g := w.balancer("web"), w.group("app")
	target := w.app("here")
	w.register(g, target)
	l := w.listener(lb, 18419, forward(g))
	w.eventually("healthy", func() bool { return slices.Equal(w.health(g), []string{"healthy"}) })
	w.end()
	w = start(t, dir)
	if h := w.health(g); !slices.Equal(h, []string{"healthy"}) {
		t.Errorf("health after the restart = %v", h)
	}
	if code, body := get(w.at(l)); code != 200 || body != "here" {
		t.Errorf("got %d %s", code, body)
	}
	if d := must[*elb.DescribeLoadBalancersOutput](t)(w.DescribeLoadBalancers(t.Context(), &elb.DescribeLoadBalancersInput{Names: []string{"web"}})).LoadBalancers[0]; *d.DNSName != *lb.DNSName {
		t.Errorf("name changed from %s to %s", *lb.DNSName, *d.DNSName)
	}
}

func TestPriorities(t *testing.T) {
	w, ctx := start(t, ""), t.Context()
	g := w.group("app")
	l := w.listener(w.balancer("web"), 18420, forward(g))
	one := must[string](t)(w.rule(l, 1, "/a", forward(g)))
	two := must[string](t)(w.rule(l, 2, "/b", forward(g)))
	_, err := w.rule(l, 2, "/c", forward(g))
	wantError(t, err, "PriorityInUse")
	_, err = w.rule(l, 50001, "/c", forward(g))
	wantError(t, err, "ValidationError")
	pair := func(arn string, n int32) types.RulePriorityPair {
		return types.RulePriorityPair{RuleArn: &arn, Priority: &n}
	}
	_, err = w.SetRulePriorities(ctx, &elb.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{pair(one, 2)}})
	wantError(t, err, "PriorityInUse")
	out := must[*elb.SetRulePrioritiesOutput](t)(w.SetRulePriorities(ctx, &elb.SetRulePrioritiesInput{RulePriorities: []types.RulePriorityPair{pair(one, 2), pair(two, 1)}}))
	if len(out.Rules) != 2 || *out.Rules[0].Priority != "2" {
		t.Errorf("rules = %+v", out.Rules)
	}
	_, err = w.DeleteRule(ctx, &elb.DeleteRuleInput{RuleArn: aws.String(strings.Replace(l, ":listener/", ":listener-rule/", 1) + "/default")})
	wantError(t, err, "OperationNotPermitted")
}

// The limits of ../shared/facts/alb-limits.json
// (https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html).
func TestLimits(t *testing.T) {
	w, ctx := start(t, ""), t.Context()
	lb, g := w.balancer("web"), w.group("app")
	fixed := []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("200")}}}
	l := w.listener(lb, 18421, fixed)

	for i := range 100 {
		if _, err := w.rule(l, i+1, "/a", fixed); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.rule(l, 101, "/a", fixed)
	wantError(t, err, "TooManyRules")

	rule := func(conds []types.RuleCondition, actions []types.Action) error {
		_, err := w.CreateRule(ctx, &elb.CreateRuleInput{ListenerArn: &l, Priority: aws.Int32(200), Conditions: conds, Actions: actions})
		return err
	}
	path := func(v ...string) []types.RuleCondition {
		return []types.RuleCondition{{Field: aws.String("path-pattern"), PathPatternConfig: &types.PathPatternConditionConfig{Values: v}}}
	}
	wantError(t, rule(path("/1", "/2", "/3", "/4", "/5", "/6"), fixed), "ValidationError")
	wantError(t, rule(path("/******"), fixed), "ValidationError")
	wantError(t, rule(path("/"+strings.Repeat("x", 128)), fixed), "ValidationError")
	wantError(t, rule(append(path("/a"), path("/b")...), fixed), "ValidationError")
	wantError(t, rule([]types.RuleCondition{}, fixed), "ValidationError")
	wantError(t, rule(path("/a"), []types.Action{}), "ValidationError")
	many := &types.ForwardActionConfig{}
	for i := range 6 {
		many.TargetGroups = append(many.TargetGroups, types.TargetGroupTuple{TargetGroupArn: aws.String(w.group(fmt.Sprintf("g%d", i)))})
	}
	_, err = w.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: aws.Int32(18422), Protocol: types.ProtocolEnumHttp,
		DefaultActions: []types.Action{{Type: types.ActionTypeEnumForward, ForwardConfig: many}}})
	wantError(t, err, "TooManyTargetGroups")
	_, err = w.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: aws.Int32(18421), Protocol: types.ProtocolEnumHttp, DefaultActions: fixed})
	wantError(t, err, "DuplicateListener")

	w.listener(lb, 18423, forward(g))
	_, err = w.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: w.balancer("other").LoadBalancerArn, Port: aws.Int32(18424), Protocol: types.ProtocolEnumHttp, DefaultActions: forward(g)})
	wantError(t, err, "TargetGroupAssociationLimit")
	_, err = w.DeleteTargetGroup(ctx, &elb.DeleteTargetGroupInput{TargetGroupArn: &g})
	wantError(t, err, "ResourceInUse")

	_, err = w.CreateLoadBalancer(ctx, &elb.CreateLoadBalancerInput{Name: aws.String("web"), Subnets: []string{"a", "c"}})
	wantError(t, err, "DuplicateLoadBalancerName")
	_, err = w.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String("app"), Protocol: types.ProtocolEnumHttps, Port: aws.Int32(443)})
	wantError(t, err, "DuplicateTargetGroupName")
	_, err = w.CreateTargetGroup(ctx, &elb.CreateTargetGroupInput{Name: aws.String("-app"), Protocol: types.ProtocolEnumHttp, Port: aws.Int32(443)})
	wantError(t, err, "ValidationError")
	attribute := func(k, v string) error {
		_, err := w.ModifyTargetGroupAttributes(ctx, &elb.ModifyTargetGroupAttributesInput{TargetGroupArn: &g, Attributes: []types.TargetGroupAttribute{{Key: &k, Value: &v}}})
		return err
	}
	wantError(t, attribute("deregistration_delay.timeout_seconds", "3601"), "ValidationError")
	wantError(t, attribute("slow_start.duration_seconds", "29"), "ValidationError")
	wantError(t, attribute("no.such", "1"), "InvalidConfigurationRequest")
	if err := attribute("slow_start.duration_seconds", "30"); err != nil {
		t.Error(err)
	}
	wantError(t, attribute("load_balancing.algorithm.type", "least_outstanding_requests"), "InvalidConfigurationRequest")
}

func TestPaging(t *testing.T) {
	w := start(t, "")
	for i := range 5 {
		w.group(fmt.Sprintf("g%d", i))
	}
	n := 0
	pages := elb.NewDescribeTargetGroupsPaginator(w.Client, &elb.DescribeTargetGroupsInput{PageSize: aws.Int32(2)})
	for pages.HasMorePages() {
		n += len(must[*elb.DescribeTargetGroupsOutput](t)(pages.NextPage(t.Context())).TargetGroups)
	}
	if n != 5 {
		t.Errorf("%d target groups over all pages", n)
	}
	_, err := w.DescribeTargetGroups(t.Context(), &elb.DescribeTargetGroupsInput{Names: []string{"none"}})
	wantError(t, err, "TargetGroupNotFound")
}

func itoa(n int32) string { return fmt.Sprint(n) }

// book is a Publisher that remembers the newest values.
type book struct {
	mu     sync.Mutex
	values map[string]float64
}

func (b *book) Put(namespace, name, _ string, dims []cloudwatch.Dimension, value float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := namespace + " " + name
	for _, d := range dims {
		kind, _, _ := strings.Cut(d.Value, "/")
		key += " " + d.Name + "=" + kind
	}
	b.values[key] = value
}

func TestMetrics(t *testing.T) {
	b := &book{values: map[string]float64{}}
	w := startWith(t, "", func(s *elbv2.Service) { s.PublishTo(b) })
	lb, g := w.balancer("web"), w.group("app")
	w.register(g, w.app("hi"))
	url := w.at(w.listener(lb, 18432, forward(g)))
	w.eventually("healthy", func() bool { return slices.Equal(w.health(g), []string{"healthy"}) })
	for range 7 {
		get(url)
	}
	// One minute is 3 s on this clock.
	w.eventually("a minute", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.values["AWS/ApplicationELB RequestCount LoadBalancer=app"] == 7 && b.values["AWS/ApplicationELB HTTPCode_Target_2XX_Count LoadBalancer=app TargetGroup=targetgroup"] == 7 &&
			b.values["AWS/ApplicationELB RequestCountPerTarget TargetGroup=targetgroup"] == 7 && b.values["AWS/ApplicationELB HealthyHostCount LoadBalancer=app TargetGroup=targetgroup"] == 1
	})
}

func TestCapacityReservation(t *testing.T) {
	w, ctx := start(t, ""), t.Context()
	arn := w.balancer("web").LoadBalancerArn
	if out := must[*elb.DescribeCapacityReservationOutput](t)(w.DescribeCapacityReservation(ctx, &elb.DescribeCapacityReservationInput{LoadBalancerArn: arn})); out.MinimumLoadBalancerCapacity != nil {
		t.Errorf("a reservation from the start: %+v", out.MinimumLoadBalancerCapacity)
	}
	reserve := func(n int32) error {
		_, err := w.ModifyCapacityReservation(ctx, &elb.ModifyCapacityReservationInput{LoadBalancerArn: arn, MinimumLoadBalancerCapacity: &types.MinimumLoadBalancerCapacity{CapacityUnits: &n}})
		return err
	}
	wantError(t, reserve(99), "InvalidConfigurationRequest")
	wantError(t, reserve(1501), "CapacityUnitsLimitExceeded")
	if err := reserve(200); err != nil {
		t.Fatal(err)
	}
	out := must[*elb.DescribeCapacityReservationOutput](t)(w.DescribeCapacityReservation(ctx, &elb.DescribeCapacityReservationInput{LoadBalancerArn: arn}))
	if *out.MinimumLoadBalancerCapacity.CapacityUnits != 200 || len(out.CapacityReservationState) != 2 || *out.CapacityReservationState[0].EffectiveCapacityUnits != 100 {
		t.Errorf("reservation = %+v", out)
	}
	_, err := w.GetResourcePolicy(ctx, &elb.GetResourcePolicyInput{ResourceArn: arn})
	wantError(t, err, "ResourceNotFound")
}

// Two local AWSs on a machine must not answer for each other.
func TestTwoProcessesTakeDifferentAddresses(t *testing.T) {
	a, b := start(t, ""), start(t, "")
	first, second := a.balancer("web"), b.balancer("web")
	if *first.DNSName == *second.DNSName {
		t.Errorf("both have %s", *first.DNSName)
	}
	must[*elb.DeleteLoadBalancerOutput](t)(a.DeleteLoadBalancer(t.Context(), &elb.DeleteLoadBalancerInput{LoadBalancerArn: first.LoadBalancerArn}))
}
