// Package delivery carries events to their targets: queues, topics, tasks of ECS, log groups and web
// servers of this machine. What waits is in the state, so that it survives the process.
package delivery

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/events"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/logsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/sqsapi"
)

// Delivery is one event on its way to one target. Key: time of its first attempt and id.
type Delivery struct {
	ID        string
	Source    string // ARN of the rule or schedule
	TargetARN string
	Body      string
	GroupID   string               // of FIFO queues
	Run       *ecsapi.RunTaskInput // of clusters
	HTTP      *HTTP                // of API destinations
	DLQ       string               // ARN of the queue for what is given up
	Retries   int                  // after the first attempt
	MaxAge    time.Duration
	At        time.Time
	NextAt    time.Time
	Attempts  int
}

// HTTP is a request to an API destination, without its body.
type HTTP struct {
	Method, URL string
	Header      map[string]string
}

// Defaults of retry policies: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-retry-policy.html.
const (
	DefaultRetries = 185
	DefaultMaxAge  = 24 * time.Hour
)

// Queues and Topics take what is for them.
type Queues interface {
	Send(queueARN, body, group, dedup string, attributes map[string]sqsapi.MessageAttributeValue) error
}

// Topics publish messages.
type Topics interface {
	Publish(topicARN, subject, message string) error
}

// Config is what is needed to deliver.
type Config struct {
	DB        *state.DB
	Clock     clock.Clock
	Log       *slog.Logger
	Queues    Queues
	Topics    Topics
	ECS, Logs *wire.Service
	Bus       func(busARN, event string) error // puts an event on a bus of EventBridge
	Done      func(d Delivery, failed bool)    // told of the outcome; nil: nobody is
}

// Deliverer delivers. Its loop is Run.
type Deliverer struct {
	c     Config
	queue *state.Table[Delivery]
	sem   chan struct{}
}

// New opens the table.
func New(c Config) (*Deliverer, error) {
	t, err := state.NewTable[Delivery](c.DB, table)
	if err != nil {
		return nil, err
	}
	return &Deliverer{c: c, queue: t, sem: make(chan struct{}, 16)}, nil
}

const table = "events.deliveries"

// SetBus sets what puts events on buses: the buses need a deliverer themselves. Call it before Run.
func (d *Deliverer) SetBus(f func(busARN, event string) error) { d.c.Bus = f }

// SetDone sets who is told of outcomes. Call it before Run.
func (d *Deliverer) SetDone(f func(Delivery, bool)) { d.c.Done = f }

// Supported says why nothing can be delivered to an ARN; nil if it can.
func Supported(arn string) error {
	switch service(arn) {
	case "sqs", "sns", "ecs", "logs", "events":
		return nil
	}
	return fmt.Errorf("not supported by this local AWS: the target %s", arn)
}

func service(arn string) string {
	parts := strings.SplitN(arn, ":", 4)
	if len(parts) < 4 {
		return ""
	}
	return parts[2]
}

// Add puts deliveries into the state inside a transaction; they are made soon after it.
func (d *Deliverer) Add(tx *state.Tx, list ...Delivery) {
	for _, one := range list {
		one.ID = newID()
		one.At = d.c.Clock.Now()
		one.NextAt = one.At
		if one.MaxAge == 0 {
			one.MaxAge = DefaultMaxAge
		}
		d.queue.Put(tx, key(&one), &one)
	}
}

func key(d *Delivery) string { return fmt.Sprintf("%020d-%s", d.At.UnixNano(), d.ID) }

