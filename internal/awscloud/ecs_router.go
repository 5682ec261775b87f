package awscloud

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/service"
)

// labelVersion and a variable's name make the Docker label that says which version its secret had.
const labelVersion = "slipway.secret-version."

// routerTo is the FireLens container. It is essential: without it the others' lines are lost.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/firelens-taskdef.html
func routerTo(r service.LogRouter, logs map[string]string) types.ContainerDefinition {
	out := types.ContainerDefinition{
		Name: aws.String(service.LogRouterName), Image: aws.String(r.Image), Essential: aws.Bool(true), Cpu: int32(r.CPU), Memory: aws.Int32(int32(r.Memory)),
		FirelensConfiguration: &types.FirelensConfiguration{Type: types.FirelensConfigurationType(r.Type), Options: map[string]string{"enable-ecs-log-metadata": "true"}},
		LogConfiguration:      &types.LogConfiguration{LogDriver: types.LogDriverAwslogs, Options: logs},
	}
	if r.Config != "" {
		kind := "file"
		if strings.HasPrefix(r.Config, "arn:") {
			kind = "s3"
		}
		out.FirelensConfiguration.Options["config-file-type"], out.FirelensConfiguration.Options["config-file-value"] = kind, r.Config
	}
	for _, k := range sortedKeys(r.Env) {
		out.Environment = append(out.Environment, types.KeyValuePair{Name: aws.String(k), Value: aws.String(r.Env[k])})
	}
	return out
}

func routerFrom(c types.ContainerDefinition) (*service.LogRouter, map[string]string) {
	r := &service.LogRouter{Image: aws.ToString(c.Image), Type: string(c.FirelensConfiguration.Type), CPU: int(c.Cpu), Memory: int(aws.ToInt32(c.Memory)),
		Config: c.FirelensConfiguration.Options["config-file-value"]}
	for _, e := range c.Environment {
		if r.Env == nil {
			r.Env = map[string]string{}
		}
		r.Env[aws.ToString(e.Name)] = aws.ToString(e.Value)
	}
	var logs map[string]string
	if c.LogConfiguration != nil {
		logs = c.LogConfiguration.Options
	}
	return r, logs
}
