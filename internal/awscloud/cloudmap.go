package awscloud

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery"
	"github.com/aws/aws-sdk-go-v2/service/servicediscovery/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// registryPort speaks to Cloud Map.
type registryPort struct{ api *servicediscovery.Client }

// ownerNote begins the description of a Cloud Map service that was made for an ECS service.
const ownerNote = "slipway:service "

// namespaces lists the private DNS namespaces: id → name.
// https://docs.aws.amazon.com/cloud-map/latest/api/API_ListNamespaces.html
func (p registryPort) namespaces(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	pages := servicediscovery.NewListNamespacesPaginator(p.api, &servicediscovery.ListNamespacesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, n := range page.Namespaces {
			if n.Type != types.NamespaceTypeHttp {
				out[aws.ToString(n.Id)] = aws.ToString(n.Name)
			}
		}
	}
	return out, nil
}

// Registries finds them by their description: ListServices tells no tags, and no namespace but where
// it is asked for one.
// https://docs.aws.amazon.com/cloud-map/latest/api/API_ListServices.html
func (p registryPort) Registries(ctx context.Context, owner string) ([]deploy.Registry, error) {
	namespaces, err := p.namespaces(ctx)
	if err != nil {
		return nil, err
	}
	var out []deploy.Registry
	for id, name := range namespaces {
		pages := servicediscovery.NewListServicesPaginator(p.api, &servicediscovery.ListServicesInput{
			Filters: []types.ServiceFilter{{Name: types.ServiceFilterNameNamespaceId, Values: []string{id}, Condition: types.FilterConditionEq}}})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, s := range page.Services {
				if aws.ToString(s.Description) != ownerNote+owner {
					continue
				}
				r := deploy.Registry{ARN: aws.ToString(s.Arn), Namespace: name, Name: aws.ToString(s.Name), Owner: owner, Tags: map[string]string{}}
				if s.DnsConfig != nil && len(s.DnsConfig.DnsRecords) > 0 {
					rec := s.DnsConfig.DnsRecords[0]
					r.Record, r.TTL = string(rec.Type), time.Duration(aws.ToInt64(rec.TTL))*time.Second
				}
				tags, err := p.api.ListTagsForResource(ctx, &servicediscovery.ListTagsForResourceInput{ResourceARN: s.Arn})
				if err != nil {
					return nil, fmt.Errorf("reading the tags of discovery service %s: %w", r.Name, err)
				}
				for _, t := range tags.Tags {
					r.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
				}
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// PutRegistry leaves the health of the registered to ECS (HealthCheckCustomConfig), as ECS asks for.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-discovery.html#service-discovery-considerations
func (p registryPort) PutRegistry(ctx context.Context, w deploy.Registry) (deploy.Registry, error) {
	tags := []types.Tag{}
	for _, k := range sortedKeys(w.Tags) {
		tags = append(tags, types.Tag{Key: aws.String(k), Value: aws.String(w.Tags[k])})
	}
	records := []types.DnsRecord{{Type: types.RecordType(w.Record), TTL: aws.Int64(int64(w.TTL / time.Second))}}
	description := aws.String(ownerNote + w.Owner)
	if w.ARN != "" {
		id := lastPart(w.ARN)
		if _, err := p.api.UpdateService(ctx, &servicediscovery.UpdateServiceInput{Id: &id,
			Service: &types.ServiceChange{Description: description, DnsConfig: &types.DnsConfigChange{DnsRecords: records}}}); err != nil {
			return w, err
		}
		_, err := p.api.TagResource(ctx, &servicediscovery.TagResourceInput{ResourceARN: &w.ARN, Tags: tags})
		return w, err
	}
	namespaces, err := p.namespaces(ctx)
	if err != nil {
		return w, err
	}
	id := ""
	for k, name := range namespaces {
		if k == w.Namespace || strings.EqualFold(name, w.Namespace) {
			id = k
		}
	}
	if id == "" {
		return w, deploy.ErrNotFound
	}
	out, err := p.api.CreateService(ctx, &servicediscovery.CreateServiceInput{Name: &w.Name, NamespaceId: &id, Description: description, Tags: tags,
		DnsConfig:               &types.DnsConfig{DnsRecords: records, RoutingPolicy: types.RoutingPolicyMultivalue},
		HealthCheckCustomConfig: &types.HealthCheckCustomConfig{}})
	if err != nil {
		return w, err
	}
	w.ARN = aws.ToString(out.Service.Arn)
	return w, nil
}

func (p registryPort) DeleteRegistry(ctx context.Context, arn string) error {
	id := lastPart(arn)
	_, err := p.api.DeleteService(ctx, &servicediscovery.DeleteServiceInput{Id: &id})
	switch {
	case is(err, "ServiceNotFound"):
		return deploy.ErrNotFound
	case is(err, "ResourceInUse"):
		return deploy.ErrInUse
	}
	return err
}
