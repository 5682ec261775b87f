package events

import (
	"context"
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/delivery"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/eventsapi"
)

func (s *Service) createBus(_ context.Context, in *eventsapi.CreateEventBusInput) (*eventsapi.CreateEventBusOutput, error) {
	name := wire.Value(in.Name)
	if !validName.MatchString(name) || in.EventSourceName != nil {
		return nil, invalid("Parameter Name is not valid; partner event sources are not supported.")
	}
	arn := s.arn("event-bus/" + name)
	return &eventsapi.CreateEventBusOutput{EventBusArn: &arn, Description: in.Description}, s.c.DB.Update(func(tx *state.Tx) error {
		if _, ok := s.buses.Get(tx, name); ok {
			return wire.Errorf("ResourceAlreadyExistsException", "Event bus %s already exists.", name)
		}
		s.buses.Put(tx, name, &Bus{Name: name, ARN: arn, Description: wire.Value(in.Description), Tags: in.Tags, CreatedAt: s.c.Clock.Now()})
		return nil
	})
}

func (s *Service) deleteBus(_ context.Context, in *eventsapi.DeleteEventBusInput) (*eventsapi.DeleteEventBusOutput, error) {
	name := busName(in.Name)
	if name == defaultBus {
		return nil, invalid("Cannot delete event bus default.")
	}
	return &eventsapi.DeleteEventBusOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		for range s.rules.Prefix(tx, name+"/") {
			return invalid("Event bus %s can't be deleted since it has rules.", name)
		}
		s.buses.Delete(tx, name)
		return nil
	})
}

func (s *Service) describeBus(_ context.Context, in *eventsapi.DescribeEventBusInput) (*eventsapi.DescribeEventBusOutput, error) {
	out := &eventsapi.DescribeEventBusOutput{}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		b, ok := s.buses.Get(tx, busName(in.Name))
		if !ok {
			return missing("Event bus %s does not exist.", busName(in.Name))
		}
		*out = eventsapi.DescribeEventBusOutput{Name: &b.Name, Arn: &b.ARN, Description: wire.NonEmpty(b.Description), CreationTime: wire.Timestamp(b.CreatedAt), LastModifiedTime: wire.Timestamp(b.CreatedAt)}
		return nil
	})
}

func (s *Service) listBuses(_ context.Context, in *eventsapi.ListEventBusesInput) (*eventsapi.ListEventBusesOutput, error) {
	out := &eventsapi.ListEventBusesOutput{EventBuses: []eventsapi.EventBus{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		for name, b := range s.buses.Prefix(tx, wire.Value(in.NamePrefix)) {
			if name < wire.Value(in.NextToken) {
				continue
			}
			if len(out.EventBuses) == limitOf(in.Limit) {
				out.NextToken = wire.Ptr(name)
				break
			}
			out.EventBuses = append(out.EventBuses, eventsapi.EventBus{Name: &b.Name, Arn: &b.ARN, Description: wire.NonEmpty(b.Description), CreationTime: wire.Timestamp(b.CreatedAt), LastModifiedTime: wire.Timestamp(b.CreatedAt)})
		}
		return nil
	})
}

// retag changes the tags of the rule or bus with an ARN.
func (s *Service) retag(arn *string, f func([]eventsapi.Tag) []eventsapi.Tag) error {
	return s.c.DB.Update(func(tx *state.Tx) error {
		if _, name, ok := strings.Cut(wire.Value(arn), ":event-bus/"); ok {
			if s.buses.Modify(tx, name, func(b *Bus) { b.Tags = f(slices.Clone(b.Tags)) }) {
				return nil
			}
		} else if s.rules.Modify(tx, ruleKey(wire.Value(arn)), func(r *Rule) { r.Tags = f(slices.Clone(r.Tags)) }) {
			return nil
		}
		return missing("Rule %s does not exist.", wire.Value(arn))
	})
}

func ruleKey(arn string) string {
	_, name, _ := strings.Cut(arn, ":rule/")
	if !strings.Contains(name, "/") {
		return defaultBus + "/" + name
	}
	return name
}