// Run delivers until ctx ends.
func (d *Deliverer) Run(ctx context.Context) error {
	w := d.c.DB.Watch(table)
	defer w.Stop()
	var busy sync.WaitGroup
	defer busy.Wait()
	var mu sync.Mutex
	going := map[string]bool{}
	for {
		w.Drain()
		now := d.c.Clock.Now()
		next := now.Add(time.Hour)
		var due []*Delivery
		_ = d.c.DB.View(func(tx *state.Tx) error {
			for _, one := range d.queue.All(tx) {
				if one.NextAt.After(now) {
					if one.NextAt.Before(next) {
						next = one.NextAt
					}
					continue
				}
				due = append(due, one)
			}
			return nil
		})
		for _, one := range due {
			mu.Lock()
			running := going[one.ID]
			going[one.ID] = true
			mu.Unlock()
			if running {
				continue
			}
			select {
			case d.sem <- struct{}{}:
			case <-ctx.Done():
				return nil
			}
			busy.Go(func() {
				defer func() { <-d.sem }()
				d.attempt(ctx, one)
				mu.Lock()
				delete(going, one.ID)
				mu.Unlock()
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.C:
		case <-d.c.Clock.After(max(next.Sub(d.c.Clock.Now()), time.Millisecond)):
		}
	}
}

// permanent marks a failure that another attempt does not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

func (d *Deliverer) attempt(ctx context.Context, one *Delivery) {
	err := d.deliver(ctx, one)
	if ctx.Err() != nil && err != nil {
		return // it is made again at the next start
	}
	now := d.c.Clock.Now()
	given := err != nil && (errors.As(err, &permanent{}) || one.Attempts >= one.Retries || now.Sub(one.At) >= one.MaxAge)
	stored := d.c.DB.Update(func(tx *state.Tx) error {
		if err == nil || given {
			d.queue.Delete(tx, key(one))
			return nil
		}
		// Exponential, at most five minutes apart.
		wait := min(5*time.Minute, time.Second<<min(one.Attempts, 12))
		d.queue.Modify(tx, key(one), func(o *Delivery) { o.Attempts++; o.NextAt = now.Add(wait) })
		return nil
	})
	if stored != nil {
		d.c.Log.Error("storing the outcome of a delivery", "target", one.TargetARN, "error", stored)
	}
	if err != nil && !given {
		d.c.Log.Debug("a delivery failed and is made again", "target", one.TargetARN, "attempt", one.Attempts+1, "error", err)
		return
	}
	if given {
		d.c.Log.Warn("a delivery is given up", "source", one.Source, "target", one.TargetARN, "error", err)
		d.bury(one, err)
	}
	if d.c.Done != nil {
		d.c.Done(*one, given)
	}
}

// bury sends what is given up to the dead-letter queue, with attributes that say why
// (https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html).
func (d *Deliverer) bury(one *Delivery, why error) {
	if one.DLQ == "" {
		return
	}
	attr := func(v string) sqsapi.MessageAttributeValue {
		return sqsapi.MessageAttributeValue{DataType: wire.String("String"), StringValue: wire.Ptr(cmp.Or(v, "-"))}
	}
	code := "SDK_CLIENT_ERROR"
	var e *wire.Error
	if errors.As(why, &e) {
		code = e.Code
	}
	name := "RULE_ARN"
	if strings.Contains(one.Source, ":scheduler:") {
		name = "SCHEDULE_ARN"
	}
	err := d.c.Queues.Send(one.DLQ, one.Body, "", "", map[string]sqsapi.MessageAttributeValue{name: attr(one.Source), "TARGET_ARN": attr(one.TargetARN), "ERROR_CODE": attr(code),
		"ERROR_MESSAGE": attr(why.Error()), "RETRY_ATTEMPTS": attr(fmt.Sprint(one.Attempts)), "EXHAUSTED_RETRY_CONDITION": attr("MaximumRetryAttempts")})
	if err != nil {
		d.c.Log.Warn("the dead-letter queue did not take a delivery", "queue", one.DLQ, "error", err)
	}
}

func (d *Deliverer) deliver(ctx context.Context, one *Delivery) error {
	switch {
	case one.Run != nil:
		return d.runTask(ctx, one)
	case one.HTTP != nil:
		err := events.Send(ctx, one.HTTP.Method, one.HTTP.URL, one.Body, one.HTTP.Header)
		if errors.Is(err, events.ErrNotLoopback) {
			return permanent{err}
		}
		return err
	}
	switch service(one.TargetARN) {
	case "sqs":
		dedup := ""
		if one.GroupID != "" {
			dedup = one.ID
		}
		return refused(d.c.Queues.Send(one.TargetARN, one.Body, one.GroupID, dedup, nil))
	case "sns":
		return refused(d.c.Topics.Publish(one.TargetARN, "", one.Body))
	case "logs":
		return d.log(ctx, one)
	case "events":
		return refused(d.c.Bus(one.TargetARN, one.Body))
	}
	return permanent{Supported(one.TargetARN)}
}

// refused makes a client's error final: it would be the same again.
func refused(err error) error {
	var e *wire.Error
	if errors.As(err, &e) && !strings.Contains(e.Code, "Throttl") && e.Status < 500 {
		return permanent{err}
	}
	return err
}

func (d *Deliverer) runTask(ctx context.Context, one *Delivery) error {
	out, err := wire.Do[ecsapi.RunTaskInput, ecsapi.RunTaskOutput](ctx, d.c.ECS, "RunTask", one.Run)
	if err != nil {
		return refused(err)
	}
	if len(out.Failures) > 0 {
		f := out.Failures[0]
		return wire.Errorf("ECS_FAILURE", "%s: %s", wire.Value(f.Reason), cmp.Or(wire.Value(f.Detail), wire.Value(f.Arn)))
	}
	return nil
}

// log writes the event to a stream of its own name, as EventBridge does.
func (d *Deliverer) log(ctx context.Context, one *Delivery) error {
	_, group, _ := strings.Cut(one.TargetARN, ":log-group:")
	group = strings.TrimSuffix(group, ":*")
	stream := one.ID
	_, err := wire.Do[logsapi.CreateLogStreamInput, logsapi.CreateLogStreamOutput](ctx, d.c.Logs, "CreateLogStream", &logsapi.CreateLogStreamInput{LogGroupName: &group, LogStreamName: &stream})
	var e *wire.Error
	if errors.As(err, &e) && e.Code != "ResourceAlreadyExistsException" {
		return refused(err)
	}
	_, err = wire.Do[logsapi.PutLogEventsInput, logsapi.PutLogEventsOutput](ctx, d.c.Logs, "PutLogEvents", &logsapi.PutLogEventsInput{LogGroupName: &group, LogStreamName: &stream,
		LogEvents: []logsapi.InputLogEvent{{Message: &one.Body, Timestamp: wire.Ptr(d.c.Clock.Now().UnixMilli())}}})
	return refused(err)
}

// RunTask is the request that ECS parameters of EventBridge or Scheduler ask for: their members have
// the names of RunTask's, but for case. Input may hold overrides.
func RunTask(cluster string, params any, input, startedBy string) (*ecsapi.RunTaskInput, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, fmt.Errorf("reading ECS parameters: %w", err)
	}
	var in ecsapi.RunTaskInput
	var more struct {
		TaskDefinitionArn *string
		TaskCount         *int32
	}
	if err := errors.Join(json.Unmarshal(raw, &in), json.Unmarshal(raw, &more)); err != nil {
		return nil, fmt.Errorf("reading ECS parameters: %w", err)
	}
	in.Cluster, in.TaskDefinition, in.Count, in.StartedBy = &cluster, more.TaskDefinitionArn, more.TaskCount, &startedBy
	if input != "" {
		var o ecsapi.TaskOverride
		if err := json.Unmarshal([]byte(input), &o); err != nil {
			return nil, fmt.Errorf("reading the overrides of the input: %w", err)
		}
		if o.ContainerOverrides != nil || o.Cpu != nil || o.Memory != nil || o.TaskRoleArn != nil || o.ExecutionRoleArn != nil || o.EphemeralStorage != nil {
			in.Overrides = &o
		}
	}
	return &in, nil
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
