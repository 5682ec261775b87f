package autoscaling

import (
	"context"
	"errors"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/autoscalingapi"
)

func (s *Service) registerBatch(svc *wire.Service) {
	wire.Handle(svc, "BatchPutScheduledUpdateGroupAction", s.batchPut)
	wire.Handle(svc, "BatchDeleteScheduledAction", s.batchDelete)
}

// exists is asked first: without the group the whole call fails, not each of its actions.
func (s *Service) exists(group string) error {
	return s.db.View(func(tx *state.Tx) error {
		if _, ok := s.groups.Get(tx, group); !ok {
			return noGroup(group)
		}
		return nil
	})
}

func failed(name *string, err error) (autoscalingapi.FailedScheduledUpdateGroupActionRequest, error) {
	var why *wire.Error
	if !errors.As(err, &why) {
		return autoscalingapi.FailedScheduledUpdateGroupActionRequest{}, err
	}
	return autoscalingapi.FailedScheduledUpdateGroupActionRequest{ScheduledActionName: name, ErrorCode: &why.Code, ErrorMessage: &why.Message}, nil
}

func (s *Service) batchPut(ctx context.Context, in *autoscalingapi.BatchPutScheduledUpdateGroupActionInput) (*autoscalingapi.BatchPutScheduledUpdateGroupActionOutput, error) {
	out := &autoscalingapi.BatchPutScheduledUpdateGroupActionOutput{FailedScheduledUpdateGroupActions: []autoscalingapi.FailedScheduledUpdateGroupActionRequest{}}
	if err := s.exists(wire.Value(in.AutoScalingGroupName)); err != nil {
		return nil, err
	}
	for _, a := range in.ScheduledUpdateGroupActions {
		_, err := s.putScheduled(ctx, &autoscalingapi.PutScheduledUpdateGroupActionInput{AutoScalingGroupName: in.AutoScalingGroupName, ScheduledActionName: a.ScheduledActionName,
			DesiredCapacity: a.DesiredCapacity, MinSize: a.MinSize, MaxSize: a.MaxSize, StartTime: a.StartTime, EndTime: a.EndTime, Recurrence: a.Recurrence, TimeZone: a.TimeZone})
		if err != nil {
			f, err := failed(a.ScheduledActionName, err)
			if err != nil {
				return nil, err
			}
			out.FailedScheduledUpdateGroupActions = append(out.FailedScheduledUpdateGroupActions, f)
		}
	}
	return out, nil
}

func (s *Service) batchDelete(ctx context.Context, in *autoscalingapi.BatchDeleteScheduledActionInput) (*autoscalingapi.BatchDeleteScheduledActionOutput, error) {
	out := &autoscalingapi.BatchDeleteScheduledActionOutput{FailedScheduledActions: []autoscalingapi.FailedScheduledUpdateGroupActionRequest{}}
	if err := s.exists(wire.Value(in.AutoScalingGroupName)); err != nil {
		return nil, err
	}
	for _, name := range in.ScheduledActionNames {
		if _, err := s.deleteScheduled(ctx, &autoscalingapi.DeleteScheduledActionInput{AutoScalingGroupName: in.AutoScalingGroupName, ScheduledActionName: &name}); err != nil {
			f, err := failed(&name, err)
			if err != nil {
				return nil, err
			}
			out.FailedScheduledActions = append(out.FailedScheduledActions, f)
		}
	}
	return out, nil
}
