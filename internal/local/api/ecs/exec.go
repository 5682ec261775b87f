package ecs

import (
	"context"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// Sessions opens sessions in containers.
type Sessions interface {
	// Open prepares a session that runs a command, and returns its id, its URL and its token.
	Open(task, container, command string) (id, url, token string, err error)
}

const notEnabled = "The execute command failed because execute command was not enabled when the task was run or the execute command agent isn\u2019t running. Wait and try again or run a new task with execute command enabled and try again."

// executeCommand opens a session with a terminal in a container.
//
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html
func (a *API) executeCommand(_ context.Context, in *ecsapi.ExecuteCommandInput) (*ecsapi.ExecuteCommandOutput, error) {
	switch {
	case !wire.Value(in.Interactive):
		return nil, invalid("Interactive is the only mode supported currently.")
	case strings.TrimSpace(*in.Command) == "":
		return nil, invalid("command cannot be empty.")
	}
	type found struct {
		t *state.Task
		c *state.TaskContainer
	}
	f, err := view(a, func(tx *state.Tx) (found, error) {
		c, err := a.cluster(tx, in.Cluster)
		if err != nil {
			return found{}, err
		}
		t, ok := a.task(tx, c, *in.Task)
		switch {
		case !ok:
			return found{}, invalid("The referenced task was not found.")
		case !t.EnableExec, t.LastStatus != "RUNNING" && t.LastStatus != "ACTIVATING":
			return found{}, invalid("%s", notEnabled)
		case in.Container == nil && len(t.Containers) > 1:
			return found{}, invalid("The container name is required for tasks with multiple containers.")
		}
		name := wire.Value(or(in.Container, t.Containers[0].Name))
		k := slices.IndexFunc(t.Containers, func(x state.TaskContainer) bool { return x.Name == name })
		if k < 0 {
			return found{}, invalid("The container %s was not found in the task.", name)
		}
		return found{t, &t.Containers[k]}, nil
	})
	if err != nil {
		return nil, err
	}
	if a.Sessions == nil {
		return nil, wire.Errorf("TargetNotConnectedException", "The execute command failed: there are no sessions here.")
	}
	id, url, token, err := a.Sessions.Open(f.t.ARN, f.c.Name, *in.Command)
	if err != nil {
		return nil, wire.Errorf("TargetNotConnectedException", "The execute command failed: %s.", err)
	}
	return &ecsapi.ExecuteCommandOutput{ClusterArn: &f.t.ClusterARN, TaskArn: &f.t.ARN, ContainerArn: &f.c.ARN, ContainerName: &f.c.Name, Interactive: wire.Bool(true),
		Session: &ecsapi.Session{SessionId: &id, StreamUrl: &url, TokenValue: &token}}, nil
}
