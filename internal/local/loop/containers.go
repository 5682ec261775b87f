package loop

import (
	"context"
	"io"
	"strconv"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// overridden is a container definition with what RunTask overrides.
func overridden(c ecsapi.ContainerDefinition, o *ecsapi.TaskOverride) ecsapi.ContainerDefinition {
	if o == nil {
		return c
	}
	for _, x := range o.ContainerOverrides {
		if wire.Value(x.Name) != wire.Value(c.Name) {
			continue
		}
		if x.Command != nil {
			c.Command = x.Command
		}
		if x.Cpu != nil {
			c.Cpu = x.Cpu
		}
		if x.Memory != nil {
			c.Memory = x.Memory
		}
		if x.MemoryReservation != nil {
			c.MemoryReservation = x.MemoryReservation
		}
		c.Environment = append(append([]ecsapi.KeyValuePair(nil), c.Environment...), x.Environment...)
		c.EnvironmentFiles = append(append([]ecsapi.EnvironmentFile(nil), c.EnvironmentFiles...), x.EnvironmentFiles...)
	}
	return c
}

// spec is a container as the runtime wants it. Close the logs when it has ended.
func (d *driver) spec(ctx context.Context, t *state.Task, c *ecsapi.ContainerDefinition) (runtime.ContainerSpec, []io.Closer, error) {
	spec := runtime.ContainerSpec{
		Name: wire.Value(c.Name), Image: wire.Value(c.Image), EntryPoint: c.EntryPoint, Command: c.Command,
		User: wire.Value(c.User), WorkingDir: wire.Value(c.WorkingDirectory), Hostname: wire.Value(c.Hostname),
		CPU: int(wire.Value(c.Cpu)), Memory: int(wire.Value(c.Memory)), ReadOnlyRoot: wire.Value(c.ReadonlyRootFilesystem),
		Init: c.LinuxParameters != nil && wire.Value(c.LinuxParameters.InitProcessEnabled),
	}
	if n, err := strconv.Atoi(wire.Value(d.def.Memory)); err == nil && spec.Memory == 0 {
		spec.Memory = n // without a limit of its own it is held by the task's
	}
	for _, u := range c.Ulimits {
		spec.Ulimits = append(spec.Ulimits, runtime.Ulimit{Name: wire.Value(u.Name), Soft: uint64(wire.Value(u.SoftLimit)), Hard: uint64(wire.Value(u.HardLimit))})
	}
	var err error
	if spec.Env, err = d.env(ctx, t, c); err != nil {
		return spec, nil, &initError{err}
	}
	if spec.Mounts, err = d.mounts(t, c); err != nil {
		return spec, nil, &initError{err}
	}
	spec.Stdout, spec.Stderr = io.Discard, io.Discard
	w, err := d.logs(ctx, t, c)
	if err != nil {
		return spec, nil, &initError{err}
	}
	if w == nil {
		return spec, nil, nil
	}
	spec.Stdout, spec.Stderr = w, w
	return spec, []io.Closer{w}, nil
}
