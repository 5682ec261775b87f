// Package autoscaling is EC2 Auto Scaling of the local AWS: groups that keep their desired capacity
// over zones and types, lifecycle hooks that wait, scale-in protection, activities.
package autoscaling

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/api/cloudwatch"
	"github.com/slipway-ecs/slipway/internal/local/api/ec2"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/predict"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

// TableGroups is the table of groups, for watches.
const TableGroups = "autoscaling.groups"

// Group is an Auto Scaling group. Key: name.
type Group struct {
	// Spec is what callers set, as DescribeAutoScalingGroups shows it; Instances is not used.
	Spec      autoscalingapi.AutoScalingGroup
	Members   []Member
	Pool      []Member // of the warm pool
	Hooks     []autoscalingapi.LifecycleHook
	Suspended []string
	Deleting  bool // force-deleted: goes when its last instance is gone
	// ScaledAt is when a policy last changed the desired capacity, and Reason what it said.
	ScaledAt time.Time
	Reason   string
	// Surge is how many instances beyond the desired capacity an instance refresh may launch.
	Surge int
	// Next is what an instance refresh under way launches; the group's own once it has succeeded.
	Next *autoscalingapi.DesiredConfiguration
	// Moving is the instance that was launched beyond the desired capacity to even out the zones.
	Moving string
	// Topics are the SNS topics that are told, with what of.
	Topics map[string][]string
}

// Member is an instance of a group.
type Member struct {
	ID, AZ, Type, Health                      string
	State                                     string // Pending, Pending:Wait, Pending:Proceed, InService, Terminating, Terminating:Wait, Terminating:Proceed, Terminated
	Protected                                 bool
	TemplateID, TemplateName, TemplateVersion string
	Config                                    string // the launch configuration, if that is what launched it
	ToPool                                    bool   // it goes back to the warm pool when its hooks have run
	Since                                     time.Time
	Cause                                     string // why it is terminating
	// The hook it waits for, until when, and until when at most; the token completes the action.
	Hook, Token         string
	Deadline, HookLimit time.Time
	HooksDone           []string
}

// Activity is a scaling activity. Key: group + "/" + sortable id; the newest 100 of a group are kept.
type Activity struct {
	ID, Group, Description, Cause, Status, InstanceID string
	Start, End                                        time.Time
	Progress                                          int32
}

// Service is EC2 Auto Scaling. Its loop is Run.
type Service struct {
	db         *state.DB
	ec2        *ec2.Service
	groups     *state.Table[Group]
	activities *state.Table[Activity]
	policies   *state.Table[Policy]
	scheduled  *state.Table[Scheduled]
	refreshes  *state.Table[Refresh]
	configs    *state.Table[LaunchConfig]
	forecasts  *state.Table[predict.Forecast] // by the policy's key
	asked      *state.Table[asked]
	cw         *cloudwatch.Service
	log        *slog.Logger
	clock      clock.Clock
	region     string
	account    string
	targets    Targets
	publish    Publish
	mu         sync.Mutex
	outbox     []notification
}

// Config is what the service needs to know.
type Config struct {
	DB              *state.DB
	EC2             *ec2.Service
	CloudWatch      *cloudwatch.Service
	Targets         Targets
	Clock           clock.Clock
	Log             *slog.Logger
	Region, Account string
}

