package cli

import (
	"context"
	"strings"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/secrets"
	"github.com/slipway-ecs/slipway/internal/secretsource"
	"github.com/slipway-ecs/slipway/internal/service"
)

// otherStores are those whose secrets are copied.
var otherStores = map[string]secrets.Source{
	"vault": func(ctx context.Context, name string) (value, version string, err error) {
		path, key, _ := strings.Cut(name, "#")
		s, err := secretsource.Vault(ctx, path, key)
		return s.Value, s.Version, err
	},
	"exec": func(ctx context.Context, name string) (value, version string, err error) {
		words := strings.Fields(name)
		s, err := secretsource.Exec(ctx, words[0], words[1:]...)
		return s.Value, s.Version, err
	},
}

func (pr *project) resolveSecrets(ctx context.Context, spec service.Spec) (service.Spec, []secrets.Copy, error) {
	cloud, err := pr.cloudOf(spec.Environment)
	if err != nil {
		return spec, nil, err
	}
	return secrets.Resolve(ctx, spec, deploy.ServiceName(spec), cloud, otherStores)
}

// keepSecrets writes the copies that an apply needs.
func (pr *project) keepSecrets(ctx context.Context, env string, copies []secrets.Copy) error {
	if len(copies) == 0 {
		return nil
	}
	cloud, err := pr.cloudOf(env)
	if err != nil {
		return err
	}
	for _, c := range copies {
		if err := cloud.KeepSecret(ctx, c); err != nil {
			return err
		}
		pr.p.Line("secret %s: version %s", c.Name, c.Version)
	}
	return nil
}
