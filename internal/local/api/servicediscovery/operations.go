package servicediscovery

import (
	"context"
	"slices"
	"strconv"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/servicediscoveryapi"
)

// listOperations lists what was done.
// https://docs.aws.amazon.com/cloud-map/latest/api/API_OperationFilter.html
func (r *Registry) listOperations(_ context.Context, in *servicediscoveryapi.ListOperationsInput) (*servicediscoveryapi.ListOperationsOutput, error) {
	for _, f := range in.Filters {
		if wire.Value(f.Name) != "UPDATE_DATE" {
			continue
		}
		if len(f.Values) != 2 || wire.Value(f.Condition) != "BETWEEN" {
			return nil, wire.Errorf("InvalidInput", "UPDATE_DATE is filtered by BETWEEN and two times.")
		}
		for _, v := range f.Values {
			if _, err := strconv.ParseFloat(v, 64); err != nil {
				return nil, wire.Errorf("InvalidInput", "%s is not a time in seconds since 1970.", v)
			}
		}
	}
	out := &servicediscoveryapi.ListOperationsOutput{Operations: []servicediscoveryapi.OperationSummary{}}
	return out, r.c.DB.View(func(tx *state.Tx) error {
		for id, op := range r.operations.From(tx, wire.Value(in.NextToken)) {
			if !slices.ContainsFunc(in.Filters, func(f servicediscoveryapi.OperationFilter) bool { return !passes(f, &op.API) }) {
				if len(out.Operations) == limitOf(in.MaxResults) {
					out.NextToken = wire.Ptr(id)
					break
				}
				out.Operations = append(out.Operations, servicediscoveryapi.OperationSummary{Id: op.API.Id, Status: op.API.Status})
			}
		}
		return nil
	})
}

func passes(f servicediscoveryapi.OperationFilter, op *servicediscoveryapi.Operation) bool {
	switch wire.Value(f.Name) {
	case "NAMESPACE_ID":
		return slices.Contains(f.Values, op.Targets["NAMESPACE"])
	case "SERVICE_ID":
		return slices.Contains(f.Values, op.Targets["SERVICE"])
	case "STATUS":
		return slices.Contains(f.Values, wire.Value(op.Status))
	case "TYPE":
		return slices.Contains(f.Values, wire.Value(op.Type))
	case "UPDATE_DATE":
		from, _ := strconv.ParseFloat(f.Values[0], 64) // numbers, as was checked
		to, _ := strconv.ParseFloat(f.Values[1], 64)
		at := float64(wire.TimeOf(op.UpdateDate).UnixMilli()) / 1000
		return at >= from && at <= to
	}
	return false
}
