package awscloud

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/slipway-ecs/slipway/internal/image/lifecycle"
)

// taskBatch is how many tasks one DescribeTasks takes.
// https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
const taskBatch = 100

// ImageUses says who runs images of a repository, in every cluster of the account and region: the tasks
// that are not stopped, and the task definitions of all services, scaled to zero as well, since ECS
// pulls their images when it next starts a task. uri is the repository with its registry: host/name.
func (c *Cloud) ImageUses(ctx context.Context, uri string) ([]lifecycle.Use, error) {
	clusters, err := c.ClusterNames(ctx)
	if err != nil {
		return nil, err
	}
	u := imageUses{api: ecs.NewFromConfig(c.cfg), uri: uri, definitions: map[string][]string{}}
	for _, cluster := range clusters {
		if err := u.services(ctx, cluster); err != nil {
			return nil, err
		}
		if err := u.tasks(ctx, cluster); err != nil {
			return nil, err
		}
	}
	return u.found, nil
}

// AccountAndRegion is where the cloud is: "account/region".
func (c *Cloud) AccountAndRegion(ctx context.Context) (string, error) {
	id, err := c.Identity(ctx)
	if err != nil {
		return "", err
	}
	return id.Account + "/" + c.Region(), nil
}

type imageUses struct {
	api         *ecs.Client
	uri         string
	definitions map[string][]string // images of ours in a task definition, by its ARN
	found       []lifecycle.Use
}

func (u *imageUses) add(image, by string) {
	use := lifecycle.Use{Image: image, By: by}
	if !slices.Contains(u.found, use) {
		u.found = append(u.found, use)
	}
}

// ours says whether a reference names an image of the repository.
func (u *imageUses) ours(reference string) bool {
	rest, ok := strings.CutPrefix(reference, u.uri)
	return ok && (rest == "" || rest[0] == ':' || rest[0] == '@')
}

func (u *imageUses) services(ctx context.Context, cluster string) error {
	pages := ecs.NewListServicesPaginator(u.api, &ecs.ListServicesInput{Cluster: &cluster, MaxResults: aws.Int32(100)})
	var arns []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing the services of %s: %w", cluster, err)
		}
		arns = append(arns, page.ServiceArns...)
	}
	for chunk := range slices.Chunk(arns, serviceBatch) {
		page, err := u.api.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: &cluster, Services: chunk})
		if err != nil {
			return fmt.Errorf("reading the services of %s: %w", cluster, err)
		}
		for _, s := range page.Services {
			definitions := []string{aws.ToString(s.TaskDefinition)}
			for _, d := range s.Deployments { // what is being replaced is where a rollback goes
				definitions = append(definitions, aws.ToString(d.TaskDefinition))
			}
			for _, d := range s.TaskSets {
				definitions = append(definitions, aws.ToString(d.TaskDefinition))
			}
			slices.Sort(definitions)
			for _, arn := range slices.Compact(definitions) {
				images, err := u.definition(ctx, arn)
				if err != nil {
					return err
				}
				for _, image := range images {
					u.add(image, fmt.Sprintf("service %s/%s (%s)", cluster, aws.ToString(s.ServiceName), lastPart(arn)))
				}
			}
		}
	}
	return nil
}

// definition are the images of ours in a task definition.
func (u *imageUses) definition(ctx context.Context, arn string) ([]string, error) {
	if arn == "" {
		return nil, nil
	}
	if images, ok := u.definitions[arn]; ok {
		return images, nil
	}
	out, err := u.api.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &arn})
	if err != nil {
		return nil, fmt.Errorf("reading task definition %s: %w", lastPart(arn), err)
	}
	var images []string
	for _, c := range out.TaskDefinition.ContainerDefinitions {
		if u.ours(aws.ToString(c.Image)) {
			images = append(images, aws.ToString(c.Image))
		}
	}
	u.definitions[arn] = images
	return images, nil
}

func (u *imageUses) tasks(ctx context.Context, cluster string) error {
	pages := ecs.NewListTasksPaginator(u.api, &ecs.ListTasksInput{Cluster: &cluster, DesiredStatus: types.DesiredStatusRunning})
	var arns []string
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("listing the tasks of %s: %w", cluster, err)
		}
		arns = append(arns, page.TaskArns...)
	}
	for chunk := range slices.Chunk(arns, taskBatch) {
		page, err := u.api.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: &cluster, Tasks: chunk})
		if err != nil {
			return fmt.Errorf("reading the tasks of %s: %w", cluster, err)
		}
		for _, t := range page.Tasks {
			by := fmt.Sprintf("tasks of %s (%s)", cluster, lastPart(aws.ToString(t.TaskDefinitionArn)))
			for _, c := range t.Containers {
				if !u.ours(aws.ToString(c.Image)) {
					continue
				}
				// A tag may have moved since the task started: the digest is what runs.
				if d := aws.ToString(c.ImageDigest); d != "" {
					u.add(d, by)
				} else {
					u.add(aws.ToString(c.Image), by)
				}
			}
		}
	}
	return nil
}
