// Package events is EventBridge of the local AWS: buses, rules by pattern and by schedule, and targets
// to which events are really delivered.
package events

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/delivery"
	pattern "github.com/slipway-ecs/slipway/internal/local/events"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/eventsapi"
)

// Bus is an event bus. Key: name.
type Bus struct {
	Name, ARN, Description, Policy string
	Tags                           []eventsapi.Tag
	CreatedAt                      time.Time
}

// Rule is a rule. Key: bus, a slash, name.
type Rule struct {
	API     eventsapi.Rule
	Targets []eventsapi.Target
	Tags    []eventsapi.Tag
	NextAt  time.Time // of a schedule
}

// Connection is what an API destination signs in with. Key: name.
type Connection struct {
	API   eventsapi.Connection
	Basic *eventsapi.CreateConnectionBasicAuthRequestParameters
	Key   *eventsapi.CreateConnectionApiKeyAuthRequestParameters
}

// Destination is an API destination. Key: name.
type Destination struct{ API eventsapi.ApiDestination }

// Config is what the service needs to know.
type Config struct {
	DB              *state.DB
	Clock           clock.Clock
	Log             *slog.Logger
	Deliverer       *delivery.Deliverer
	Triggered       func(rule string) // told of each event that a rule of the default bus matches; may be nil
	Region, Account string
}

// Service is EventBridge. Its loop is Run.
type Service struct {
	c            Config
	buses        *state.Table[Bus]
	rules        *state.Table[Rule]
	connections  *state.Table[Connection]
	destinations *state.Table[Destination]

	mu       sync.Mutex
	compiled map[string]pattern.Pattern // by the pattern's text
}

const (
	tableRules = "events.rules"
	defaultBus = "default"
)

// Register adds the operations to svc and the tables to the store.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{c: c, compiled: map[string]pattern.Pattern{}}
	var err error
	if s.buses, err = state.NewTable[Bus](c.DB, "events.buses"); err != nil {
		return nil, err
	}
	if s.rules, err = state.NewTable[Rule](c.DB, tableRules); err != nil {
		return nil, err
	}
	if s.connections, err = state.NewTable[Connection](c.DB, "events.connections"); err != nil {
		return nil, err
	}
	if s.destinations, err = state.NewTable[Destination](c.DB, "events.destinations"); err != nil {
		return nil, err
	}
	if err := c.DB.Update(func(tx *state.Tx) error {
		if _, ok := s.buses.Get(tx, defaultBus); !ok {
			s.buses.Put(tx, defaultBus, &Bus{Name: defaultBus, ARN: s.arn("event-bus/" + defaultBus), CreatedAt: c.Clock.Now()})
		}
		return nil
	}); err != nil {
		return nil, err
	}
	const targets = "targets are SQS, SNS, ECS, CloudWatch Logs, buses and API destinations on this machine"
	wire.Handle(svc, "CreateEventBus", s.createBus, wire.Partly("encryption and logging are recorded nowhere"))
	wire.Handle(svc, "DeleteEventBus", s.deleteBus)
	wire.Handle(svc, "DescribeEventBus", s.describeBus)
	wire.Handle(svc, "ListEventBuses", s.listBuses)
	wire.Handle(svc, "PutRule", s.putRule)
	wire.Handle(svc, "DeleteRule", s.deleteRule)
	wire.Handle(svc, "DescribeRule", s.describeRule)
	wire.Handle(svc, "ListRules", s.listRules)
	wire.Handle(svc, "EnableRule", s.enable)
	wire.Handle(svc, "DisableRule", s.disable)
	wire.Handle(svc, "ListRuleNamesByTarget", s.rulesByTarget)
	wire.Handle(svc, "PutTargets", s.putTargets, wire.Partly(targets))
	wire.Handle(svc, "RemoveTargets", s.removeTargets)
	wire.Handle(svc, "ListTargetsByRule", s.listTargets)
	wire.Handle(svc, "PutEvents", s.putEvents)
	wire.Handle(svc, "TestEventPattern", s.test)
	wire.Handle(svc, "TagResource", s.tag)
	wire.Handle(svc, "UntagResource", s.untag)
	wire.Handle(svc, "ListTagsForResource", s.tags)
	wire.Handle(svc, "CreateConnection", s.createConnection, wire.Partly("OAuth and private APIs are refused"))
	wire.Handle(svc, "DescribeConnection", s.describeConnection)
	wire.Handle(svc, "DeleteConnection", s.deleteConnection)
	wire.Handle(svc, "ListConnections", s.listConnections)
	wire.Handle(svc, "CreateApiDestination", s.createDestination, wire.Partly("only servers of this machine; the rate limit is recorded"))
	wire.Handle(svc, "UpdateApiDestination", s.updateDestination, wire.Partly("only servers of this machine; the rate limit is recorded"))
	wire.Handle(svc, "DescribeApiDestination", s.describeDestination)
	wire.Handle(svc, "DeleteApiDestination", s.deleteDestination)
	wire.Handle(svc, "ListApiDestinations", s.listDestinations)
	c.Deliverer.SetBus(s.forward)
	return s, nil
}

