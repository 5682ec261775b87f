package deploy

import (
	"cmp"
	"context"
	"fmt"
)

// Job is what a deployment of a job left in AWS: a task definition to run, and perhaps a schedule.
// There is no ECS service.
type Job struct {
	Ref            Ref
	TaskDefinition TaskDefinition // the newest
	Image          string         // of the main container
	Release        string
	LogGroup       *LogGroup
	Schedule       *Schedule // nil: on demand
	Tasks          []Task    // that run, and that stopped lately
}

// Job reads a job; ErrNotFound if none of this name was deployed.
func (e *Engine) Job(ctx context.Context, ref Ref) (Job, error) {
	j := Job{Ref: ref}
	td, err := found(e.ports.TaskDefinitions.TaskDefinition(ctx, ref.Service))
	if err != nil {
		return j, fmt.Errorf("reading task definition %s: %w", ref.Service, err)
	}
	if td == nil || td.Status == "INACTIVE" || td.Tags[tagContent] == "" {
		return j, fmt.Errorf("job %s in cluster %s: %w", ref.Service, clusterName(ref.Cluster), ErrNotFound)
	}
	j.TaskDefinition, j.Release = *td, td.Tags[tagRelease]
	if len(td.Containers) > 0 {
		j.Image = td.Containers[0].Image
	}
	if group := cmp.Or(td.LogOptions["awslogs-group"], td.RouterLogs["awslogs-group"]); group != "" {
		if j.LogGroup, err = found(e.ports.Logs.LogGroup(ctx, group)); err != nil {
			return j, fmt.Errorf("reading log group %s: %w", group, err)
		}
	}
	var o observed
	if err := e.observeSchedule(ctx, ref, &o); err != nil {
		return j, err
	}
	j.Schedule = o.schedule
	if j.Tasks, err = e.ports.Tasks.FamilyTasks(ctx, ref.Cluster, ref.Service); err != nil {
		return j, fmt.Errorf("reading tasks: %w", err)
	}
	return j, nil
}
