// Package servicequotas is Service Quotas of the local AWS: the quotas that its other services keep, and
// what raises them. Quotas that no service here keeps are not told of.
//
// Source: https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
package servicequotas

import (
	"context"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	api "github.com/slipway-ecs/slipway/internal/local/wire/servicequotasapi"
)

// FargateVCPUs is the account's quota of vCPUs, of on demand and of Spot each, where none is set. AWS's
// default for a new account is 6; it raises it by itself with what the account uses.
const FargateVCPUs = 4000

// Config is what Register needs.
type Config struct {
	DB           *state.DB
	Clock        clock.Clock
	FargateVCPUs float64 // the account's quotas at first; 0: the constant
}

// Service is Service Quotas.
type Service struct {
	cfg     Config
	raised  *state.Table[raise] // by quota code: the last
	history *state.Table[api.RequestedServiceQuotaChange]
}

// raise is a quota's own value.
type raise struct{ Value float64 }

// quota is one that a service here keeps.
type quota struct {
	service, serviceName, code, name string
	byDefault                        float64
	kind                             string // of Fargate: the capacity provider
	class                            string // of its usage metric
}

var quotas = []quota{
	{"fargate", "AWS Fargate", "L-3032A538", "Fargate On-Demand vCPU resource count", 6, "FARGATE", "Standard/OnDemand"},
	{"fargate", "AWS Fargate", "L-36FBB829", "Fargate Spot vCPU resource count", 6, "FARGATE_SPOT", "Standard/Spot"},
}

// Register adds the operations to svc and the tables to the store.
func Register(svc *wire.Service, cfg Config) (*Service, error) {
	if cfg.FargateVCPUs == 0 {
		cfg.FargateVCPUs = FargateVCPUs
	}
	s := &Service{cfg: cfg}
	var err error
	if s.raised, err = state.NewTable[raise](cfg.DB, "servicequotas.raised"); err != nil {
		return nil, err
	}
	if s.history, err = state.NewTable[api.RequestedServiceQuotaChange](cfg.DB, "servicequotas.changes"); err != nil {
		return nil, err
	}
	wire.Handle(svc, "ListServices", s.services)
	wire.Handle(svc, "GetServiceQuota", s.get)
	wire.Handle(svc, "GetAWSDefaultServiceQuota", s.getDefault)
	wire.Handle(svc, "ListServiceQuotas", s.list)
	wire.Handle(svc, "ListAWSDefaultServiceQuotas", s.listDefaults)
	wire.Handle(svc, "RequestServiceQuotaIncrease", s.request, wire.Partly("what is asked for is granted at once"))
	wire.Handle(svc, "GetRequestedServiceQuotaChange", s.change)
	wire.Handle(svc, "ListRequestedServiceQuotaChangeHistory", s.changes)
	wire.Handle(svc, "ListRequestedServiceQuotaChangeHistoryByQuota", s.changesOf)
	return s, nil
}

// FargateLimit is how many CPU units (1024 a vCPU) the tasks of FARGATE or of FARGATE_SPOT may have together.
func (s *Service) FargateLimit(tx *state.Tx, kind string) int {
	for _, q := range quotas {
		if q.kind == kind {
			return int(1024 * s.value(tx, q))
		}
	}
	return 0
}

func (s *Service) value(tx *state.Tx, q quota) float64 {
	if r, ok := s.raised.Get(tx, q.code); ok {
		return r.Value
	}
	return s.cfg.FargateVCPUs
}

func show(ctx context.Context, q quota, value float64) *api.ServiceQuota {
	who := wire.Caller(ctx)
	return &api.ServiceQuota{
		ServiceCode: &q.service, ServiceName: &q.serviceName, QuotaCode: &q.code, QuotaName: &q.name, Value: &value, Unit: wire.String("None"),
		QuotaArn:   wire.String("arn:aws:servicequotas:" + who.Region + ":" + who.Account + ":" + q.service + "/" + q.code),
		Adjustable: wire.Ptr(true), GlobalQuota: wire.Ptr(false), QuotaAppliedAtLevel: wire.String("ACCOUNT"),
		// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/monitoring-fargate-usage.html
		UsageMetric: &api.MetricInfo{
			MetricNamespace: wire.String(UsageNamespace), MetricName: wire.String(UsageMetric), MetricStatisticRecommendation: wire.String("Maximum"),
			MetricDimensions: q.dimensions(),
		},
	}
}

