package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/drain"
	"github.com/slipway-ecs/slipway/internal/placement"
)

// Tasks fill the bars by what they reserve, a letter a service; what leaves is shaded, what is free is dots.
func TestTop(t *testing.T) {
	task := func(service string, cpu, memory int, desired string) drain.Task {
		return drain.Task{Service: service, Group: "service:" + service, DesiredStatus: desired, Need: placement.Request{Resources: placement.Resources{CPU: cpu, Memory: memory}}}
	}
	v := &topView{cluster: "c", at: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), services: []drain.Service{{Name: "api", Desired: 1, Running: 1}, {Name: "web", Desired: 2, Running: 2}},
		instances: []drain.Instance{{Instance: placement.Instance{EC2ID: "i-1", Type: "m7i.large", Status: "ACTIVE", Registered: placement.Resources{CPU: 2048, Memory: 8192}, Used: placement.Resources{CPU: 1536, Memory: 4096}},
			Tasks: []drain.Task{task("web", 512, 1024, "RUNNING"), task("api", 512, 2048, "RUNNING"), task("web", 512, 1024, "STOPPED")}}},
		drains: []drain.Drain{{EC2ID: "i-1", Left: 3, Waits: []drain.Wait{{Sentence: "ECS moves it"}}}}}
	text := v.render(62, 0, false)
	for _, want := range []string{"1 instances", "A api 1/1", "B web 2/2", "▕AABB░░··▏▕AAB░····▏", "i-1 drains: 3 tasks left; ECS moves it"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if long := v.render(62, 5, false); !strings.Contains(long, "… 1 more") {
		t.Errorf("a small window shows\n%s", long)
	}
	m := &topModel{width: 80, height: 4}
	if text := m.screen(); !strings.Contains(text, "looking") {
		t.Error(text)
	}
	if m.view = v; !strings.Contains(m.screen(), "1 instances") || strings.Count(m.screen(), "\n") > 3 {
		t.Errorf("what was seen is not shown, or too much: %q", m.screen())
	}
}
