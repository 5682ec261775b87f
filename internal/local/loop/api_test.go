package loop

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/ecs"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// client calls the ECS API of a world as the SDKs do.
type client struct {
	t *testing.T
	s *wire.Server
}

func (w *world) api() *client {
	s := wire.NewServer()
	if _, err := ecs.Register(s.Service("ecs"), ecs.Deps{State: w.ecs, Clock: clock.Wall{}}); err != nil {
		w.t.Fatal(err)
	}
	return &client{w.t, s}
}

func (c *client) call(op, body string) map[string]any {
	c.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+op)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	rec := httptest.NewRecorder()
	c.s.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK {
		c.t.Fatalf("%s: %d %s", op, rec.Code, rec.Body)
	}
	out := map[string]any{}
	if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

// at walks into a decoded document: names of members, numbers of elements.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (c *client) service() any {
	return at(c.call("DescribeServices", `{"cluster":"main","services":["web"]}`), "services", 0)
}

// A deployment, a failing one with rollback, a scaling, a standalone task and the deletion, all by the
// API, as a deployment tool sees them.
func TestThroughTheAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		c := w.api()
		w.instances(2)
		w.run()
		defer w.kill()
		w.rt.lives = func(image string) (time.Duration, int, bool) {
			switch image {
			case "bad":
				return 200 * time.Millisecond, 3, false
			case "job":
				return 10 * time.Second, 0, false
			}
			return 0, 0, false
		}
		define := func(family, image string) {
			c.call("RegisterTaskDefinition", `{"family":"`+family+`","containerDefinitions":[{"name":"app","image":"`+image+`","cpu":256,"memory":512,"portMappings":[{"containerPort":8080}]}]}`)
		}
		define("web", "good")
		c.call("CreateService", `{"cluster":"main","serviceName":"web","taskDefinition":"web","desiredCount":2,
			"loadBalancers":[{"targetGroupArn":"`+groupARN+`","containerName":"app","containerPort":8080}],
			"deploymentConfiguration":{"deploymentCircuitBreaker":{"enable":true,"rollback":true},"minimumHealthyPercent":100,"maximumPercent":200}}`)
		after(10 * time.Second)
		s := c.service()
		if at(s, "runningCount") != 2.0 || at(s, "deployments", 0, "rolloutState") != "COMPLETED" {
			t.Fatalf("service: %v", s)
		}
		first := at(s, "deployments", 0, "id")

		define("web", "bad")
		c.call("UpdateService", `{"cluster":"main","service":"web","taskDefinition":"web"}`)
		after(500 * time.Millisecond)
		run, _ := at(c.service(), "currentServiceDeployment").(string)
		after(60 * time.Second)
		s = c.service()
		d := at(c.call("DescribeServiceDeployments", `{"serviceDeploymentArns":["`+run+`"]}`), "serviceDeployments", 0)
		if at(d, "status") != "ROLLBACK_SUCCESSFUL" || at(d, "deploymentCircuitBreaker", "status") != "TRIGGERED" || at(d, "rollback", "serviceRevisionArn") == nil {
			t.Errorf("service deployment: %v", d)
		}
		if at(s, "runningCount") != 2.0 || at(s, "deployments", 0, "id") != first || !strings.HasSuffix(at(s, "taskDefinition").(string), "web:1") {
			t.Errorf("service after the rollback: %v", s)
		}
		stopped := c.call("ListTasks", `{"cluster":"main","serviceName":"web","desiredStatus":"STOPPED"}`)
		arn, _ := at(stopped, "taskArns", 0).(string)
		task := at(c.call("DescribeTasks", `{"cluster":"main","tasks":["`+arn+`"]}`), "tasks", 0)
		if at(task, "stoppedReason") != "Essential container in task exited" || at(task, "containers", 0, "exitCode") != 3.0 || at(task, "lastStatus") != "STOPPED" {
			t.Errorf("stopped task: %v", task)
		}

		c.call("UpdateService", `{"cluster":"main","service":"web","desiredCount":5}`)
		after(20 * time.Second)
		if s = c.service(); at(s, "runningCount") != 5.0 || at(s, "deployments", 1) != nil {
			t.Errorf("service after scaling: %v", s)
		}

		define("job", "job")
		job := at(c.call("RunTask", `{"cluster":"main","taskDefinition":"job"}`), "tasks", 0, "taskArn").(string)
		after(5 * time.Second)
		if task = at(c.call("DescribeTasks", `{"cluster":"main","tasks":["`+job+`"]}`), "tasks", 0); at(task, "lastStatus") != "RUNNING" {
			t.Errorf("job: %v", task)
		}
		after(20 * time.Second)
		if task = at(c.call("DescribeTasks", `{"cluster":"main","tasks":["`+job+`"]}`), "tasks", 0); at(task, "lastStatus") != "STOPPED" || at(task, "containers", 0, "exitCode") != 0.0 {
			t.Errorf("job: %v", task)
		}

		c.call("DeleteService", `{"cluster":"main","service":"web","force":true}`)
		after(20 * time.Second)
		if s = c.service(); at(s, "status") != "INACTIVE" || at(s, "runningCount") != 0.0 {
			t.Errorf("service after deletion: %v", s)
		}
		if w.rt.running != 0 {
			t.Errorf("%d containers left", w.rt.running)
		}
		w.view(func(tx *state.Tx) {
			for _, ci := range w.ecs.ContainerInstances.All(tx) {
				if n := w.ecs.TasksByInstance.Count(tx, ci.ARN); n != 0 {
					t.Errorf("%d tasks still hold room on %s", n, ci.ID)
				}
			}
		})
	})
}