func (s *Service) tag(_ context.Context, in *eventsapi.TagResourceInput) (*eventsapi.TagResourceOutput, error) {
	return &eventsapi.TagResourceOutput{}, s.retag(in.ResourceARN, func(tags []eventsapi.Tag) []eventsapi.Tag {
		for _, t := range in.Tags {
			tags = append(slices.DeleteFunc(tags, func(o eventsapi.Tag) bool { return *o.Key == *t.Key }), t)
		}
		return tags
	})
}

func (s *Service) untag(_ context.Context, in *eventsapi.UntagResourceInput) (*eventsapi.UntagResourceOutput, error) {
	return &eventsapi.UntagResourceOutput{}, s.retag(in.ResourceARN, func(tags []eventsapi.Tag) []eventsapi.Tag {
		return slices.DeleteFunc(tags, func(o eventsapi.Tag) bool { return slices.Contains(in.TagKeys, *o.Key) })
	})
}

func (s *Service) tags(_ context.Context, in *eventsapi.ListTagsForResourceInput) (*eventsapi.ListTagsForResourceOutput, error) {
	out := &eventsapi.ListTagsForResourceOutput{Tags: []eventsapi.Tag{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		arn := wire.Value(in.ResourceARN)
		if _, name, ok := strings.Cut(arn, ":event-bus/"); ok {
			if b, ok := s.buses.Get(tx, name); ok {
				out.Tags = append(out.Tags, b.Tags...)
				return nil
			}
		} else if r, ok := s.rules.Get(tx, ruleKey(arn)); ok {
			out.Tags = append(out.Tags, r.Tags...)
			return nil
		}
		return missing("Rule %s does not exist.", arn)
	})
}

// http fills in the request to an API destination.
func (s *Service) http(tx *state.Tx, d *delivery.Delivery, t eventsapi.Target) error {
	name := strings.Split(d.TargetARN, ":api-destination/")[1]
	name, _, _ = strings.Cut(name, "/")
	dst, ok := s.destinations.Get(tx, name)
	if !ok {
		return missing("API destination %s does not exist.", name)
	}
	h := &delivery.HTTP{Method: *dst.API.HttpMethod, URL: *dst.API.InvocationEndpoint, Header: map[string]string{"Content-Type": "application/json; charset=utf-8", "User-Agent": "Amazon/EventBridge/ApiDestinations"}}
	_, conn, _ := strings.Cut(wire.Value(dst.API.ConnectionArn), ":connection/")
	conn, _, _ = strings.Cut(conn, "/")
	if c, ok := s.connections.Get(tx, conn); ok {
		switch {
		case c.Basic != nil:
			h.Header["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(*c.Basic.Username+":"+*c.Basic.Password))
		case c.Key != nil:
			h.Header[*c.Key.ApiKeyName] = *c.Key.ApiKeyValue
		}
	}
	if p := t.HttpParameters; p != nil {
		for _, v := range p.PathParameterValues {
			h.URL = strings.Replace(h.URL, "*", url.PathEscape(v), 1)
		}
		maps.Copy(h.Header, p.HeaderParameters)
		if len(p.QueryStringParameters) > 0 {
			u, err := url.Parse(h.URL)
			if err != nil {
				return err
			}
			q := u.Query()
			for k, v := range p.QueryStringParameters {
				q.Set(k, v)
			}
			u.RawQuery = q.Encode()
			h.URL = u.String()
		}
	}
	d.HTTP = h
	return nil
}

func (s *Service) createConnection(_ context.Context, in *eventsapi.CreateConnectionInput) (*eventsapi.CreateConnectionOutput, error) {
	now := wire.Timestamp(s.c.Clock.Now())
	name := wire.Value(in.Name)
	c := &Connection{API: eventsapi.Connection{Name: in.Name, ConnectionArn: wire.Ptr(s.arn("connection/" + name + "/" + newID())), AuthorizationType: in.AuthorizationType,
		ConnectionState: wire.String("AUTHORIZED"), CreationTime: now, LastModifiedTime: now, LastAuthorizedTime: now}, Basic: in.AuthParameters.BasicAuthParameters, Key: in.AuthParameters.ApiKeyAuthParameters}
	switch t := wire.Value(in.AuthorizationType); {
	case t == "OAUTH_CLIENT_CREDENTIALS" || in.InvocationConnectivityParameters != nil:
		return nil, invalid("not supported by this local AWS: OAuth and private APIs")
	case t == "BASIC" && c.Basic == nil || t == "API_KEY" && c.Key == nil || t != "BASIC" && t != "API_KEY":
		return nil, invalid("Parameter AuthParameters is not valid for the authorization type %s.", t)
	}
	return &eventsapi.CreateConnectionOutput{ConnectionArn: c.API.ConnectionArn, ConnectionState: c.API.ConnectionState, CreationTime: now, LastModifiedTime: now}, s.c.DB.Update(func(tx *state.Tx) error {
		if _, ok := s.connections.Get(tx, name); ok {
			return wire.Errorf("ResourceAlreadyExistsException", "Connection %s already exists.", name)
		}
		s.connections.Put(tx, name, c)
		return nil
	})
}

func (s *Service) describeConnection(_ context.Context, in *eventsapi.DescribeConnectionInput) (*eventsapi.DescribeConnectionOutput, error) {
	out := &eventsapi.DescribeConnectionOutput{}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		c, ok := s.connections.Get(tx, wire.Value(in.Name))
		if !ok {
			return missing("Failed to describe the connection(s). Connection '%s' does not exist.", wire.Value(in.Name))
		}
		auth := &eventsapi.ConnectionAuthResponseParameters{}
		if c.Basic != nil {
			auth.BasicAuthParameters = &eventsapi.ConnectionBasicAuthResponseParameters{Username: c.Basic.Username}
		}
		if c.Key != nil {
			auth.ApiKeyAuthParameters = &eventsapi.ConnectionApiKeyAuthResponseParameters{ApiKeyName: c.Key.ApiKeyName}
		}
		*out = eventsapi.DescribeConnectionOutput{Name: c.API.Name, ConnectionArn: c.API.ConnectionArn, AuthorizationType: c.API.AuthorizationType, ConnectionState: c.API.ConnectionState,
			CreationTime: c.API.CreationTime, LastModifiedTime: c.API.LastModifiedTime, LastAuthorizedTime: c.API.LastAuthorizedTime, AuthParameters: auth}
		return nil
	})
}

