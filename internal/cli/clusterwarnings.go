package cli

import (
	"time"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/service"
)

// tellWarnings shows where services' scaling and the cluster's capacity fight.
func tellWarnings(p *printer, ws []autoscale.Warning) {
	for _, w := range ws {
		p.Data("warning", p.paint(bold, "warning")+" "+w.Says+"\n     "+w.Do, warningJSON(w))
	}
}

func warningJSON(w autoscale.Warning) map[string]any {
	return map[string]any{"warning": w.Kind, "about": w.About, "says": w.Says, "do": w.Do}
}

// warnOffline shows what the definition alone tells of how its services will scale.
func warnOffline(p *printer, file *service.File) {
	said := map[string]bool{}
	for _, env := range file.Environments() {
		spec, faults := file.Spec(env)
		if len(faults) > 0 {
			continue // told already
		}
		v := awscloud.Planned(deploy.ServiceName(spec), &spec)
		if v == nil {
			continue
		}
		for _, w := range autoscale.Frictions(&autoscale.State{}, &autoscale.Scaling{Services: []autoscale.Scaled{*v}}, time.Time{}, autoscale.Defaults()) {
			if !said[w.Says] {
				said[w.Says] = true
				tellWarnings(p, []autoscale.Warning{w})
			}
		}
	}
}
