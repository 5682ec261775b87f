package secrets

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/slipway-ecs/slipway/internal/service"
)

type versions map[string]string

func (v versions) SecretVersion(_ context.Context, from string) (string, error) { return v[from], nil }

func TestResolve(t *testing.T) {
	asked, version := 0, "7"
	sources := map[string]Source{"vault": func(_ context.Context, name string) (string, string, error) {
		asked++
		if name != "secret/db#password" {
			return "", "", errors.New("not there")
		}
		return "s3cr3t", version, nil
	}}
	spec := service.Spec{Name: "shop", Environment: "qa", Cluster: "main", Containers: []service.Container{
		{Name: "shop", Secrets: map[string]string{"A": "ssm:/a", "B": "vault:secret/db#password", "C": "ssm:/none"}},
		{Name: "side", Secrets: map[string]string{"B": "vault:secret/db#password"}}, {Name: "plain"}},
		Logs: service.Logs{Secrets: map[string]string{"pass": "vault:secret/db#password"}}}
	got, copies, err := Resolve(t.Context(), spec, "shop-qa", versions{"ssm:/a": "3"}, sources)
	if err != nil || asked != 1 || len(copies) != 3 {
		t.Fatalf("asked %d times, %d copies, %v", asked, len(copies), err)
	}
	c := copies[0]
	if c.Name != "slipway/main/shop-qa/shop.B" || c.Value != "s3cr3t" || len(c.Version) != 36 || strings.Contains(c.Version, "s3cr3t") || copies[2].Name != "slipway/main/shop-qa/logs.pass" {
		t.Errorf("copies %+v", copies)
	}
	if want := map[string]string{"A": "ssm:/a", "B": "secretsmanager:" + c.Name + ":::" + c.Version, "C": "ssm:/none"}; !maps.Equal(got.Containers[0].Secrets, want) {
		t.Errorf("secrets %v, want %v", got.Containers[0].Secrets, want)
	}
	if want := map[string]string{"A": "3", "B": "vault 7"}; !maps.Equal(got.Containers[0].SecretVersions, want) {
		t.Errorf("versions %v, want %v", got.Containers[0].SecretVersions, want)
	}
	if spec.Containers[0].Secrets["B"] != "vault:secret/db#password" || got.Containers[2].SecretVersions != nil {
		t.Error("the spec that was given is changed, or a container without secrets")
	}
	_, again, _ := Resolve(t.Context(), spec, "shop-qa", versions{}, sources)
	version = "8"
	_, changed, _ := Resolve(t.Context(), spec, "shop-qa", versions{}, sources)
	if again[0].Version != c.Version || changed[0].Version == c.Version {
		t.Errorf("versions %s, again %s, changed %s", c.Version, again[0].Version, changed[0].Version)
	}
	spec.Containers[0].Secrets["B"] = "vault:other"
	if _, _, err := Resolve(t.Context(), spec, "shop-qa", versions{}, sources); err == nil || err.Error() != "secret B of container shop: not there" {
		t.Errorf("error %v", err)
	}
}
