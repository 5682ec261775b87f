package awscloud

import (
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/slipway-ecs/slipway/internal/clusterinfra"
)

// Clusters is the cluster engine over this cloud.
func (c *Cloud) Clusters() *clusterinfra.Clusters {
	ec2API := ec2.NewFromConfig(c.cfg)
	ecsAPI := ecs.NewFromConfig(c.cfg)
	balancers := &elbPort{api: elb.NewFromConfig(c.cfg)}
	return clusterinfra.NewClusters(clusterinfra.ClusterPorts{
		ECS:       clusterPort{ecsAPI},
		Providers: providerPort{ecsAPI},
		Network:   networkPort{ec2API},
		Roles:     profilePort{iam.NewFromConfig(c.cfg)},
		Templates: templatePort{ec2API, ssm.NewFromConfig(c.cfg)},
		Groups:    groupPort{autoscaling.NewFromConfig(c.cfg)},
		Balancers: balancerPort{balancers},
		Listeners: listenerPort{balancers},
		Topics:    topicPort{sns.NewFromConfig(c.cfg), c},
		Logs:      infraLogs{&logsPort{api: cloudwatchlogs.NewFromConfig(c.cfg)}},
	}, c.Clock)
}

// Repositories is the repository engine over this cloud.
func (c *Cloud) Repositories() *clusterinfra.Repositories {
	api := ecr.NewFromConfig(c.cfg)
	return clusterinfra.NewRepositories(imagePort{api}, replicationPort{api, c.cfg.Region})
}

type (
	clusterPort  struct{ api *ecs.Client }
	providerPort struct{ api *ecs.Client }
	networkPort  struct{ api *ec2.Client }
	profilePort  struct{ api *iam.Client }
	templatePort struct {
		api        *ec2.Client
		parameters *ssm.Client
	}
	groupPort    struct{ api *autoscaling.Client }
	balancerPort struct{ *elbPort }
	listenerPort struct{ *elbPort }
	infraLogs    struct{ *logsPort }
	imagePort    struct{ api *ecr.Client }

	replicationPort struct {
		api    *ecr.Client
		region string
	}
)
