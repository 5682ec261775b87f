package deploy

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

func TestCloudMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := scripted()
		tg := target(good)
		tg.Spec.Discovery = &service.Discovery{Kind: "cloudmap", Namespace: "none.local", TTL: 10 * time.Second}
		var refused *RefusedError
		if _, err := w.engine().Apply(t.Context(), tg, nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), "no Cloud Map namespace none.local") {
			t.Errorf("a namespace that is not there: %v", err)
		}
		tg.Spec.Discovery.Namespace = "shop.local"
		apply := func() {
			t.Helper()
			w.calls = nil
			if _, err := w.engine().Apply(t.Context(), tg, nil); err != nil {
				t.Fatal(err)
			}
		}
		apply()
		first := w.registries[0]
		main := tg.Spec.Containers[0]
		if got := w.service.Registry; got == nil || *got != (ServiceRegistry{first.ARN, main.Name, main.Ports[0].Container}) || first.Record != "SRV" || first.Name != "app" {
			t.Errorf("registry %+v of service %+v", first, got)
		}
		if p, err := w.engine().Plan(t.Context(), tg); err != nil || !p.Empty() {
			t.Errorf("plan after apply: %+v, %v", p, err)
		}
		tg.Spec.Discovery.TTL = time.Minute
		if p, err := w.engine().Plan(t.Context(), tg); err != nil || p.Rollout {
			t.Errorf("a time to live replaces tasks: %+v, %v", p, err)
		}
		apply()
		if len(w.registries) != 1 || w.registries[0].TTL != time.Minute || w.registries[0].ARN != first.ARN {
			t.Errorf("registries %+v", w.registries)
		}
		tg.Spec.Discovery.Name = "other"
		apply()
		if len(w.registries) != 1 || w.registries[0].Name != "other" || w.service.Registry.ARN == first.ARN {
			t.Errorf("registries %+v", w.registries)
		}
		o, err := w.engine().Read(t.Context(), tg.Ref())
		if err != nil || *o.Spec.Discovery != (service.Discovery{Kind: "cloudmap", Namespace: "shop.local", Name: "other", Record: "SRV", TTL: time.Minute}) {
			t.Errorf("read %+v, %v", o.Spec.Discovery, err)
		}
		if err := w.engine().Delete(t.Context(), tg.Ref(), DeleteOptions{}, nil); err != nil || len(w.registries) != 0 {
			t.Errorf("delete: %v, left %+v", err, w.registries)
		}
	})
}

func TestServiceConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := scripted()
		tg := target(good)
		tg.Spec.Discovery = &service.Discovery{Kind: "connect", Namespace: "shop"}
		if _, err := w.engine().Apply(t.Context(), tg, nil); err != nil {
			t.Fatal(err)
		}
		port := tg.Spec.Containers[0].Ports[0].Container
		if c := w.service.Connect; c == nil || *c != (Connect{Namespace: "shop", PortName: "main", Name: "app", Port: port}) {
			t.Errorf("connect %+v", c)
		}
		if p, err := w.engine().Plan(t.Context(), tg); err != nil || !p.Empty() {
			t.Errorf("plan after apply: %+v, %v", p, err)
		}
		tg.Spec.Discovery = nil
		if p, err := w.engine().Plan(t.Context(), tg); err != nil || !p.Rollout {
			t.Errorf("without it: %+v, %v", p, err)
		}
		if _, err := w.engine().Apply(t.Context(), tg, nil); err != nil || w.service.Connect != nil {
			t.Errorf("without it: %v, %+v", err, w.service.Connect)
		}
	})
}
