package servicequotas

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	api "github.com/slipway-ecs/slipway/internal/local/wire/servicequotasapi"
)

// request raises a quota; it can only be raised.
// https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_RequestServiceQuotaIncrease.html
func (s *Service) request(ctx context.Context, in *api.RequestServiceQuotaIncreaseInput) (out *api.RequestServiceQuotaIncreaseOutput, err error) {
	q, err := find(*in.ServiceCode, *in.QuotaCode)
	if err != nil {
		return nil, err
	}
	err = s.cfg.DB.Update(func(tx *state.Tx) error {
		now := s.value(tx, q)
		if *in.DesiredValue <= now {
			return wire.Errorf("IllegalArgumentException", "The desired value %g must be greater than the current value %g.", *in.DesiredValue, now)
		}
		at := wire.Timestamp(s.cfg.Clock.Now())
		id := make([]byte, 16)
		_, _ = rand.Read(id)
		shown := show(ctx, q, *in.DesiredValue)
		r := &api.RequestedServiceQuotaChange{
			Id: wire.String(hex.EncodeToString(id)), ServiceCode: shown.ServiceCode, ServiceName: shown.ServiceName, QuotaCode: shown.QuotaCode, QuotaName: shown.QuotaName,
			DesiredValue: in.DesiredValue, Status: wire.String("APPROVED"), Created: at, LastUpdated: at, QuotaArn: shown.QuotaArn, GlobalQuota: shown.GlobalQuota, Unit: shown.Unit,
			QuotaRequestedAtLevel: shown.QuotaAppliedAtLevel,
		}
		s.raised.Put(tx, q.code, &raise{*in.DesiredValue})
		s.history.Put(tx, *r.Id, r)
		out = &api.RequestServiceQuotaIncreaseOutput{RequestedQuota: r}
		return nil
	})
	return out, err
}

func (s *Service) change(_ context.Context, in *api.GetRequestedServiceQuotaChangeInput) (out *api.GetRequestedServiceQuotaChangeOutput, err error) {
	err = s.cfg.DB.View(func(tx *state.Tx) error {
		r, ok := s.history.Get(tx, *in.RequestId)
		if !ok {
			return wire.Errorf("NoSuchResourceException", "The request %s does not exist.", *in.RequestId)
		}
		out = &api.GetRequestedServiceQuotaChangeOutput{RequestedQuota: r}
		return nil
	})
	return out, err
}

func (s *Service) changes(_ context.Context, in *api.ListRequestedServiceQuotaChangeHistoryInput) (*api.ListRequestedServiceQuotaChangeHistoryOutput, error) {
	list, err := s.made(func(r *api.RequestedServiceQuotaChange) bool {
		return (in.ServiceCode == nil || *in.ServiceCode == *r.ServiceCode) && (in.Status == nil || *in.Status == *r.Status)
	})
	return &api.ListRequestedServiceQuotaChangeHistoryOutput{RequestedQuotas: list}, err
}

func (s *Service) changesOf(_ context.Context, in *api.ListRequestedServiceQuotaChangeHistoryByQuotaInput) (*api.ListRequestedServiceQuotaChangeHistoryByQuotaOutput, error) {
	list, err := s.made(func(r *api.RequestedServiceQuotaChange) bool {
		return *in.ServiceCode == *r.ServiceCode && *in.QuotaCode == *r.QuotaCode && (in.Status == nil || *in.Status == *r.Status)
	})
	return &api.ListRequestedServiceQuotaChangeHistoryByQuotaOutput{RequestedQuotas: list}, err
}

// made lists changes, the newest first.
func (s *Service) made(which func(*api.RequestedServiceQuotaChange) bool) ([]api.RequestedServiceQuotaChange, error) {
	list := []api.RequestedServiceQuotaChange{}
	err := s.cfg.DB.View(func(tx *state.Tx) error {
		for _, r := range s.history.All(tx) {
			if which(r) {
				list = append(list, *r)
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b api.RequestedServiceQuotaChange) int {
		return b.Created.Compare(a.Created.Time)
	})
	return list, err
}
