package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	pack "github.com/slipway-ecs/slipway/internal/placement"
	"github.com/slipway-ecs/slipway/internal/service"
)

func TestRollbackTakesOverAStuckDeployment(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		mustApply(t, w, target(better))
		deploy := func() error { _, err := w.engine().Apply(t.Context(), target(stuck), nil); return err }
		end := w.begin(deploy)
		w.sleep(30 * time.Second)
		out, err := w.engine().Rollback(t.Context(), target(good).Ref(), "", nil)
		if err != nil || out.Status != "ROLLBACK_SUCCESSFUL" || w.service.TaskDefinition != w.definitions[1].ARN {
			t.Errorf("rollback: %+v, %v; the service runs %s", out, err, w.service.TaskDefinition)
		}
		if f := failureOf(t, end()); !f.RolledBack {
			t.Errorf("who deployed sees %+v", f)
		}
		// With a name, what is named comes after what was stopped.
		end = w.begin(deploy)
		w.sleep(30 * time.Second)
		out, err = w.engine().Rollback(t.Context(), target(good).Ref(), w.definitions[0].ARN, nil)
		if err != nil || out.Image != good || w.service.TaskDefinition != w.definitions[0].ARN {
			t.Errorf("rollback to the first: %+v, %v", out, err)
		}
		if err := end(); err == nil {
			t.Error("who deployed what was stopped is told it went well")
		}
	})
}

func TestStopWithoutRollback(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		tg := target(stuck)
		tg.Spec.Deployment.Timeout, tg.Spec.Deployment.Rollback = 5*time.Second, false
		if f := failureOf(t, func() error { _, err := w.engine().Apply(t.Context(), tg, nil); return err }()); !f.StillGoing {
			t.Fatalf("failure %+v", f)
		}
		w.calls = nil
		if _, err := w.engine().Stop(t.Context(), tg.Ref(), StopOptions{Abort: true}, nil); err != nil || !slices.Equal(w.calls, []string{"stop deployment, rollback false"}) {
			t.Errorf("%v, calls %q", err, w.calls)
		}
		var none *RefusedError
		if _, err := w.engine().Stop(t.Context(), tg.Ref(), StopOptions{}, nil); !errors.As(err, &none) {
			t.Errorf("stopping nothing: %v", err)
		}
	})
}

func TestScaleRespectsAutoScaling(t *testing.T) {
	for name, c := range map[string]struct {
		scaling  *service.Scaling
		count    int
		min, max int // after; 0: no scaling
		bounds   bool
	}{
		"no scaling":  {nil, 5, 0, 0, false},
		"inside":      {&service.Scaling{Min: 2, Max: 8}, 4, 2, 8, false},
		"above":       {&service.Scaling{Min: 2, Max: 8}, 12, 2, 12, true},
		"below":       {&service.Scaling{Min: 2, Max: 8}, 0, 0, 8, true},
		"as it is":    {&service.Scaling{Min: 2, Max: 8}, 2, 2, 8, false},
		"to the edge": {&service.Scaling{Min: 2, Max: 8}, 8, 2, 8, false},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				tg := target(good)
				tg.Spec.Scaling = c.scaling
				mustApply(t, w, tg)
				got, err := w.engine().Scale(t.Context(), tg.Ref(), c.count, nil)
				if err != nil || got != (Scaled{From: 2, To: c.count, Min: c.min, Max: c.max, Bounds: c.bounds}) || w.service.Desired != c.count {
					t.Errorf("%+v, %v; %d tasks wanted", got, err, w.service.Desired)
				}
				if c.scaling != nil && (w.scaling.Min != c.min || w.scaling.Max != c.max) {
					t.Errorf("bounds %d to %d", w.scaling.Min, w.scaling.Max)
				}
			})
		})
	}
}

func TestRunWithAnotherImageLeavesNoRevision(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		w.calls = nil
		_, td, err := w.engine().Run(t.Context(), target(good).Ref(), OneOff{Image: better, ID: "1", Command: []string{"migrate"}})
		if err != nil || td.Containers[0].Image != better || len(w.definitions) != 1 {
			t.Errorf("%v: ran %s, %d definitions are left", err, td.Containers[0].Image, len(w.definitions))
		}
		if want := []string{"register app-qa:2", "run migrate", "deregister app-qa:2"}; !slices.Equal(w.calls, want) {
			t.Errorf("calls %q, wanted %q", w.calls, want)
		}
		var refused *RefusedError
		if _, _, err := w.engine().Run(t.Context(), target(good).Ref(), OneOff{Container: "web"}); !errors.As(err, &refused) {
			t.Errorf("a container that is not there: %v", err)
		}
	})
}

