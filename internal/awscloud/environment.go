package awscloud

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Identity is who the calls are made as.
type Identity struct {
	Account   string // 12 digits
	ARN       string
	Partition string // aws, aws-cn, aws-us-gov
}

// Environment is what Slipway finds in a cluster made by slipway_cluster, or in any cluster whose
// load balancer carries the tag slipway:cluster=<name>.
type Environment struct {
	Cluster    string
	ClusterARN string
	VPC        string
	Subnets    []string
	Listeners  map[string]string // name → ARN
	URLs       map[string]string // name → http://dns:port
	LogGroup   string            // of the cluster

	SecurityGroups []string // of the container instances: let the load balancer in; fit awsvpc tasks too
}

// Environment finds what a service in the cluster stands on; clusterinfra.ErrNotFound without one.
func (c *Cloud) Environment(ctx context.Context, cluster string) (Environment, error) {
	s, err := c.Clusters().ReadPlace(ctx, lastPart(cluster))
	if err != nil {
		return Environment{}, err
	}
	e := Environment{Cluster: s.Name, ClusterARN: s.ARN, VPC: s.VPC, Subnets: s.Subnets, URLs: s.URLs, LogGroup: s.LogGroup,
		SecurityGroups: s.InstanceGroups(), Listeners: map[string]string{}}
	for name, l := range s.Listeners {
		e.Listeners[name] = l.ARN
	}
	return e, nil
}

// Identity asks STS who the calls are made as.
func (c *Cloud) Identity(ctx context.Context) (Identity, error) {
	out, err := sts.NewFromConfig(c.cfg).GetCallerIdentity(ctx, nil)
	if err != nil {
		return Identity{}, fmt.Errorf("asking AWS who the caller is: %w", err)
	}
	id := Identity{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn), Partition: "aws"}
	if parts := strings.SplitN(id.ARN, ":", 3); len(parts) == 3 && parts[1] != "" {
		id.Partition = parts[1]
	}
	return id, nil
}
