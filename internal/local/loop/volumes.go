package loop

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// Folders in the folder of volumes that outlive tasks. Task ids are hexadecimal, so none is like them.
const (
	efsFolder    = "efs"    // a file system a folder
	ebsFolder    = "ebs"    // a volume a folder, until its task ends
	sharedFolder = "shared" // Docker volumes of the scope "shared"
)

func (d *driver) volumeDir() string {
	if d.l.cfg.VolumeDir == "" {
		return ""
	}
	return filepath.Join(d.l.cfg.VolumeDir, lastPart(d.arn))
}

// mounts are the volumes of a container, those it takes from others, and its tmpfs mounts.
func (d *driver) mounts(t *state.Task, c *ecsapi.ContainerDefinition) ([]runtime.Mount, error) {
	var out []runtime.Mount
	add := func(points []ecsapi.MountPoint, readOnly bool) error {
		for _, m := range points {
			source, err := d.source(t, wire.Value(m.SourceVolume))
			if err != nil {
				return err
			}
			out = append(out, runtime.Mount{Source: source, Target: wire.Value(m.ContainerPath), ReadOnly: readOnly || wire.Value(m.ReadOnly)})
		}
		return nil
	}
	if err := add(c.MountPoints, false); err != nil {
		return nil, err
	}
	for _, from := range c.VolumesFrom {
		u := d.unit(wire.Value(from.SourceContainer))
		if u == nil {
			return nil, fmt.Errorf("volumesFrom names the container %s, which is not there", wire.Value(from.SourceContainer))
		}
		if err := add(u.def.MountPoints, wire.Value(from.ReadOnly)); err != nil {
			return nil, err
		}
	}
	if lp := c.LinuxParameters; lp != nil {
		for _, f := range lp.Tmpfs {
			out = append(out, runtime.Mount{Target: wire.Value(f.ContainerPath), Tmpfs: int(wire.Value(f.Size)), ReadOnly: slices.Contains(f.MountOptions, "ro")})
		}
		if n := int(wire.Value(lp.SharedMemorySize)); n > 0 {
			out = append(out, runtime.Mount{Target: "/dev/shm", Tmpfs: n})
		}
	}
	return out, nil
}

// source is the folder of this machine behind a volume of the task.
func (d *driver) source(t *state.Task, name string) (string, error) {
	k := slices.IndexFunc(d.def.Volumes, func(v ecsapi.Volume) bool { return wire.Value(v.Name) == name })
	if k < 0 {
		return "", fmt.Errorf("volume %s is not defined", name)
	}
	v := &d.def.Volumes[k]
	if v.Host != nil && wire.Value(v.Host.SourcePath) != "" {
		return *v.Host.SourcePath, nil
	}
	own := d.volumeDir()
	if own == "" {
		return "", fmt.Errorf("not supported: volume %s, as there is no place for volumes", name)
	}
	all := d.l.cfg.VolumeDir
	switch {
	case v.EfsVolumeConfiguration != nil:
		e := v.EfsVolumeConfiguration
		dir, err := securejoin.SecureJoin(filepath.Join(all, efsFolder, plain(wire.Value(e.FileSystemId))), wire.Value(e.RootDirectory))
		if err != nil {
			return "", fmt.Errorf("volume %s: %w", name, err)
		}
		return folder(dir)
	case wire.Value(v.ConfiguredAtLaunch):
		i := slices.IndexFunc(t.Volumes, func(x state.Volume) bool { return x.Name == name })
		if i < 0 {
			return "", fmt.Errorf("volume %s is configured at launch, but nothing was", name)
		}
		return folder(filepath.Join(all, ebsFolder, t.Volumes[i].ID))
	case v.DockerVolumeConfiguration != nil:
		x := v.DockerVolumeConfiguration
		if drv := wire.Value(x.Driver); drv != "" && drv != "local" {
			return "", fmt.Errorf("not supported: volume %s with the driver %s", name, drv)
		}
		if wire.Value(x.Scope) != "shared" {
			return folder(filepath.Join(own, name))
		}
		dir := filepath.Join(all, sharedFolder, plain(name))
		if _, err := os.Stat(dir); err != nil && !wire.Value(x.Autoprovision) {
			return "", fmt.Errorf("CannotCreateVolumeError: the shared volume %s is not there, and autoprovision is off", name)
		}
		return folder(dir)
	case v.FsxWindowsFileServerVolumeConfiguration != nil, v.S3filesVolumeConfiguration != nil:
		return "", fmt.Errorf("not supported: volume %s on FSx or S3 Files", name)
	}
	return folder(filepath.Join(own, name))
}

// plain keeps a name from leaving its folder.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == '.' || r == filepath.Separator {
			return '_'
		}
		return r
	}, cmp.Or(name, "_"))
}

// folder makes a folder that the users of containers may write to.
func folder(dir string) (string, error) {
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("creating a volume: %w", err)
	}
	return dir, os.Chmod(dir, 0o777) // past the umask
}

// dropVolumes removes what the task's volumes hold, but for those that are to be kept.
func (d *driver) dropVolumes() error {
	dir := d.volumeDir()
	if dir == "" {
		return nil
	}
	err := os.RemoveAll(dir)
	if t := d.read(); t != nil {
		for _, v := range t.Volumes {
			if !v.Keep {
				err = errors.Join(err, os.RemoveAll(filepath.Join(d.l.cfg.VolumeDir, ebsFolder, v.ID)))
			}
		}
	}
	return err
}

// serviceVolumes are the EBS volumes for one task of a service: each task has its own, and they go
// with it.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ebs-volumes.html
func serviceVolumes(configurations []ecsapi.ServiceVolumeConfiguration) []state.Volume {
	var out []state.Volume
	for _, c := range configurations {
		if m := c.ManagedEBSVolume; m != nil {
			v := state.NewVolume("vol-"+hexID(17), uuid(), wire.Value(c.Name), m.SizeInGiB, m.VolumeType, m.FilesystemType, wire.Value(m.RoleArn))
			for _, s := range m.TagSpecifications {
				v.Tags = append(v.Tags, s.Tags...)
			}
			out = append(out, v)
		}
	}
	return out
}