// around is what a preflight looks at beside the ports.
type around struct {
	platforms []string
	missing   string // secret
	vpcs      map[string]string
	denied    []string
	asking    error
	instances []*pack.Instance
	quotas    []Quota
}

func (a around) Quotas(context.Context, string, bool) []Quota { return a.quotas }

func (a around) Platforms(context.Context, string) ([]string, error) {
	if a.platforms == nil {
		return nil, ErrNotFound
	}
	return a.platforms, nil
}

func (a around) SecretExists(_ context.Context, from string) error {
	if from == a.missing {
		return ErrNotFound
	}
	return nil
}

func (a around) Networks(context.Context, []string) (map[string]string, error) { return a.vpcs, nil }

func (a around) Denied(context.Context, string, []string, string) ([]string, error) {
	return a.denied, a.asking
}

func (a around) Instances(context.Context, string) ([]*pack.Instance, error) {
	return a.instances, nil
}

// onFargate makes it a service of two tasks of half a vCPU.
func onFargate(t *Target) {
	t.Spec.Count, t.Spec.LaunchType, t.Spec.CPU, t.Spec.Memory = 2, "FARGATE", 512, 1024
}

func TestPreflightFindsEverythingAtOnce(t *testing.T) {
	room := func(memory int) []*pack.Instance {
		return []*pack.Instance{{ID: "i", Status: "ACTIVE", AgentConnected: true, Registered: pack.Resources{CPU: 2048, Memory: memory, ENI: 3}}}
	}
	fine := around{platforms: []string{"linux/amd64"}, vpcs: map[string]string{"subnet-1": "vpc-1", "sg-1": "vpc-1"}, instances: room(4096)}
	for name, c := range map[string]struct {
		change func(*Target, *around, *world)
		fault  string // what is said, "" = nothing
		not    string // what is not checked
	}{
		"all is well":     {func(*Target, *around, *world) {}, "", ""},
		"no image":        {func(_ *Target, a *around, _ *world) { a.platforms = nil }, "it is not in its registry", ""},
		"other processor": {func(_ *Target, a *around, _ *world) { a.platforms = []string{"linux/arm64"} }, "it is for linux/arm64; the service's architecture needs linux/amd64", ""},
		"secret missing":  {func(t *Target, a *around, _ *world) { a.missing = "/app/key" }, "/app/key does not exist", ""},
		"role missing":    {func(t *Target, _ *around, _ *world) { t.Infra.ExecutionRole = "arn:aws:iam::000000000000:role/x" }, "the role does not exist", ""},
		"role of another": {func(t *Target, _ *around, w *world) { exists(t, w, "lambda.amazonaws.com") }, "ECS may not assume the role", ""},
		"role may not": {func(t *Target, a *around, w *world) {
			exists(t, w, "ecs-tasks.amazonaws.com")
			a.denied = []string{"x"}
		}, "the execution role may not read /app/key", ""},
		"cannot be asked": {func(t *Target, a *around, w *world) {
			exists(t, w, "ecs-tasks.amazonaws.com")
			a.asking = ErrUnavailable
		}, "", "not available here"},
		"no subnet":        {func(_ *Target, a *around, _ *world) { a.vpcs = map[string]string{"sg-1": "vpc-1"} }, "it does not exist", ""},
		"subnet elsewhere": {func(_ *Target, a *around, _ *world) { a.vpcs = map[string]string{"subnet-1": "vpc-2", "sg-1": "vpc-1"} }, "it is in VPC vpc-2, the load balancer's target group in vpc-1", ""},
		"no room":          {func(_ *Target, a *around, _ *world) { a.instances = room(32) }, "not one more task fits", ""},
		"no instance":      {func(_ *Target, a *around, _ *world) { a.instances = nil }, "the cluster has no container instances", ""},
		"quota": {func(_ *Target, a *around, _ *world) {
			a.quotas = []Quota{{Name: QuotaTargetGroups, Used: 3000, Limit: 3000}}
		}, "3000 are taken, 1 more are needed, and the limit is 3000", ""},
		"quota with room": {func(_ *Target, a *around, _ *world) {
			a.quotas = []Quota{{Name: QuotaTargetGroups, Used: 2999, Limit: 3000}, {Name: QuotaRoles, Used: 999, Limit: 1000}, {Name: QuotaRules, Limit: 100}}
		}, "", ""},
		"quota of roles": {func(_ *Target, a *around, _ *world) { a.quotas = []Quota{{Name: QuotaRoles, Used: 1000, Limit: 1000}} }, "1000 are taken, 1 more are needed", ""},
		"quota, maybe": {func(_ *Target, a *around, _ *world) {
			a.quotas = []Quota{{Name: QuotaServices, Used: 5000, Limit: 5000, Default: true}}
		}, "", "the default limit is 5000"},
		"quota, not told": {func(_ *Target, a *around, _ *world) { a.quotas = []Quota{{Name: QuotaRoles, Err: ErrForbidden}} }, "", "not allowed"},
		"vCPUs": {func(t *Target, a *around, _ *world) {
			onFargate(t)
			a.quotas = []Quota{{Name: QuotaFargate, Used: 3.5, Limit: 4}, {Name: QuotaFargateSpot, Used: 4, Limit: 4}}
		}, "3.5 are taken, 1 more are needed, and the limit is 4", "what capacity Fargate has"},
		"vCPUs of Spot": {func(t *Target, a *around, _ *world) {
			onFargate(t)
			t.Spec.LaunchType, t.Spec.CapacityProvider = "", []service.CapacityProviderStrategy{{Name: "FARGATE", Base: 1, Weight: 1}, {Name: "FARGATE_SPOT", Weight: 3}}
			a.quotas = []Quota{{Name: QuotaFargate, Used: 3.5, Limit: 4}, {Name: QuotaFargateSpot, Used: 3.75, Limit: 4}}
		}, "3.75 are taken, 0.5 more are needed, and the limit is 4", "what capacity Fargate has"},
		"vCPUs enough": {func(t *Target, a *around, _ *world) {
			onFargate(t)
			a.quotas = []Quota{{Name: QuotaFargate, Used: 3, Limit: 4}, {Name: QuotaFargateSpot, Err: ErrForbidden}}
		}, "", "what capacity Fargate has"},
		"what is there is no new": {func(t *Target, a *around, w *world) {
			exists(t, w, "ecs-tasks.amazonaws.com")
			a.quotas = []Quota{{Name: QuotaRoles, Used: 1000, Limit: 1000}}
		}, "", ""},
		"too many tasks": {func(t *Target, _ *around, _ *world) { t.Spec.Scaling = &service.Scaling{Min: 1, Max: 6000} }, "6000, and ECS takes 5000", ""},
		"too many found": {func(t *Target, _ *around, _ *world) {
			t.Spec.Count, t.Spec.Discovery = 1001, &service.Discovery{Kind: "cloudmap", Namespace: "n", Record: "A"}
		}, "1001, and ECS takes 1000", ""},
		"too long": {func(t *Target, _ *around, _ *world) {
			t.Spec.Containers[0].Env = map[string]string{"A": strings.Repeat("x", 70_000)}
		}, "70", ""},
		"too many containers": {func(t *Target, _ *around, _ *world) {
			for i := range 10 {
				t.Spec.Containers = append(t.Spec.Containers, service.Container{Name: fmt.Sprint("side", i), Image: good, Memory: 8})
			}
		}, "11, and ECS takes 10", ""},
		"other port": {func(t *Target, _ *around, _ *world) { t.Spec.Route.Port = 9090 }, "container app does not publish port 9090", ""},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(t *testing.T, w *world) {
				tg, a := target(good), fine
				a.instances = room(4096)
				tg.Spec.NetworkMode, tg.Spec.Subnets, tg.Spec.SecurityGroups = "awsvpc", []string{"subnet-1"}, []string{"sg-1"}
				tg.Spec.Containers[0].Secrets = map[string]string{"KEY": "ssm:/app/key"}
				c.change(&tg, &a, w)
				all, err := w.engine().Preflight(t.Context(), tg, a)
				if err != nil || len(w.calls) > 0 {
					t.Fatalf("%v, calls %q", err, w.calls)
				}
				var faults, unknown []string
				for _, f := range all {
					switch f.State {
					case Fault:
						faults = append(faults, f.Says)
						if f.Fix == "" {
							t.Errorf("no fix: %+v", f)
						}
					case Unknown:
						unknown = append(unknown, f.Says)
					}
				}
				if got := strings.Join(faults, "; "); (c.fault == "") != (got == "") || !strings.HasPrefix(got, c.fault) {
					t.Errorf("faults %q, wanted %q", got, c.fault)
				}
				if got := strings.Join(unknown, "; "); (c.not == "") != (got == "") || !strings.Contains(got, c.not) {
					t.Errorf("not checked: %q, wanted %q", got, c.not)
				}
			})
		})
	}
}

// exists makes a role that a service may assume the execution role of the target.
func exists(t *Target, w *world, principal string) {
	t.Infra.ExecutionRole = "arn:aws:iam::000000000000:role/x"
	w.roles["x"] = Role{Name: "x", ARN: t.Infra.ExecutionRole, Trust: `{"Statement":[{"Effect":"Allow","Principal":{"Service":["` + principal + `"]},"Action":"sts:AssumeRole"}]}`}
}