func (s *Service) deleteConnection(_ context.Context, in *eventsapi.DeleteConnectionInput) (*eventsapi.DeleteConnectionOutput, error) {
	out := &eventsapi.DeleteConnectionOutput{ConnectionState: wire.String("DELETING")}
	return out, s.c.DB.Update(func(tx *state.Tx) error {
		c, ok := s.connections.Get(tx, wire.Value(in.Name))
		if !ok {
			return missing("Failed to delete the connection(s). Connection '%s' does not exist.", wire.Value(in.Name))
		}
		out.ConnectionArn = c.API.ConnectionArn
		s.connections.Delete(tx, *in.Name)
		return nil
	})
}

func (s *Service) listConnections(_ context.Context, in *eventsapi.ListConnectionsInput) (*eventsapi.ListConnectionsOutput, error) {
	out := &eventsapi.ListConnectionsOutput{Connections: []eventsapi.Connection{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		for name, c := range s.connections.Prefix(tx, wire.Value(in.NamePrefix)) {
			if name < wire.Value(in.NextToken) {
				continue
			}
			if len(out.Connections) == limitOf(in.Limit) {
				out.NextToken = wire.Ptr(name)
				break
			}
			out.Connections = append(out.Connections, c.API)
		}
		return nil
	})
}

func (s *Service) createDestination(_ context.Context, in *eventsapi.CreateApiDestinationInput) (*eventsapi.CreateApiDestinationOutput, error) {
	now, name := wire.Timestamp(s.c.Clock.Now()), wire.Value(in.Name)
	d := &Destination{API: eventsapi.ApiDestination{Name: in.Name, ApiDestinationArn: wire.Ptr(s.arn("api-destination/" + name + "/" + newID())), ApiDestinationState: wire.String("ACTIVE"), ConnectionArn: in.ConnectionArn,
		HttpMethod: in.HttpMethod, InvocationEndpoint: in.InvocationEndpoint, InvocationRateLimitPerSecond: in.InvocationRateLimitPerSecond, CreationTime: now, LastModifiedTime: now}}
	return &eventsapi.CreateApiDestinationOutput{ApiDestinationArn: d.API.ApiDestinationArn, ApiDestinationState: d.API.ApiDestinationState, CreationTime: now, LastModifiedTime: now}, s.c.DB.Update(func(tx *state.Tx) error {
		if _, ok := s.destinations.Get(tx, name); ok {
			return wire.Errorf("ResourceAlreadyExistsException", "Api-destination %s already exists.", name)
		}
		s.destinations.Put(tx, name, d)
		return nil
	})
}