// What CloudWatch calls the use of quotas.
const (
	UsageNamespace = "AWS/Usage"
	UsageMetric    = "ResourceCount"
)

func (q quota) dimensions() map[string]string {
	return map[string]string{"Class": q.class, "Resource": "vCPU", "Service": "Fargate", "Type": "Resource"}
}

// Usage is how much of each quota is taken, with the dimensions of its metric.
func Usage(tx *state.Tx, ecs *state.ECS, put func(dimensions map[string]string, vcpus float64)) {
	for _, q := range quotas {
		used := 0
		if n := ecs.FargateCPU.Get(tx, q.kind); n != nil {
			used = *n
		}
		put(q.dimensions(), float64(used)/1024)
	}
}

func find(service, code string) (quota, error) {
	for _, q := range quotas {
		if q.service == service && q.code == code {
			return q, nil
		}
	}
	return quota{}, wire.Errorf("NoSuchResourceException", "The request failed because the specified service quota does not exist: %s of %s. The local AWS knows of the quotas that it keeps.", code, service)
}

func known(service string) error {
	if !slices.ContainsFunc(quotas, func(q quota) bool { return q.service == service }) {
		return wire.Errorf("NoSuchResourceException", "The request failed because the specified service does not exist: %s. The local AWS knows of the quotas that it keeps.", service)
	}
	return nil
}

func (s *Service) services(context.Context, *api.ListServicesInput) (*api.ListServicesOutput, error) {
	out := &api.ListServicesOutput{Services: []api.ServiceInfo{}}
	for _, q := range quotas {
		if !slices.ContainsFunc(out.Services, func(x api.ServiceInfo) bool { return *x.ServiceCode == q.service }) {
			out.Services = append(out.Services, api.ServiceInfo{ServiceCode: &q.service, ServiceName: &q.serviceName})
		}
	}
	return out, nil
}

func (s *Service) get(ctx context.Context, in *api.GetServiceQuotaInput) (out *api.GetServiceQuotaOutput, err error) {
	q, err := find(*in.ServiceCode, *in.QuotaCode)
	if err != nil {
		return nil, err
	}
	err = s.cfg.DB.View(func(tx *state.Tx) error {
		out = &api.GetServiceQuotaOutput{Quota: show(ctx, q, s.value(tx, q))}
		return nil
	})
	return out, err
}

func (s *Service) getDefault(ctx context.Context, in *api.GetAWSDefaultServiceQuotaInput) (*api.GetAWSDefaultServiceQuotaOutput, error) {
	q, err := find(*in.ServiceCode, *in.QuotaCode)
	if err != nil {
		return nil, err
	}
	return &api.GetAWSDefaultServiceQuotaOutput{Quota: show(ctx, q, q.byDefault)}, nil
}

func (s *Service) list(ctx context.Context, in *api.ListServiceQuotasInput) (*api.ListServiceQuotasOutput, error) {
	if err := known(*in.ServiceCode); err != nil {
		return nil, err
	}
	out := &api.ListServiceQuotasOutput{Quotas: []api.ServiceQuota{}}
	err := s.cfg.DB.View(func(tx *state.Tx) error {
		for _, q := range quotas {
			if q.service == *in.ServiceCode && (in.QuotaCode == nil || *in.QuotaCode == q.code) {
				out.Quotas = append(out.Quotas, *show(ctx, q, s.value(tx, q)))
			}
		}
		return nil
	})
	return out, err
}

func (s *Service) listDefaults(ctx context.Context, in *api.ListAWSDefaultServiceQuotasInput) (*api.ListAWSDefaultServiceQuotasOutput, error) {
	if err := known(*in.ServiceCode); err != nil {
		return nil, err
	}
	out := &api.ListAWSDefaultServiceQuotasOutput{Quotas: []api.ServiceQuota{}}
	for _, q := range quotas {
		if q.service == *in.ServiceCode {
			out.Quotas = append(out.Quotas, *show(ctx, q, q.byDefault))
		}
	}
	return out, nil
}
