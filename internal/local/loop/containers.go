package loop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
	if spec.Env, err = d.env(ctx, c); err != nil {
		return spec, nil, &initError{err}
	}
	if spec.Mounts, err = d.mounts(c); err != nil {
		return spec, nil, &initError{err}
	}
	spec.Stdout, spec.Stderr = io.Discard, io.Discard
	w, err := d.logs(t, c)
	if err != nil {
		return spec, nil, &initError{err}
	}
	if w == nil {
		return spec, nil, nil
	}
	spec.Stdout, spec.Stderr = w, w
	return spec, []io.Closer{w}, nil
}

// env is a container's environment: what every container gets, the definition's and the overrides'
// variables, then the secrets. Later ones win.
func (d *driver) env(ctx context.Context, c *ecsapi.ContainerDefinition) ([]string, error) {
	if len(c.EnvironmentFiles) > 0 {
		return nil, errors.New("not supported: environmentFiles")
	}
	env := append([]string(nil), d.l.cfg.Env...)
	for _, kv := range c.Environment {
		env = append(env, wire.Value(kv.Name)+"="+wire.Value(kv.Value))
	}
	for _, s := range c.Secrets {
		if d.l.cfg.Secrets == nil {
			return nil, errors.New("unable to pull secrets or registry auth: there is no source of secrets")
		}
		v, err := d.l.cfg.Secrets.Secret(ctx, wire.Value(s.ValueFrom))
		if err != nil {
			return nil, fmt.Errorf("unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret %s: %w", wire.Value(s.ValueFrom), err)
		}
		env = append(env, wire.Value(s.Name)+"="+v)
	}
	return env, nil
}

// logs opens the stream of the awslogs driver; nil where output goes nowhere.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/specify-log-config.html
func (d *driver) logs(t *state.Task, c *ecsapi.ContainerDefinition) (io.WriteCloser, error) {
	l := c.LogConfiguration
	if l == nil || wire.Value(l.LogDriver) != "awslogs" || d.l.cfg.Logs == nil {
		return nil, nil
	}
	stream := wire.Value(c.Name) + "/" + t.ID
	if p := l.Options["awslogs-stream-prefix"]; p != "" {
		stream = p + "/" + stream
	}
	w, err := d.l.cfg.Logs.Writer(l.Options["awslogs-group"], stream, l.Options["awslogs-create-group"] == "true")
	if err != nil {
		return nil, fmt.Errorf("failed to validate logger args: %w", err)
	}
	return w, nil
}

func (d *driver) volumeDir() string {
	if d.l.cfg.VolumeDir == "" {
		return ""
	}
	return filepath.Join(d.l.cfg.VolumeDir, lastPart(d.arn))
}

// mounts are the volumes of a container. A volume without a host path is a folder shared by the
// task's containers, gone with the task.
func (d *driver) mounts(c *ecsapi.ContainerDefinition) ([]runtime.Mount, error) {
	var out []runtime.Mount
	for _, m := range c.MountPoints {
		name := wire.Value(m.SourceVolume)
		var v *ecsapi.Volume
		for k := range d.def.Volumes {
			if wire.Value(d.def.Volumes[k].Name) == name {
				v = &d.def.Volumes[k]
			}
		}
		switch {
		case v == nil:
			return nil, fmt.Errorf("volume %s is not defined", name)
		case v.EfsVolumeConfiguration != nil || v.FsxWindowsFileServerVolumeConfiguration != nil || v.S3filesVolumeConfiguration != nil || wire.Value(v.ConfiguredAtLaunch):
			return nil, fmt.Errorf("not supported: volume %s is neither a host path nor empty", name)
		}
		source := ""
		if v.Host != nil {
			source = wire.Value(v.Host.SourcePath)
		}
		if source == "" {
			dir := d.volumeDir()
			if dir == "" {
				return nil, fmt.Errorf("not supported: volume %s, as there is no place for volumes", name)
			}
			source = filepath.Join(dir, name)
			if err := os.MkdirAll(source, 0o777); err != nil {
				return nil, fmt.Errorf("creating volume %s: %w", name, err)
			}
		}
		out = append(out, runtime.Mount{Source: source, Target: wire.Value(m.ContainerPath), ReadOnly: wire.Value(m.ReadOnly)})
	}
	if lp := c.LinuxParameters; lp != nil {
		for _, f := range lp.Tmpfs {
			out = append(out, runtime.Mount{Target: wire.Value(f.ContainerPath), Tmpfs: int(wire.Value(f.Size))})
		}
	}
	return out, nil
}