func noDestination(name *string) error {
	return missing("Failed to describe the api-destination(s). An api-destination '%s' does not exist.", wire.Value(name))
}

func (s *Service) updateDestination(_ context.Context, in *eventsapi.UpdateApiDestinationInput) (*eventsapi.UpdateApiDestinationOutput, error) {
	out := &eventsapi.UpdateApiDestinationOutput{}
	return out, s.c.DB.Update(func(tx *state.Tx) error {
		if !s.destinations.Modify(tx, wire.Value(in.Name), func(d *Destination) {
			or := func(a, b *string) *string {
				if a != nil {
					return a
				}
				return b
			}
			d.API.ConnectionArn, d.API.HttpMethod, d.API.InvocationEndpoint = or(in.ConnectionArn, d.API.ConnectionArn), or(in.HttpMethod, d.API.HttpMethod), or(in.InvocationEndpoint, d.API.InvocationEndpoint)
			d.API.LastModifiedTime = wire.Timestamp(s.c.Clock.Now())
			*out = eventsapi.UpdateApiDestinationOutput{ApiDestinationArn: d.API.ApiDestinationArn, ApiDestinationState: d.API.ApiDestinationState, CreationTime: d.API.CreationTime, LastModifiedTime: d.API.LastModifiedTime}
		}) {
			return noDestination(in.Name)
		}
		return nil
	})
}

func (s *Service) describeDestination(_ context.Context, in *eventsapi.DescribeApiDestinationInput) (*eventsapi.DescribeApiDestinationOutput, error) {
	out := &eventsapi.DescribeApiDestinationOutput{}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		d, ok := s.destinations.Get(tx, wire.Value(in.Name))
		if !ok {
			return noDestination(in.Name)
		}
		a := d.API
		*out = eventsapi.DescribeApiDestinationOutput{Name: a.Name, ApiDestinationArn: a.ApiDestinationArn, ApiDestinationState: a.ApiDestinationState, ConnectionArn: a.ConnectionArn, HttpMethod: a.HttpMethod,
			InvocationEndpoint: a.InvocationEndpoint, InvocationRateLimitPerSecond: a.InvocationRateLimitPerSecond, CreationTime: a.CreationTime, LastModifiedTime: a.LastModifiedTime}
		return nil
	})
}

func (s *Service) deleteDestination(_ context.Context, in *eventsapi.DeleteApiDestinationInput) (*eventsapi.DeleteApiDestinationOutput, error) {
	return &eventsapi.DeleteApiDestinationOutput{}, s.c.DB.Update(func(tx *state.Tx) error {
		if !s.destinations.Delete(tx, wire.Value(in.Name)) {
			return noDestination(in.Name)
		}
		return nil
	})
}

func (s *Service) listDestinations(_ context.Context, in *eventsapi.ListApiDestinationsInput) (*eventsapi.ListApiDestinationsOutput, error) {
	out := &eventsapi.ListApiDestinationsOutput{ApiDestinations: []eventsapi.ApiDestination{}}
	return out, s.c.DB.View(func(tx *state.Tx) error {
		for name, d := range s.destinations.Prefix(tx, wire.Value(in.NamePrefix)) {
			if name < wire.Value(in.NextToken) || in.ConnectionArn != nil && *in.ConnectionArn != wire.Value(d.API.ConnectionArn) {
				continue
			}
			if len(out.ApiDestinations) == limitOf(in.Limit) {
				out.NextToken = wire.Ptr(name)
				break
			}
			out.ApiDestinations = append(out.ApiDestinations, d.API)
		}
		return nil
	})
}
