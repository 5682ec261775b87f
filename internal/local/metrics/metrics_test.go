package metrics

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
)

// container burns a share of a core and holds some memory.
type container struct {
	runtime.Container
	began time.Time
	share float64
	mib   int64
}

func (c container) ID() string { return "c" }

func (c container) Stats(context.Context) (runtime.Stats, error) {
	return runtime.Stats{CPU: time.Duration(float64(time.Since(c.began)) * c.share), Memory: c.mib << 20}, nil
}

// book keeps the newest value of each metric.
type book map[string]float64

func (b book) Put(namespace, name, _ string, dims []cloudwatch.Dimension, v float64) {
	key := namespace + " " + name
	for _, d := range dims {
		key += " " + d.Name + "=" + d.Value
	}
	b[key] = v
}

func (b book) PutStatistics(namespace, name, unit string, dims []cloudwatch.Dimension, v cloudwatch.Statistics) {
	b.Put(namespace, name, unit, dims, v.Sum/v.Count)
}

func TestMinute(t *testing.T) {
	const (
		lb    = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/1"
		group = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/web/2"
		web   = " TargetGroup=targetgroup/web/2 LoadBalancer=app/web/1"
	)
	synctest.Test(t, func(t *testing.T) {
		db, err := state.Open("")
		if err != nil {
			t.Fatal(err)
		}
		ecs, err := state.NewECS(db)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *state.Tx) error {
			ecs.ContainerInstances.Put(tx, "i", &state.ContainerInstance{ARN: "i", ClusterName: "c", Status: "ACTIVE", CPU: 2048, Memory: 4000})
			ecs.Services.Put(tx, "c/web", &state.Service{Name: "web", ClusterName: "c"})
			ecs.Tasks.Put(tx, "t", &state.Task{ARN: "t", ClusterName: "c", ServiceKey: "c/web", LastStatus: "RUNNING", ContainerInstance: "i", CPU: 512, Memory: 1000, Containers: []state.TaskContainer{{Name: "app"}}})
			ecs.Tasks.Put(tx, "p", &state.Task{ARN: "p", ClusterName: "c", LastStatus: "PENDING", ContainerInstance: "i", CPU: 512, Memory: 1000})
			for i, health := range []string{"healthy", "healthy", "unhealthy", "initial"} {
				key := state.TargetKey(group, "10.0.0.1", i)
				ecs.Targets.Put(tx, key, &state.Target{TargetGroupARN: group})
				ecs.TargetHealth.Put(tx, key, &state.TargetHealth{State: health})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got, began := book{}, time.Now()
		m := New(Config{State: ecs, Clock: clock.Wall{}, CloudWatch: got,
			Container: func(string, string) (runtime.Container, bool) {
				return container{began: began, share: 0.25, mib: 600}, true
			},
			Traffic: func() balancer.Snapshot {
				// Ten requests a second, one of them a 500; each takes 20 ms.
				n := uint64(time.Since(began)/time.Second) * 10
				c := balancer.Counters{RequestCount: n, Target2XX: n * 9 / 10, Target5XX: n / 10, Responses: n, ResponseTime: time.Duration(n) * 20 * time.Millisecond}
				return balancer.Snapshot{LoadBalancers: map[string]balancer.Counters{lb: c}, TargetGroups: map[string]balancer.Counters{group: c}}
			},
			Groups: func(*state.Tx) map[string][]string { return map[string][]string{group: {lb}} }})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		time.Sleep(3 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for key, want := range map[string]float64{
			"AWS/ECS CPUUtilization ClusterName=c ServiceName=web":                   50, // 256 of 512
			"AWS/ECS MemoryUtilization ClusterName=c ServiceName=web":                60,
			"AWS/ECS CPUUtilization ClusterName=c":                                   12.5,
			"AWS/ECS MemoryUtilization ClusterName=c":                                15,
			"AWS/ECS CPUReservation ClusterName=c":                                   50, // the pending one has its place
			"AWS/ECS MemoryReservation ClusterName=c":                                50,
			"AWS/ApplicationELB RequestCount LoadBalancer=app/web/1":                 600,
			"AWS/ApplicationELB RequestCount" + web:                                  600,
			"AWS/ApplicationELB RequestCountPerTarget" + web:                         300,
			"AWS/ApplicationELB RequestCountPerTarget TargetGroup=targetgroup/web/2": 300,
			"AWS/ApplicationELB HTTPCode_Target_5XX_Count LoadBalancer=app/web/1":    60,
			"AWS/ApplicationELB TargetResponseTime LoadBalancer=app/web/1":           0.02,
			"AWS/ApplicationELB HealthyHostCount" + web:                              2,
			"AWS/ApplicationELB UnHealthyHostCount" + web:                            1,
		} {
			if v, ok := got[key]; !ok || math.Abs(v-want) > 1e-9 {
				t.Errorf("%s = %v, want %v", key, v, want)
			}
		}
		if _, ok := got["AWS/ApplicationELB HTTPCode_ELB_5XX_Count LoadBalancer=app/web/1"]; ok {
			t.Error("a count of zero is reported")
		}
		if t.Failed() {
			t.Log(fmt.Sprint(got))
		}
		_ = db.Close()
	})
}