func (s *Service) arn(resource string) string {
	return fmt.Sprintf("arn:aws:events:%s:%s:%s", s.c.Region, s.c.Account, resource)
}

func missing(format string, args ...any) error {
	return wire.Errorf("ResourceNotFoundException", format, args...)
}

func invalid(format string, args ...any) error {
	return wire.Errorf("ValidationException", format, args...)
}

// Event is an event as rules see it
// (https://docs.aws.amazon.com/eventbridge/latest/ref/overiew-event-structure.html).
type Event struct {
	Version    string   `json:"version"`
	ID         string   `json:"id"`
	DetailType string   `json:"detail-type"`
	Source     string   `json:"source"`
	Account    string   `json:"account"`
	Time       string   `json:"time"`
	Region     string   `json:"region"`
	Resources  []string `json:"resources"`
	Detail     any      `json:"detail"`
}

// Emit puts an event of AWS's own on the default bus.
func (s *Service) Emit(source, detailType string, resources []string, detail any) {
	if err := s.put(defaultBus, s.event(source, detailType, resources, detail, time.Time{})); err != nil {
		s.c.Log.Error("emitting an event", "source", source, "type", detailType, "error", err)
	}
}

func (s *Service) event(source, detailType string, resources []string, detail any, at time.Time) Event {
	if at.IsZero() {
		at = s.c.Clock.Now()
	}
	if resources == nil {
		resources = []string{}
	}
	return Event{Version: "0", ID: newID(), DetailType: detailType, Source: source, Account: s.c.Account, Time: at.UTC().Format("2006-01-02T15:04:05Z"), Region: s.c.Region, Resources: resources, Detail: detail}
}

