package awscloud

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// ErrNotSupported is what an endpoint does not know.
var ErrNotSupported = errors.New("not supported by the endpoint")

// Session is a way into a container. Token is a secret.
type Session struct {
	ID, URL, Token string
	Target         string // ecs:<cluster>_<task id>_<container runtime id>
	Endpoint       string // of Systems Manager
}

// Execute opens an ECS Exec session that runs a command in a container of a running task.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html
func (c *Cloud) Execute(ctx context.Context, ref deploy.Ref, task, container, command string) (Session, error) {
	api := ecs.NewFromConfig(c.cfg)
	seen, err := api.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &ref.Cluster, Tasks: []string{task}})
	if err != nil {
		return Session{}, fmt.Errorf("reading task %s: %w", lastPart(task), err)
	}
	runtime := ""
	for _, t := range seen.Tasks {
		for _, x := range t.Containers {
			if aws.ToString(x.Name) == container {
				runtime = aws.ToString(x.RuntimeId)
			}
		}
	}
	if runtime == "" {
		return Session{}, fmt.Errorf("task %s has no running container %q: %w", lastPart(task), container, deploy.ErrNotFound)
	}
	out, err := api.ExecuteCommand(ctx, &ecs.ExecuteCommandInput{Cluster: &ref.Cluster, Task: &task, Container: &container, Command: &command, Interactive: true})
	switch {
	case is(err, "NotImplemented", "UnknownOperationException", "UnsupportedFeatureException"):
		return Session{}, fmt.Errorf("%w: %w", ErrNotSupported, err)
	case err != nil:
		return Session{}, fmt.Errorf("opening a session in %s: %w", container, err)
	case out.Session == nil:
		return Session{}, errors.New("ECS gave no session")
	}
	return sessionOf(*out.Session, ref, task, runtime, c.ssmEndpoint()), nil
}

func sessionOf(s types.Session, ref deploy.Ref, task, runtime, endpoint string) Session {
	return Session{ID: aws.ToString(s.SessionId), URL: aws.ToString(s.StreamUrl), Token: aws.ToString(s.TokenValue), Endpoint: endpoint,
		Target: strings.Join([]string{"ecs:" + lastPart(ref.Cluster), lastPart(task), runtime}, "_")}
}

func (c *Cloud) ssmEndpoint() string {
	if c.cfg.BaseEndpoint != nil {
		return *c.cfg.BaseEndpoint
	}
	suffix := ".amazonaws.com"
	if strings.HasPrefix(c.cfg.Region, "cn-") {
		suffix += ".cn"
	}
	return "https://ssm." + c.cfg.Region + suffix
}
