package local

import (
	"context"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/authz"
	"github.com/slipway-ecs/slipway/internal/local/loop"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// execution holds what ECS does for a task as its execution role against that role's policies.
type execution struct{ l *Local }

// rights are those of execution roles; nil without Config.EnforceIAM.
func (l *Local) rights() loop.Rights {
	if l.access.enforcer == nil {
		return nil
	}
	return execution{l}
}

// may asks for one action after the other; each is recorded as the role's, in a session named as the task.
func (x execution) may(ctx context.Context, t *state.Task, role, resource string, actions ...string) error {
	for _, a := range actions {
		id := wire.Identity{Account: x.l.cfg.Account, Region: x.l.cfg.Region, Partition: "aws"}
		if err := x.l.access.enforcer.AsRole(ctx, id, role, t.ID, authz.Need{Action: a, Resource: resource}); err != nil {
			return err
		}
	}
	return nil
}

func (x execution) arn(service, resource string) string {
	return "arn:aws:" + service + ":" + x.l.cfg.Region + ":" + x.l.cfg.Account + ":" + resource
}

// Pull asks for an image of a registry of this local AWS; others have no roles.
// https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policy-examples.html
func (x execution) Pull(ctx context.Context, t *state.Task, role, image string) error {
	host, path, ok := strings.Cut(image, "/")
	store := x.l.registry.At(host)
	if !ok || store == nil || host != store.Host(x.l.cfg.Address) {
		return nil
	}
	name, _, _ := strings.Cut(path, "@")
	name, _, _ = strings.Cut(name, ":")
	if err := x.may(ctx, t, role, "*", "ecr:GetAuthorizationToken"); err != nil {
		return err
	}
	return x.may(ctx, t, role, store.ARN(name), "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
}

// Secret asks for the value of a secret or parameter.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specifying-sensitive-data.html
func (x execution) Secret(ctx context.Context, t *state.Task, role, valueFrom string) error {
	if parts := strings.Split(valueFrom, ":"); len(parts) >= 7 && parts[2] == "secretsmanager" {
		return x.may(ctx, t, role, strings.Join(parts[:7], ":"), "secretsmanager:GetSecretValue")
	}
	if !strings.HasPrefix(valueFrom, "arn:") {
		valueFrom = x.arn("ssm", "parameter/"+strings.TrimPrefix(valueFrom, "/"))
	}
	return x.may(ctx, t, role, valueFrom, "ssm:GetParameters")
}

// Write asks for a stream of a log group.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using_awslogs.html
func (x execution) Write(ctx context.Context, t *state.Task, role, group, stream string, create bool) error {
	if create {
		if err := x.may(ctx, t, role, x.arn("logs", "log-group:"+group+":log-stream:"), "logs:CreateLogGroup"); err != nil {
			return err
		}
	}
	return x.may(ctx, t, role, x.arn("logs", "log-group:"+group+":log-stream:"+stream), "logs:CreateLogStream", "logs:PutLogEvents")
}
