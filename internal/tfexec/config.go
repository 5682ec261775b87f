package tfexec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// The addresses under which Terraform and OpenTofu look for "slipway/slipway".
var providerAddresses = []string{"registry.terraform.io/slipway/slipway", "registry.opentofu.org/slipway/slipway"}

// InstallProvider puts a binary as the provider into a filesystem mirror. It is copied, not linked: a
// binary built by `go run` is gone afterwards, and one that is being replaced must not change under a
// running Terraform.
func InstallProvider(mirror, version, binary string) error {
	version = strings.TrimPrefix(version, "v")
	platform := runtime.GOOS + "_" + runtime.GOARCH
	name := "terraform-provider-slipway_v" + version + exeSuffix()
	first := ""
	for _, address := range providerAddresses {
		dir := filepath.Join(mirror, filepath.FromSlash(address), version, platform)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("installing the provider: %w", err)
		}
		to := filepath.Join(dir, name)
		var err error
		if first == "" {
			first, err = to, replace(binary, to)
		} else if same, _ := equal(first, to); !same {
			err = link(first, to)
		}
		if err != nil {
			return fmt.Errorf("installing the provider: %w", err)
		}
	}
	return nil
}

// link gives a program a second name, or copies it where the file system cannot.
func link(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	return replace(from, to)
}

// replace copies a program, seen by others whole or not at all. The same content is left alone.
func replace(from, to string) error {
	if same, err := equal(from, to); err == nil && same {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.CreateTemp(filepath.Dir(to), ".new-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(out.Name()) }()
	if _, err := io.Copy(out, in); err != nil {
		_ = out.Close()
		return err
	}
	if err := out.Chmod(0o755); err != nil {
		_ = out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(out.Name(), to)
}

func equal(a, b string) (bool, error) {
	fa, err := os.Open(a)
	if err != nil {
		return false, err
	}
	defer func() { _ = fa.Close() }()
	fb, err := os.Open(b)
	if err != nil {
		return false, err
	}
	defer func() { _ = fb.Close() }()
	sa, err := fa.Stat()
	if err != nil {
		return false, err
	}
	sb, err := fb.Stat()
	if err != nil || sa.Size() != sb.Size() || sb.Mode()&0o111 == 0 {
		return false, err
	}
	if os.SameFile(sa, sb) {
		return true, nil
	}
	ba, bb := make([]byte, 1<<18), make([]byte, 1<<18)
	for {
		na, errA := io.ReadFull(fa, ba)
		nb, errB := io.ReadFull(fb, bb)
		if !bytes.Equal(ba[:na], bb[:nb]) {
			return false, nil
		}
		if errA == io.EOF || errA == io.ErrUnexpectedEOF {
			return errB == errA, nil
		}
		if errA != nil || errB != nil {
			return false, errA
		}
	}
}

// WriteConfig writes a CLI configuration by which our provider comes from the mirror and nothing else does.
func WriteConfig(path, mirror string) error {
	abs, err := filepath.Abs(mirror)
	if err != nil {
		return fmt.Errorf("writing Terraform's configuration: %w", err)
	}
	var ours []string
	for _, a := range providerAddresses {
		ours = append(ours, strconv.Quote(a))
	}
	list := strings.Join(ours, ", ")
	text := fmt.Sprintf(`# Written by slipway for the Terraform it starts. Your own configuration is not used and not changed.
disable_checkpoint = true

provider_installation {
  filesystem_mirror {
    path    = %q
    include = [%s]
  }
  direct {
    exclude = [%s]
  }
}
`, abs, list, list)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing Terraform's configuration: %w", err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing Terraform's configuration: %w", err)
	}
	return nil
}
