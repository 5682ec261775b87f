package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runCapacity runs 'capacity plan' with files of the given texts, named by flag.
func runCapacity(t *testing.T, files map[string]string, args ...string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	all := []string{"plan"}
	for name, text := range files {
		path := filepath.Join(dir, name+".csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all = append(all, "--"+name, path)
	}
	cmd := newCapacityCommand()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(append(all, args...))
	err := cmd.Execute()
	return out.String(), err
}

func TestCapacityPlanJSON(t *testing.T) {
	out, err := runCapacity(t, map[string]string{
		"tasks": "name,cpu_milli,memory_mib,service,count,gpu\nweb,500,1024,web,40,\nbig,1000000,1024,big,1,0\ngpu,1000,1024,ml,2,1\n",
	}, "--families", "m,c,r", "--max-vcpu", "16", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want := []string{"cost_per_hour", "elapsed_ms", "instances", "lower_bound_per_hour", "nodes", "ratio", "tasks", "unplaced"}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		t.Errorf("keys %v, want %v", keys, want)
	}
	if got["tasks"] != 40.0 {
		t.Errorf("%v tasks placed, want 40", got["tasks"])
	}
	nodes := 0.0
	for _, i := range got["instances"].([]any) {
		nodes += i.(map[string]any)["count"].(float64)
	}
	if nodes != got["nodes"] || nodes == 0 {
		t.Errorf("%v nodes, instances count %v", got["nodes"], nodes)
	}
	unplaced := got["unplaced"].([]any)
	if len(unplaced) != 2 {
		t.Fatalf("unplaced %v", unplaced)
	}
	for i, reason := range []string{"needs 1024000 CPU units; the largest type on offer has 16384", "needs 1 GPUs; the most any type on offer has is 0"} {
		if r := unplaced[i].(map[string]any)["reason"]; r != reason {
			t.Errorf("reason %q, want %q", r, reason)
		}
	}
}

func TestCapacityPlanUsesWhatExists(t *testing.T) {
	out, err := runCapacity(t, map[string]string{
		"tasks":    "name,cpu_milli,memory_mib,count\nweb,500,1024,4\n",
		"existing": "id,type,zone,cpu_used_milli,memory_used_mib\ni-1,m5.xlarge,us-east-1a,1000,1024\n",
	}, "--json")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, `"nodes": 0`) || !strings.Contains(out, `"tasks": 4`) || !strings.Contains(out, `"cost_per_hour": 0`) {
		t.Errorf("plan buys instances though there is room:\n%s", out)
	}
}

func TestCapacityPlanBadInput(t *testing.T) {
	good := "name,cpu_milli,memory_mib\nweb,500,1024\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		args  []string
		want  string
	}{
		{"no tasks", nil, nil, "--tasks is required"},
		{"no file", nil, []string{"--tasks", "/does/not/exist"}, "no such file"},
		{"empty", map[string]string{"tasks": ""}, nil, "tasks.csv:1:1: the file is empty"},
		{"column", map[string]string{"tasks": "name,cpu_milli\n"}, nil, `tasks.csv:1:1: column "memory_mib" is missing`},
		{"unknown column", map[string]string{"tasks": "name,cpu_milli,memory_mib,cuont\n"}, nil, `tasks.csv:1:27: unknown column "cuont"`},
		{"number", map[string]string{"tasks": "name,cpu_milli,memory_mib\nweb,x,1024\n"}, nil, `tasks.csv:2:5: cpu_milli: "x" is not a whole number`},
		{"negative", map[string]string{"tasks": "name,cpu_milli,memory_mib\nweb,500,-1\n"}, nil, "tasks.csv:2:9: memory_mib: -1 is out of range"},
		{"missing value", map[string]string{"tasks": "name,cpu_milli,memory_mib\nweb,,1\n"}, nil, `tasks.csv:2:5: cpu_milli: "" is not`},
		{"fields", map[string]string{"tasks": good + "web,500\n"}, nil, "tasks.csv:3:1: 2 fields, the header has 3"},
		{"types", map[string]string{"tasks": good, "types": "type,vcpu,memory_mib,price\nx,1,y,1\n"}, nil, "types.csv:2:5: memory_mib"},
		{"existing", map[string]string{"tasks": good, "existing": "id,type,zone\ni-1,m5.huge,a\n"}, nil, `existing.csv:2:5: type: "m5.huge" is not a known instance type`},
		{"family", map[string]string{"tasks": good}, []string{"--families", "m,q"}, `no type of family "q"`},
		{"arch", map[string]string{"tasks": good}, []string{"--arch", "x86"}, `--arch "x86"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := runCapacity(t, c.files, c.args...)
			if err == nil || exitCode(err) != ExitBadInput || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v (exit code %d), want %q and %d", err, exitCode(err), c.want, ExitBadInput)
			}
		})
	}
}
