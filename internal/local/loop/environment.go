package loop

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// mostEnvironmentFiles is how many a task may have
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/use-environment-file.html).
const mostEnvironmentFiles = 10

// env is a container's environment: what every container gets, the files', the definition's and the
// overrides' variables, then the secrets. Later ones win.
func (d *driver) env(ctx context.Context, t *state.Task, c *ecsapi.ContainerDefinition) ([]string, error) {
	env := append([]string(nil), d.l.cfg.Env...)
	if d.agent != nil {
		env = append(env, d.agent.env(t, wire.Value(c.Name))...)
	}
	files, err := d.environmentFiles(c.EnvironmentFiles)
	if err != nil {
		return nil, err
	}
	env = append(env, files...)
	for _, kv := range c.Environment {
		env = append(env, wire.Value(kv.Name)+"="+wire.Value(kv.Value))
	}
	for _, s := range c.Secrets {
		if d.l.cfg.Secrets == nil {
			return nil, errors.New("unable to pull secrets or registry auth: there is no source of secrets")
		}
		var v string
		err := d.asExecution(t, func(r Rights, role string) error { return r.Secret(ctx, t, role, wire.Value(s.ValueFrom)) })
		if err == nil {
			v, err = d.l.cfg.Secrets.Secret(ctx, wire.Value(s.ValueFrom))
		}
		if err != nil {
			return nil, fmt.Errorf("unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret %s: %w", wire.Value(s.ValueFrom), err)
		}
		env = append(env, wire.Value(s.Name)+"="+v)
	}
	return env, nil
}

// asExecution asks for a right of the task's execution role, where there are rights and a role.
func (d *driver) asExecution(t *state.Task, ask func(r Rights, role string) error) error {
	role := wire.Value(d.def.ExecutionRoleArn)
	if o := t.Overrides; o != nil && wire.Value(o.ExecutionRoleArn) != "" {
		role = *o.ExecutionRoleArn
	}
	if d.l.cfg.Rights == nil || role == "" {
		return nil
	}
	return ask(d.l.cfg.Rights, role)
}

// environmentFiles reads environment files from S3. Of a variable that is in several, the first
// counts.
func (d *driver) environmentFiles(files []ecsapi.EnvironmentFile) ([]string, error) {
	if len(files) > mostEnvironmentFiles {
		return nil, fmt.Errorf("failed to download env files: a task can have at most %d", mostEnvironmentFiles)
	}
	var out []string
	have := map[string]bool{}
	for _, f := range files {
		arn := wire.Value(f.Value)
		parts := strings.SplitN(arn, ":", 6)
		if len(parts) != 6 || parts[2] != "s3" || wire.Value(f.Type) != "s3" {
			return nil, fmt.Errorf("failed to download env files: %s is not the ARN of an object in S3", arn)
		}
		bucket, key, ok := strings.Cut(parts[5], "/")
		if !ok || !strings.HasSuffix(key, ".env") {
			return nil, fmt.Errorf("failed to download env files: %s does not end with .env", arn)
		}
		if d.l.cfg.Object == nil {
			return nil, errors.New("not supported: environmentFiles, as there is no S3")
		}
		text, err := d.l.cfg.Object(bucket, key)
		if err != nil {
			return nil, fmt.Errorf("failed to download env files: %s: %w", arn, err)
		}
		for _, kv := range parseEnvironment(string(text)) {
			name, _, _ := strings.Cut(kv, "=")
			if !have[name] {
				have[name] = true
				out = append(out, kv)
			}
		}
	}
	return out, nil
}

// parseEnvironment reads NAME=VALUE lines. Lines that begin with # are comments; blank lines and those
// without a name say nothing. Values are taken as they are, quotes included.
func parseEnvironment(text string) []string {
	var out []string
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimSpace(line)
		if name, _, ok := strings.Cut(line, "="); ok && name != "" && !strings.HasPrefix(line, "#") && !strings.ContainsAny(name, " \t") {
			out = append(out, line)
		}
	}
	return out
}
