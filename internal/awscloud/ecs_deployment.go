package awscloud

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html
func (p *ecsPort) Deployments(ctx context.Context, ref deploy.Ref, max int) ([]deploy.Deployment, error) {
	in := &ecs.ListServiceDeploymentsInput{Cluster: &ref.Cluster, Service: &ref.Service, MaxResults: aws.Int32(int32(min(max, 100)))}
	var list []deploy.Deployment
	for {
		out, err := p.api.ListServiceDeployments(ctx, in)
		if is(err, "ServiceNotFoundException", "ClusterNotFoundException") {
			return nil, deploy.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		for _, d := range out.ServiceDeployments {
			list = append(list, deploy.Deployment{ARN: aws.ToString(d.ServiceDeploymentArn), Status: string(d.Status), StatusReason: aws.ToString(d.StatusReason),
				Target: aws.ToString(d.TargetServiceRevisionArn), CreatedAt: aws.ToTime(d.CreatedAt), StartedAt: aws.ToTime(d.StartedAt), FinishedAt: aws.ToTime(d.FinishedAt)})
		}
		if len(list) >= max || aws.ToString(out.NextToken) == "" {
			return list[:min(len(list), max)], nil
		}
		in.NextToken = out.NextToken
	}
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceDeployments.html
func (p *ecsPort) Deployment(ctx context.Context, arn string) (deploy.Deployment, error) {
	out, err := p.api.DescribeServiceDeployments(ctx, &ecs.DescribeServiceDeploymentsInput{ServiceDeploymentArns: []string{arn}})
	if err != nil {
		return deploy.Deployment{}, err
	}
	if len(out.ServiceDeployments) == 0 {
		return deploy.Deployment{}, deploy.ErrNotFound
	}
	d := out.ServiceDeployments[0]
	r := deploy.Deployment{ARN: aws.ToString(d.ServiceDeploymentArn), Status: string(d.Status), StatusReason: aws.ToString(d.StatusReason),
		Stage: string(d.LifecycleStage), CreatedAt: aws.ToTime(d.CreatedAt), StartedAt: aws.ToTime(d.StartedAt), FinishedAt: aws.ToTime(d.FinishedAt)}
	if t := d.TargetServiceRevision; t != nil {
		r.Target, r.Requested, r.Running, r.Pending = aws.ToString(t.Arn), int(t.RequestedTaskCount), int(t.RunningTaskCount), int(t.PendingTaskCount)
	}
	if b := d.DeploymentCircuitBreaker; b != nil {
		r.FailureCount, r.Threshold = int(b.FailureCount), int(b.Threshold)
	}
	if b := d.Rollback; b != nil {
		r.RollbackTo, r.RollbackWhy = aws.ToString(b.ServiceRevisionArn), aws.ToString(b.Reason)
	}
	return r, nil
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopServiceDeployment.html
func (p *ecsPort) StopDeployment(ctx context.Context, arn string, rollback bool) error {
	how := types.StopServiceDeploymentStopTypeAbort
	if rollback {
		how = types.StopServiceDeploymentStopTypeRollback
	}
	_, err := p.api.StopServiceDeployment(ctx, &ecs.StopServiceDeploymentInput{ServiceDeploymentArn: &arn, StopType: how})
	return err
}

// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceRevisions.html
func (p *ecsPort) Revision(ctx context.Context, arn string) (deploy.Revision, error) {
	out, err := p.api.DescribeServiceRevisions(ctx, &ecs.DescribeServiceRevisionsInput{ServiceRevisionArns: []string{arn}})
	if err != nil {
		return deploy.Revision{}, err
	}
	if len(out.ServiceRevisions) == 0 {
		return deploy.Revision{}, deploy.ErrNotFound
	}
	v := out.ServiceRevisions[0]
	r := deploy.Revision{ARN: aws.ToString(v.ServiceRevisionArn), TaskDefinition: aws.ToString(v.TaskDefinition), CreatedAt: aws.ToTime(v.CreatedAt), Images: map[string]string{}}
	for _, i := range v.ContainerImages {
		r.Images[aws.ToString(i.ContainerName)] = aws.ToString(i.Image)
	}
	return r, nil
}
