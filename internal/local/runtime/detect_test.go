package runtime_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
)

type named struct {
	runtime.Runtime
	name string
}

func (n named) Name() string { return n.name }

func kind(name string, err error) runtime.Kind {
	return runtime.Kind{Name: name, Open: func(context.Context, runtime.Options) (runtime.Runtime, error) {
		if err != nil {
			return nil, err
		}
		return named{name: name}, nil
	}}
}

func TestDetect(t *testing.T) {
	no := errors.New("no rights")
	for _, c := range []struct {
		choice          string
		docker, sandbox error
		want, wantErr   string
	}{
		{choice: "auto", want: "docker"},
		{choice: "auto", docker: no, want: "sandbox"},
		{choice: "auto", docker: no, sandbox: no, wantErr: "start Docker or Podman, or allow unprivileged user namespaces"},
		{choice: "sandbox", want: "sandbox"},
		{choice: "virtual", docker: no, sandbox: no, want: "virtual"},
		{choice: "docker", docker: no, wantErr: "the docker runtime does not work here: no rights"},
		{choice: "podman", wantErr: "choose auto, docker, sandbox or virtual"},
	} {
		rt, err := runtime.Detect(t.Context(), c.choice, runtime.Options{}, kind("docker", c.docker), kind("sandbox", c.sandbox), kind("virtual", nil))
		switch {
		case c.wantErr != "":
			if err == nil || !strings.Contains(err.Error(), c.wantErr) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v, want %q", c.choice, err, c.wantErr)
			}
		case err != nil || rt.Name() != c.want:
			t.Errorf("%s: %v, %v; want %s", c.choice, rt, err, c.want)
		}
	}
}
