package awscloud

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

func serviceRegistries(w deploy.Service) []types.ServiceRegistry {
	if w.Registry == nil {
		return nil
	}
	r := types.ServiceRegistry{RegistryArn: &w.Registry.ARN}
	if w.Registry.Port > 0 {
		r.ContainerName, r.ContainerPort = &w.Registry.Container, aws.Int32(int32(w.Registry.Port))
	}
	return []types.ServiceRegistry{r}
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceConnectConfiguration.html
func serviceConnect(w deploy.Service) *types.ServiceConnectConfiguration {
	c := w.Connect
	if c == nil {
		return nil
	}
	out := &types.ServiceConnectConfiguration{Enabled: true, Namespace: &c.Namespace}
	if c.PortName != "" {
		out.Services = []types.ServiceConnectService{{PortName: &c.PortName, DiscoveryName: &c.Name,
			ClientAliases: []types.ServiceConnectClientAlias{{Port: aws.Int32(int32(c.Port)), DnsName: &c.Name}}}}
	}
	return out
}

func discoveryFrom(s types.Service) (*deploy.ServiceRegistry, *deploy.Connect) {
	var registry *deploy.ServiceRegistry
	for _, r := range s.ServiceRegistries {
		registry = &deploy.ServiceRegistry{ARN: aws.ToString(r.RegistryArn), Container: aws.ToString(r.ContainerName), Port: int(aws.ToInt32(r.ContainerPort))}
	}
	var c *types.ServiceConnectConfiguration
	for _, d := range s.Deployments { // where ECS keeps it
		if aws.ToString(d.Status) == "PRIMARY" {
			c = d.ServiceConnectConfiguration
		}
	}
	if c == nil || !c.Enabled {
		return registry, nil
	}
	out := &deploy.Connect{Namespace: aws.ToString(c.Namespace)}
	for _, x := range c.Services {
		out.PortName, out.Name = aws.ToString(x.PortName), aws.ToString(x.DiscoveryName)
		for _, a := range x.ClientAliases {
			out.Port = int(aws.ToInt32(a.Port))
			if out.Name == "" {
				out.Name = aws.ToString(a.DnsName)
			}
		}
	}
	return registry, out
}
