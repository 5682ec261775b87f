package deploy

import "testing"

func TestStepSucceeded(t *testing.T) {
	code := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		task Task
		want bool
	}{
		"it ended well":                      {Task{LastStatus: "STOPPED", Containers: []TaskContainer{{Name: "app", ExitCode: code(0)}}}, true},
		"a sidecar was killed because of it": {Task{LastStatus: "STOPPED", Containers: []TaskContainer{{Name: "app", ExitCode: code(0)}, {Name: "watch", ExitCode: code(137)}}}, true},
		"it failed":                          {Task{LastStatus: "STOPPED", Containers: []TaskContainer{{Name: "watch", ExitCode: code(0)}, {Name: "app", ExitCode: code(1)}}}, false},
		"it never began":                     {Task{LastStatus: "STOPPED", Containers: []TaskContainer{{Name: "app"}, {Name: "watch", ExitCode: code(0)}}}, false},
		"its task has not stopped yet":       {Task{LastStatus: "DEPROVISIONING", Containers: []TaskContainer{{Name: "app", ExitCode: code(0)}}}, false},
	} {
		if got := c.task.succeeded("app"); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
