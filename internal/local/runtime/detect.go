package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Options are what the runtimes need.
type Options struct {
	// Dir is for unpacked images and the tasks' files; it is created if needed.
	Dir string
	// Owner marks what belongs to this local AWS, so that a later one can remove what a killed one
	// left.
	Owner string
	Log   *slog.Logger
	// Credentials gives the user and password of a registry (host:port); empty ones mean none. Nil: no
	// registry has any.
	Credentials func(registry string) (user, password string)
}

// Login is Credentials for the registry of an image.
func (o Options) Login(ref string) (user, password string) {
	host, _, ok := strings.Cut(ref, "/")
	if !ok || o.Credentials == nil {
		return "", ""
	}
	return o.Credentials(host)
}

// Kind opens one kind of runtime; it fails with the reason if it does not work on this machine.
type Kind struct {
	Name string
	Open func(ctx context.Context, o Options) (Runtime, error)
}

// Detect opens the runtime of the given name among kinds, or with "auto" the first that works.
func Detect(ctx context.Context, choice string, o Options, kinds ...Kind) (Runtime, error) {
	var why string
	for _, k := range kinds {
		if choice != k.Name && (choice != "auto" || k.Name == "virtual") {
			continue
		}
		r, err := k.Open(ctx, o)
		if err == nil {
			return r, nil
		}
		if choice != "auto" {
			return nil, fmt.Errorf("the %s runtime does not work here: %w", k.Name, err)
		}
		if why != "" {
			why += "; "
		}
		why += k.Name + ": " + err.Error()
	}
	if why == "" {
		return nil, fmt.Errorf("there is no runtime %q; choose auto, docker, sandbox or virtual", choice)
	}
	return nil, fmt.Errorf("nothing here runs containers: start Docker or Podman, or allow unprivileged user namespaces on Linux (%s)", why)
}