// put hands an event to the targets of every rule of the bus that it matches. When it returns, the
// deliveries are in the state.
func (s *Service) put(bus string, e Event) error {
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing an event: %w", err)
	}
	var seen any
	if err := json.Unmarshal(raw, &seen); err != nil {
		return fmt.Errorf("reading an event: %w", err)
	}
	var due []*Rule
	var matched []string
	if err := s.c.DB.View(func(tx *state.Tx) error {
		for _, r := range s.rules.Prefix(tx, bus+"/") {
			if !enabled(r) || r.API.EventPattern == nil || !s.pattern(*r.API.EventPattern).Match(seen) {
				continue
			}
			if bus == defaultBus {
				matched = append(matched, wire.Value(r.API.Name))
			}
			if len(r.Targets) > 0 {
				due = append(due, r)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	if s.c.Triggered != nil { // a rule counts what it matches also where it has no target
		for _, name := range matched {
			s.c.Triggered(name)
		}
	}
	if len(due) == 0 {
		return nil
	}
	return s.c.DB.Update(func(tx *state.Tx) error {
		for _, r := range due {
			s.trigger(tx, r, e, raw, seen)
		}
		return nil
	})
}

func enabled(r *Rule) bool { return strings.HasPrefix(wire.Value(r.API.State), "ENABLED") }

func (s *Service) pattern(text string) pattern.Pattern {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.compiled[text]
	if !ok {
		var err error
		if p, err = pattern.Parse(text); err != nil {
			s.c.Log.Error("a rule's pattern cannot be read", "error", err) // it was checked when it was put
		}
		if len(s.compiled) > 1000 {
			clear(s.compiled)
		}
		s.compiled[text] = p
	}
	return p
}

// trigger adds the deliveries to a rule's targets.
func (s *Service) trigger(tx *state.Tx, r *Rule, e Event, raw []byte, seen any) {
	for _, t := range r.Targets {
		d, err := s.delivery(tx, r, t, e, string(raw), seen)
		if err != nil {
			s.c.Log.Warn("an event cannot be delivered", "rule", wire.Value(r.API.Arn), "target", wire.Value(t.Arn), "error", err)
			continue
		}
		s.c.Deliverer.Add(tx, d)
	}
}

func (s *Service) delivery(tx *state.Tx, r *Rule, t eventsapi.Target, e Event, raw string, seen any) (delivery.Delivery, error) {
	d := delivery.Delivery{Source: wire.Value(r.API.Arn), TargetARN: wire.Value(t.Arn), Body: raw, Retries: delivery.DefaultRetries}
	if t.RetryPolicy != nil {
		if n := t.RetryPolicy.MaximumRetryAttempts; n != nil {
			d.Retries = int(*n)
		}
		d.MaxAge = time.Duration(wire.Value(t.RetryPolicy.MaximumEventAgeInSeconds)) * time.Second
	}
	if t.DeadLetterConfig != nil {
		d.DLQ = wire.Value(t.DeadLetterConfig.Arn)
	}
	switch {
	case t.Input != nil:
		d.Body = *t.Input
	case t.InputPath != nil:
		v, ok := pattern.Path(seen, *t.InputPath)
		if !ok {
			v = nil
		}
		text, err := json.Marshal(v)
		if err != nil {
			return d, err
		}
		d.Body = string(text)
	case t.InputTransformer != nil:
		d.Body = pattern.Transform(seen, t.InputTransformer.InputPathsMap, wire.Value(t.InputTransformer.InputTemplate), map[string]string{
			"aws.events.rule-arn": wire.Value(r.API.Arn), "aws.events.rule-name": wire.Value(r.API.Name), "aws.events.event.ingestion-time": e.Time,
			"aws.events.event": raw, "aws.events.event.json": raw})
	}
	if t.SqsParameters != nil {
		d.GroupID = wire.Value(t.SqsParameters.MessageGroupId)
	}
	switch {
	case t.EcsParameters != nil:
		var err error
		d.Run, err = delivery.RunTask(d.TargetARN, t.EcsParameters, d.Body, "events-rule/"+wire.Value(r.API.Name))
		return d, err
	case strings.Contains(d.TargetARN, ":api-destination/"):
		return d, s.http(tx, &d, t)
	}
	return d, nil
}

func (s *Service) putEvents(_ context.Context, in *eventsapi.PutEventsInput) (*eventsapi.PutEventsOutput, error) {
	if n := len(in.Entries); n == 0 || n > 10 {
		return nil, invalid("1 validation error detected: Value at 'entries' failed to satisfy constraint: Member must have length less than or equal to 10 and greater than or equal to 1")
	}
	out := &eventsapi.PutEventsOutput{FailedEntryCount: wire.Int32(0), Entries: []eventsapi.PutEventsResultEntry{}}
	for _, in := range in.Entries {
		id, code, why := s.putOne(in)
		if code == "" {
			out.Entries = append(out.Entries, eventsapi.PutEventsResultEntry{EventId: &id})
			continue
		}
		*out.FailedEntryCount++
		out.Entries = append(out.Entries, eventsapi.PutEventsResultEntry{ErrorCode: &code, ErrorMessage: &why})
	}
	return out, nil
}

func (s *Service) putOne(in eventsapi.PutEventsRequestEntry) (id, code, why string) {
	source, detail := wire.Value(in.Source), map[string]any{}
	switch {
	case source == "":
		return "", "InvalidArgument", "Parameter Source is not valid. Reason: Source is a required argument."
	case wire.Value(in.DetailType) == "":
		return "", "InvalidArgument", "Parameter DetailType is not valid. Reason: DetailType is a required argument."
	case in.Detail == nil:
		return "", "InvalidArgument", "Parameter Detail is not valid. Reason: Detail is a required argument."
	case strings.HasPrefix(source, "aws."):
		return "", "NotAuthorizedForSourceException", "Not authorized for the source."
	case len(*in.Detail) > 256<<10:
		return "", "InvalidArgument", "Total size of the entries in the request is over the limit."
	}
	if err := json.Unmarshal([]byte(*in.Detail), &detail); err != nil {
		return "", "MalformedDetail", "Detail is malformed."
	}
	bus := busName(in.EventBusName)
	known := false
	_ = s.c.DB.View(func(tx *state.Tx) error { _, known = s.buses.Get(tx, bus); return nil })
	e := s.event(source, *in.DetailType, in.Resources, detail, wire.TimeOf(in.Time))
	if known { // an event for a bus that is not there is accepted and lost
		if err := s.put(bus, e); err != nil {
			return "", "InternalFailure", "The event could not be stored."
		}
	}
	return e.ID, "", ""
}

// forward puts an event that a rule sends to another bus.
func (s *Service) forward(busARN, raw string) error {
	var e Event
	if err := json.Unmarshal([]byte(raw), &e); err != nil || e.DetailType == "" {
		return invalid("an event for a bus must be an event")
	}
	bus := busName(&busARN)
	var known bool
	_ = s.c.DB.View(func(tx *state.Tx) error { _, known = s.buses.Get(tx, bus); return nil })
	if !known {
		return missing("Event bus %s does not exist.", bus)
	}
	return s.put(bus, e)
}

// busName is the name of a bus given by name or ARN; the default one if it is not given.
func busName(ref *string) string {
	_, name, ok := strings.Cut(wire.Value(ref), ":event-bus/")
	if !ok {
		name = wire.Value(ref)
	}
	return cmp.Or(name, defaultBus)
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
