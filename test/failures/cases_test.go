package failures

import (
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// failure is one way to fail: what is changed of a good service, and what must be said of it.
type failure struct {
	name   string // for people
	change func(*stage, *deploy.Target)
	cause  deploy.Cause // "" = refused before anything is done
	says   string
}

func mode(m string) func(*stage, *deploy.Target) {
	return func(_ *stage, t *deploy.Target) { t.Spec.Containers[0].Env["MODE"] = m }
}

// waits gives a deployment that ECS would never end so long.
func waits(t *deploy.Target, d time.Duration) {
	t.Spec.Deployment.Timeout, t.Spec.Deployment.Rollback = d, false
}

var failures = []failure{
	{"image missing", func(s *stage, t *deploy.Target) {
		t.Image = s.image[:strings.Index(s.image, "@")] + "@sha256:" + strings.Repeat("0", 64)
	}, deploy.CauseImageMissing, "is not in its registry"},
	{"wrong architecture", func(s *stage, t *deploy.Target) { t.Image = s.foreign }, deploy.CauseArchitecture, "is built for another processor"},
	{"command missing", func(_ *stage, t *deploy.Target) { t.Spec.Containers[0].EntryPoint = []string{"/usr/bin/shop"} }, deploy.CauseCommand, "/usr/bin/shop"},
	{"port wrong", func(_ *stage, t *deploy.Target) {
		t.Spec.Containers[0].Ports[0].Container, t.Spec.Route.Port = 9090, 9090
	}, deploy.CausePort, "nothing answers the health check /healthz on container port 9090"},
	{"health path answers 500", mode("500"), deploy.CauseHealthPath, "answers 500, wanted 200"},
	{"health path wrong", func(_ *stage, t *deploy.Target) { t.Spec.Route.Health.Path = "/health" }, deploy.CauseHealthPath, "answers 418, wanted 200"},
	{"health check too slow", mode("slow"), deploy.CauseHealthTimeout, "does not answer in time"},
	{"slow start beyond the grace period", func(_ *stage, t *deploy.Target) {
		t.Spec.Containers[0].Env["MODE"], t.Spec.Route.GracePeriod = "slow-start", 5*time.Second
	}, deploy.CausePort, "nothing answers the health check"},
	{"crash loop", mode("crash"), deploy.CauseCrash, "panic: no database at db.internal:5432"},
	{"process ends", mode("exit"), deploy.CauseExited, "a service must keep running"},
	{"out of memory", mode("memory"), deploy.CauseMemory, "killed for memory: the limit is 64 MiB"},
	{"container health check", func(_ *stage, t *deploy.Target) {
		t.Spec.Containers[0].HealthCheck = &service.ContainerHealth{Command: []string{"CMD", "/bin/check"}, Interval: 5 * time.Second, Timeout: 2 * time.Second, Retries: 2}
		t.Spec.Route = nil
	}, deploy.CauseContainerCheck, "failed the container health check"},
	{"secret missing", func(_ *stage, t *deploy.Target) { t.Spec.Containers[0].Secrets["KEY"] = "ssm:/shop/key" }, deploy.CauseSecret, "/shop/key"},
	{"no room on the instances", func(_ *stage, t *deploy.Target) {
		t.Spec.Containers[0].Memory = 100_000
		waits(t, 8*time.Second)
	}, deploy.CauseCapacity, "no instance has room for the task"},
	{"placement constraint", func(_ *stage, t *deploy.Target) {
		t.Spec.Placement.Constraints = []service.PlacementConstraint{{Type: "memberOf", Expression: "attribute:disk == ssd"}}
		waits(t, 8*time.Second)
	}, deploy.CausePlacement, "no instance is allowed to take the task"},
	{"volume not mountable", func(_ *stage, t *deploy.Target) {
		t.Spec.Volumes = []service.Volume{{Name: "data", HostPath: "/proc/nothing/here"}}
		t.Spec.Containers[0].Mounts = []service.Mount{{Volume: "data", Path: "/data"}}
	}, deploy.CauseVolume, "a volume cannot be mounted"},
	{"migration fails", func(_ *stage, t *deploy.Target) {
		t.Spec.Deployment.Before = []service.Step{{Name: "migrate", Command: []string{"migrate"}}}
	}, deploy.CauseStep, `step migrate failed: exited with code 1: error: column "email" of relation "users" already exists`},
	{"smoke test fails", func(_ *stage, t *deploy.Target) {
		t.Spec.Deployment.Smoke = &service.Smoke{Path: "/" + t.Spec.Name + "/", Status: 200}
	},
		deploy.CauseSmoke, "status 418, wanted 200"},
	{"subnet does not exist", func(_ *stage, t *deploy.Target) {
		t.Spec.NetworkMode, t.Spec.Subnets = "awsvpc", []string{"subnet-0123456789abcdef0"}
	}, deploy.CauseNetwork, "subnet-0123456789abcdef0"},
}
