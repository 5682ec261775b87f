package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/deploy"
	"github.com/slipway-ecs/slipway/internal/rightsize"
	"github.com/slipway-ecs/slipway/internal/service"
	"github.com/slipway-ecs/slipway/internal/service/amend"
)

// patchFile writes what its services should reserve into a slipway.yaml, in place, and shows what it changed.
// Nothing is written where a part cannot be.
func patchFile(p *printer, path, cluster string, all []sized) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return badInput("reading the definition: %v", err)
	}
	file, faults := service.Parse(path, data)
	if len(faults) > 0 {
		return exitWith(ExitBadInput, faults.Err())
	}
	out, found := data, 0
	for _, env := range file.Environments() {
		spec, faults := file.Spec(env)
		if len(faults) > 0 {
			return exitWith(ExitBadInput, faults.Err())
		}
		if spec.Cluster != cluster {
			continue
		}
		sizes := map[string]amend.Size{}
		for k := range all {
			s := &all[k]
			if s.service.Service != deploy.ServiceName(spec) {
				continue
			}
			found++
			if s.r.Action != rightsize.Change {
				p.Line("%s %s: %s: %s", env, s.container.Name, s.r.Action, strings.Join(s.r.Reasons, " "))
				continue
			}
			sizes[s.container.Name] = amend.Size{CPU: s.r.Target.CPU, Memory: s.r.Target.MemoryLimit, MemoryReservation: s.r.Target.Memory}
		}
		if len(sizes) == 0 {
			continue
		}
		if out, err = amend.Sizes(path, out, env, sizes); err != nil {
			return err
		}
	}
	if found == 0 {
		return badInput("none of the services of %s runs in cluster %s", path, cluster)
	}
	if string(out) == string(data) {
		p.Done("%s stays as it is", path)
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, out, info.Mode().Perm()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	for _, l := range changedLines(string(data), string(out)) {
		p.Data("patch", l, map[string]any{"file": path, "line": l})
	}
	p.Done("%s is changed; look at it and commit it: what is deployed next has the new reservations", path)
	return nil
}

// changedLines is the lines that differ, as a diff shows them: a longest common subsequence of two short files.
func changedLines(a, b string) (out []string) {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	common := make([][]int, len(x)+1)
	for k := range common {
		common[k] = make([]int, len(y)+1)
	}
	for i := range slices.Backward(x) {
		for j := range slices.Backward(y) {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			i, j = i+1, j+1
		case i < len(x) && (j == len(y) || common[i+1][j] >= common[i][j+1]):
			out = append(out, "-"+x[i])
			i++
		default:
			out = append(out, "+"+y[j])
			j++
		}
	}
	return out
}
