package ecs

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

func (a *API) registerTaskDefinitions(svc *wire.Service) {
	wire.Handle(svc, "RegisterTaskDefinition", a.registerTaskDefinition)
	wire.Handle(svc, "DescribeTaskDefinition", a.describeTaskDefinition)
	wire.Handle(svc, "DeregisterTaskDefinition", a.deregisterTaskDefinition)
	wire.Handle(svc, "DeleteTaskDefinitions", a.deleteTaskDefinitions)
	wire.Handle(svc, "ListTaskDefinitions", a.listTaskDefinitions)
	wire.Handle(svc, "ListTaskDefinitionFamilies", a.listTaskDefinitionFamilies)
}

// mostContainers is how many containers a task definition may have.
// https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
const mostContainers = 10

var familyRE = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,255}$`)

func (a *API) registerTaskDefinition(ctx context.Context, in *ecsapi.RegisterTaskDefinitionInput) (*ecsapi.RegisterTaskDefinitionOutput, error) {
	if !familyRE.MatchString(*in.Family) {
		return nil, client("Family contains invalid characters: up to 255 letters, numbers, underscores and hyphens are allowed.")
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	if len(in.ContainerDefinitions) > mostContainers {
		return nil, client("A task definition can have at most %d containers.", mostContainers)
	}
	def, err := complete(in)
	if err != nil {
		return nil, err
	}
	def.Status = wire.String("ACTIVE")
	def.RegisteredAt = wire.Timestamp(a.Clock.Now())
	def.RegisteredBy = wire.String(rootARN(ctx))
	return update(a, func(tx *state.Tx) (*ecsapi.RegisterTaskDefinitionOutput, error) {
		d := def
		revision := 1
		if last := a.lastRevision(tx, *in.Family); last != nil {
			revision = last.Revision + 1
		}
		d.Revision = wire.Int32(revision)
		d.TaskDefinitionArn = wire.String(arn(ctx, "task-definition", fmt.Sprintf("%s:%d", *in.Family, revision)))
		a.State.TaskDefinitions.Put(tx, state.TaskDefinitionKey(*in.Family, revision), &state.TaskDefinition{
			Family: *in.Family, Revision: revision, ARN: *d.TaskDefinitionArn, Def: d, Tags: in.Tags,
		})
		return &ecsapi.RegisterTaskDefinitionOutput{TaskDefinition: &d, Tags: in.Tags}, nil
	})
}

// lastRevision is the newest revision of a family, in any status; nil if there is none.
func (a *API) lastRevision(tx *state.Tx, family string) *state.TaskDefinition {
	_, td, _ := a.State.TaskDefinitions.Last(tx, family+":")
	return td
}

// taskDefinition finds a task definition by family (the newest ACTIVE revision), family:revision or
// ARN; nil if there is none.
func (a *API) taskDefinition(tx *state.Tx, ref string) *state.TaskDefinition {
	if kind, rest, ok := resource(ref); ok {
		if kind != "task-definition" {
			return nil
		}
		ref = rest
	}
	family, rev, ok := strings.Cut(ref, ":")
	if !ok {
		td := a.lastRevision(tx, family)
		for td != nil && wire.Value(td.Def.Status) != "ACTIVE" {
			td, _ = a.State.TaskDefinitions.Get(tx, state.TaskDefinitionKey(family, td.Revision-1))
		}
		return td
	}
	n, err := strconv.Atoi(rev)
	if err != nil {
		return nil
	}
	td, _ := a.State.TaskDefinitions.Get(tx, state.TaskDefinitionKey(family, n))
	return td
}

func (a *API) describeTaskDefinition(_ context.Context, in *ecsapi.DescribeTaskDefinitionInput) (*ecsapi.DescribeTaskDefinitionOutput, error) {
	return view(a, func(tx *state.Tx) (*ecsapi.DescribeTaskDefinitionOutput, error) {
		td := a.taskDefinition(tx, *in.TaskDefinition)
		if td == nil {
			return nil, client("Unable to describe task definition.")
		}
		out := &ecsapi.DescribeTaskDefinitionOutput{TaskDefinition: &td.Def}
		if slices.Contains(in.Include, "TAGS") {
			out.Tags = orEmpty(td.Tags)
		}
		return out, nil
	})
}

func (a *API) deregisterTaskDefinition(_ context.Context, in *ecsapi.DeregisterTaskDefinitionInput) (*ecsapi.DeregisterTaskDefinitionOutput, error) {
	if !strings.Contains(strings.TrimPrefix(*in.TaskDefinition, "arn:"), ":") {
		return nil, client("Invalid revision number. Number: null")
	}
	return update(a, func(tx *state.Tx) (*ecsapi.DeregisterTaskDefinitionOutput, error) {
		old := a.taskDefinition(tx, *in.TaskDefinition)
		if old == nil {
			return nil, client("The specified task definition does not exist. Specify a valid account, family, revision and try again.")
		}
		if wire.Value(old.Def.Status) != "ACTIVE" {
			return nil, client("The specified task definition is inactive. Specify an active task definition and try again.")
		}
		td := *old
		td.Def.Status, td.Def.DeregisteredAt = wire.String("INACTIVE"), wire.Timestamp(a.Clock.Now())
		a.State.TaskDefinitions.Put(tx, state.TaskDefinitionKey(td.Family, td.Revision), &td)
		return &ecsapi.DeregisterTaskDefinitionOutput{TaskDefinition: &td.Def}, nil
	})
}

func (a *API) deleteTaskDefinitions(ctx context.Context, in *ecsapi.DeleteTaskDefinitionsInput) (*ecsapi.DeleteTaskDefinitionsOutput, error) {
	if len(in.TaskDefinitions) > 10 {
		return nil, invalid("Task definitions cannot have more than 10 elements")
	}
	return update(a, func(tx *state.Tx) (*ecsapi.DeleteTaskDefinitionsOutput, error) {
		out := &ecsapi.DeleteTaskDefinitionsOutput{TaskDefinitions: []ecsapi.TaskDefinition{}, Failures: []ecsapi.Failure{}}
		for _, ref := range in.TaskDefinitions {
			old := a.taskDefinition(tx, ref)
			switch {
			case old == nil:
				if _, _, ok := resource(ref); !ok {
					ref = arn(ctx, "task-definition", ref)
				}
				out.Failures = append(out.Failures, ecsapi.Failure{Arn: &ref, Reason: wire.String("The specified task definition does not exist. Specify a valid account, family, revision and try again.")})
				continue
			case wire.Value(old.Def.Status) == "ACTIVE":
				out.Failures = append(out.Failures, ecsapi.Failure{Arn: &old.ARN, Reason: wire.String("The specified task definition is still in ACTIVE status. Please deregister the target and try again.")})
				continue
			}
			td := *old
			td.Def.Status, td.Def.DeleteRequestedAt = wire.String("DELETE_IN_PROGRESS"), wire.Timestamp(a.Clock.Now())
			a.State.TaskDefinitions.Put(tx, state.TaskDefinitionKey(td.Family, td.Revision), &td)
			out.TaskDefinitions = append(out.TaskDefinitions, td.Def)
		}
		return out, nil
	})
}

func (a *API) listTaskDefinitions(_ context.Context, in *ecsapi.ListTaskDefinitionsInput) (*ecsapi.ListTaskDefinitionsOutput, error) {
	status := wire.Value(or(in.Status, "ACTIVE"))
	return view(a, func(tx *state.Tx) (*ecsapi.ListTaskDefinitionsOutput, error) {
		prefix := ""
		if in.FamilyPrefix != nil && *in.FamilyPrefix != "" {
			prefix = *in.FamilyPrefix + ":" // the whole family name, despite its name
		}
		var keys []string
		for key, td := range a.State.TaskDefinitions.Prefix(tx, prefix) {
			if wire.Value(td.Def.Status) == status {
				keys = append(keys, key)
			}
		}
		part, next, err := pageOrdered(keys, in.NextToken, in.MaxResults, 100, wire.Value(in.Sort) == "DESC")
		arns := []string{}
		for _, k := range part {
			td, _ := a.State.TaskDefinitions.Get(tx, k)
			arns = append(arns, td.ARN)
		}
		return &ecsapi.ListTaskDefinitionsOutput{TaskDefinitionArns: arns, NextToken: next}, err
	})
}

func (a *API) listTaskDefinitionFamilies(_ context.Context, in *ecsapi.ListTaskDefinitionFamiliesInput) (*ecsapi.ListTaskDefinitionFamiliesOutput, error) {
	status := wire.Value(or(in.Status, "ALL"))
	return view(a, func(tx *state.Tx) (*ecsapi.ListTaskDefinitionFamiliesOutput, error) {
		active, known := map[string]bool{}, map[string]bool{}
		for _, td := range a.State.TaskDefinitions.Prefix(tx, wire.Value(in.FamilyPrefix)) {
			if wire.Value(td.Def.Status) != "DELETE_IN_PROGRESS" {
				known[td.Family] = true
				active[td.Family] = active[td.Family] || wire.Value(td.Def.Status) == "ACTIVE"
			}
		}
		var families []string
		for f := range known {
			if status == "ALL" || (status == "ACTIVE") == active[f] {
				families = append(families, f)
			}
		}
		slices.Sort(families)
		part, next, err := page(families, in.NextToken, in.MaxResults, 100)
		return &ecsapi.ListTaskDefinitionFamiliesOutput{Families: part, NextToken: next}, err
	})
}
