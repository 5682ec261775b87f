package awscloud

import (
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// Deploy is the deploy engine over this cloud.
func (c *Cloud) Deploy() *deploy.Engine {
	services := &ecsPort{api: ecs.NewFromConfig(c.cfg), hosts: &c.hosts}
	balancers := &elbPort{api: elb.NewFromConfig(c.cfg)}
	return deploy.New(deploy.Ports{
		Services:        services,
		Deployments:     services,
		TaskDefinitions: services,
		Tasks:           services,
		TargetGroups:    balancers,
		Rules:           balancers,
		Listeners:       balancers,
		Roles:           &rolePort{api: iam.NewFromConfig(c.cfg)},
		Logs:            &logsPort{api: cloudwatchlogs.NewFromConfig(c.cfg)},
		Scaling:         &scalingPort{api: applicationautoscaling.NewFromConfig(c.cfg)},
		Alarms:          alarmPort{cloudwatch.NewFromConfig(c.cfg)},
		Probe:           Probe{},
		Leases:          leasePort{ssm.NewFromConfig(c.cfg)},
		Schedules:       schedulePort{scheduler.NewFromConfig(c.cfg)},
		EventRules:      eventRulePort{eventbridge.NewFromConfig(c.cfg)},
		SecretCopies:    copyPort{secretsmanager.NewFromConfig(c.cfg)},
		Registries:      registryPort{servicediscovery.NewFromConfig(c.cfg)},
	}, c.Clock)
}

// ecsPort speaks to ECS.
type ecsPort struct {
	api   *ecs.Client
	hosts *sync.Map // container instance ARN → EC2 instance id, which never changes
}

type elbPort struct{ api *elb.Client }

type rolePort struct{ api *iam.Client }

type logsPort struct{ api *cloudwatchlogs.Client }

type scalingPort struct {
	api *applicationautoscaling.Client
}
