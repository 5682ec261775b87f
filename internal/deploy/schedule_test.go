package deploy

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/slipway-ecs/slipway/internal/service"
)

// A job with a schedule: made, left alone, moved to a new revision, taken away, deleted.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := scripted()
		tg := target(good)
		tg.Spec.Kind, tg.Spec.Route, tg.Spec.Schedule = service.KindJob, nil, "rate(1 day)"
		apply := func(want ...string) {
			t.Helper()
			w.calls = nil
			if _, err := w.engine().Apply(t.Context(), tg, nil); err != nil {
				t.Fatal(err)
			}
			got := slices.DeleteFunc(slices.Clone(w.calls), func(c string) bool { return !strings.Contains(c, "schedule") })
			if !slices.Equal(got, want) {
				t.Errorf("calls %q, want %q", got, want)
			}
		}
		apply("put schedule rate(1 day) app-qa:1")
		name := tg.Ref().scheduleName()
		s := w.schedules[name]
		role := w.roles[tg.Ref().scheduleRoleName()]
		if s.Role != role.ARN || !strings.Contains(role.Trust, "scheduler.amazonaws.com") || !strings.Contains(role.Policy, "task-definition/app-qa:*") ||
			!strings.Contains(role.Policy, role.ARN[:strings.IndexByte(role.ARN, '/')]) || !strings.HasSuffix(s.Cluster, "/"+tg.Ref().Cluster) {
			t.Errorf("schedule %+v, role %+v", s, role)
		}
		apply()
		tg.Spec.Schedule = "rate(2 days)"
		apply("put schedule rate(2 days) app-qa:1")
		tg.Spec.Containers = slices.Clone(tg.Spec.Containers)
		tg.Spec.Containers[0].Command = []string{"other"}
		apply("put schedule rate(2 days) app-qa:2")
		tg.Spec.Schedule = ""
		apply("delete schedule")
		if _, ok := w.roles[tg.Ref().scheduleRoleName()]; ok {
			t.Error("the schedule's role is left")
		}
		tg.Spec.Schedule = "rate(1 day)"
		apply("put schedule rate(1 day) app-qa:2")
		if err := w.engine().Delete(t.Context(), tg.Ref(), DeleteOptions{}, nil); err != nil {
			t.Fatal(err)
		}
		if len(w.schedules) != 0 || len(w.roles) != 0 {
			t.Errorf("left: schedules %v, roles %v", w.schedules, w.roles)
		}
	})
}