// Register adds the operations to svc and the tables to the store.
func Register(svc *wire.Service, c Config) (*Service, error) {
	s := &Service{db: c.DB, ec2: c.EC2, cw: c.CloudWatch, targets: c.Targets, clock: c.Clock, log: c.Log, region: c.Region, account: c.Account}
	var e1, e2, e3, e4, e5, e6, e7, e8 error
	s.groups, e1 = state.NewTable[Group](c.DB, TableGroups)
	s.activities, e2 = state.NewTable[Activity](c.DB, "autoscaling.activities")
	s.policies, e3 = state.NewTable[Policy](c.DB, "autoscaling.policies")
	s.scheduled, e4 = state.NewTable[Scheduled](c.DB, "autoscaling.scheduled")
	s.refreshes, e5 = state.NewTable[Refresh](c.DB, "autoscaling.refreshes")
	s.configs, e6 = state.NewTable[LaunchConfig](c.DB, "autoscaling.launchconfigurations")
	s.forecasts, e7 = state.NewTable[predict.Forecast](c.DB, "autoscaling.forecasts")
	s.asked, e8 = state.NewTable[asked](c.DB, "autoscaling.launches")
	if err := errors.Join(e1, e2, e3, e4, e5, e6, e7, e8); err != nil {
		return nil, err
	}
	wire.Handle(svc, "CreateAutoScalingGroup", s.create, wire.Partly("Classic Load Balancers"))
	wire.Handle(svc, "UpdateAutoScalingGroup", s.update)
	wire.Handle(svc, "DeleteAutoScalingGroup", s.delete)
	wire.Handle(svc, "DescribeAutoScalingGroups", s.describe)
	wire.Handle(svc, "DescribeAutoScalingInstances", s.describeInstances)
	wire.Handle(svc, "SetDesiredCapacity", s.setDesired)
	wire.Handle(svc, "SetInstanceProtection", s.protect)
	wire.Handle(svc, "SetInstanceHealth", s.setHealth)
	wire.Handle(svc, "TerminateInstanceInAutoScalingGroup", s.terminate)
	wire.Handle(svc, "DetachInstances", s.detach)
	wire.Handle(svc, "SuspendProcesses", s.suspend)
	wire.Handle(svc, "LaunchInstances", s.launchNow)
	wire.Handle(svc, "GetPredictiveScalingForecast", s.forecast)
	wire.Handle(svc, "ResumeProcesses", s.resume)
	wire.Handle(svc, "DescribeScalingProcessTypes", processTypes)
	wire.Handle(svc, "DescribeScalingActivities", s.describeActivities)
	wire.Handle(svc, "CreateOrUpdateTags", s.tag)
	wire.Handle(svc, "DeleteTags", s.untag)
	wire.Handle(svc, "DescribeTags", s.describeTags)
	wire.Handle(svc, "PutLifecycleHook", s.putHook)
	wire.Handle(svc, "DeleteLifecycleHook", s.deleteHook)
	wire.Handle(svc, "DescribeLifecycleHooks", s.describeHooks)
	wire.Handle(svc, "DescribeLifecycleHookTypes", hookTypes)
	wire.Handle(svc, "CompleteLifecycleAction", s.complete)
	wire.Handle(svc, "RecordLifecycleActionHeartbeat", s.heartbeat)
	wire.Handle(svc, "DescribeAccountLimits", s.limits)
	s.registerPolicies(svc)
	s.registerScheduled(svc)
	s.registerRefresh(svc)
	s.registerAttach(svc)
	s.registerNotify(svc)
	s.registerMetrics(svc)
	s.registerBatch(svc)
	s.registerConfigs(svc)
	s.registerPool(svc)
	c.CloudWatch.OnAlarm(s.onAlarm)
	wire.Handle(svc, "DescribeTerminationPolicyTypes", terminationPolicies)
	return s, nil
}

func noGroup(name string) error {
	return wire.Errorf("ValidationError", "AutoScalingGroup name not found - null or %s", name)
}

// modify replaces the group with what f makes of a copy of it; f gets its own members.
func (s *Service) modify(name string, f func(tx *state.Tx, g *Group) error) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, ok := s.groups.Get(tx, name)
		if !ok {
			return noGroup(name)
		}
		g := *old
		g.Members, g.Pool = append([]Member(nil), old.Members...), append([]Member(nil), old.Pool...)
		if err := f(tx, &g); err != nil {
			return err
		}
		s.groups.Put(tx, name, &g)
		return nil
	})
}

func (s *Service) name(g *Group) string { return wire.Value(g.Spec.AutoScalingGroupName) }

func (s *Service) record(tx *state.Tx, group, instance, description, cause string) {
	now := s.clock.Now()
	id := newID()
	key := fmt.Sprintf("%s/%020d-%s", group, now.UnixNano(), id)
	a := Activity{ID: id, Group: group, Description: description, Cause: cause, Status: "Successful", InstanceID: instance, Start: now, End: now, Progress: 100}
	s.activities.Put(tx, key, &a)
	if g, ok := s.groups.Get(tx, group); ok {
		s.tell(g, told(a), a)
	}
	n, oldest := 0, ""
	for k := range s.activities.Prefix(tx, group+"/") {
		if n++; oldest == "" {
			oldest = k
		}
	}
	if n > 100 {
		s.activities.Delete(tx, oldest)
	}
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
