//go:build linux

package pipeline

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

const small = `service: NAME
build: { ko: . }
test: [go, vet, .]
cluster: main
container: { cpu: 16, memory: 16, stop_timeout: 2s }
deployment: { timeout: 2m }
promotion: { prod: { from: qa, approvals: 0 } }
environments: { qa: {}, prod: {} }
pipeline: { paths: [PATHS] }
`

const sleeper = `package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	fmt.Println("NAME, change N")
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}
`

// TestMonorepo: of 30 services 3 have changed, by their folder or by a path they name, and these are
// delivered, together.
func TestMonorepo(t *testing.T) {
	w := newWorld(t)
	a := &app{world: w, name: "mono", dir: filepath.Join(w.tmp, "mono")}
	if err := os.Mkdir(a.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a.write("go.mod", "module mono\n\ngo 1.24\n")
	service := func(n, change int) {
		name := fmt.Sprintf("svc-%02d", n)
		paths := ""
		if n == 20 {
			paths = "../../shared"
		}
		a.write("services/"+name+"/slipway.yaml", strings.NewReplacer("NAME", name, "PATHS", paths).Replace(small))
		a.write("services/"+name+"/main.go", strings.NewReplacer("NAME", name, "change N", fmt.Sprintf("change %d", change)).Replace(sleeper))
	}
	for n := 1; n <= 30; n++ {
		service(n, 1)
		w.repository(fmt.Sprintf("svc-%02d", n))
	}
	a.write("shared/settings.json", "{}\n")
	a.git("init", "-q", "-b", "main")
	base := a.commit()
	if out := a.runs(0, "pipeline", "run", "--changed-since", base); !strings.Contains(out, "0 of 30 services") {
		t.Errorf("without a change:\n%s", out)
	}
	service(7, 2)
	service(15, 2)
	a.write("shared/settings.json", "{\"new\": true}\n")
	a.write("README.md", "nobody's\n")
	a.commit()

	out := a.runs(0, "pipeline", "run", "--changed-since", base)
	want := []string{"svc-07", "svc-15", "svc-20"}
	if !strings.Contains(out, "3 of 30 services, changed since "+base+": svc-07, svc-15, svc-20\n") {
		t.Errorf("chosen:\n%s", out)
	}
	line := regexp.MustCompile(`^(svc-[0-9]+) \| (.*)$`)
	order := []string{}
	for l := range strings.Lines(out) {
		m := line.FindStringSubmatch(strings.TrimRight(l, "\n"))
		if m == nil {
			continue
		}
		if !slices.Contains(want, m[1]) {
			t.Errorf("a line of a service that has not changed: %s", l)
		}
		order = append(order, m[1])
	}
	for _, name := range want {
		if !strings.Contains(out, name+" | deploy-prod ✓ ") || !strings.Contains(out, "✓ "+name+"\n") {
			t.Errorf("%s is not shown as delivered", name)
		}
	}
	// Together: their lines are mixed.
	if blocks := slices.Compact(slices.Clone(order)); len(blocks) <= len(want) {
		t.Errorf("one after the other: %v", order)
	}
	t.Logf("said:\n%s", out)
	running := w.services()
	var expected []string
	for _, name := range want {
		expected = append(expected, name+"-prod", name+"-qa")
	}
	if !slices.Equal(running, expected) {
		t.Errorf("running: %v, want %v", running, expected)
	}
	for n := 1; n <= 30; n++ {
		name := fmt.Sprintf("svc-%02d", n)
		images := (&app{world: w, name: name}).images()
		if n := map[bool]int{true: 1, false: 0}[slices.Contains(want, name)]; len(images) != n {
			t.Errorf("%s has %d images, want %d", name, len(images), n)
		}
	}
	// For programs: one object a line, each with its service.
	for l := range strings.Lines(a.runs(0, "pipeline", "run", "--json", "--changed-since", base)) {
		var e struct {
			Event string
			Data  map[string]any
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Errorf("not JSON: %s", l)
		}
		if s, ok := e.Data["service"].(string); e.Event == "stage" && (!ok || !slices.Contains(want, s)) {
			t.Errorf("of which service? %s", l)
		}
	}
}

// services of the cluster that have running tasks.
func (w *world) services() []string {
	w.Helper()
	var out []string
	pages := ecs.NewListServicesPaginator(w.ecs, &ecs.ListServicesInput{Cluster: aws.String("main")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		if len(page.ServiceArns) == 0 {
			break
		}
		got, err := w.ecs.DescribeServices(w.Context(), &ecs.DescribeServicesInput{Cluster: aws.String("main"), Services: page.ServiceArns})
		if err != nil {
			w.Fatal(err)
		}
		for _, s := range got.Services {
			if s.RunningCount == s.DesiredCount && s.RunningCount > 0 {
				out = append(out, aws.ToString(s.ServiceName))
			}
		}
	}
	slices.Sort(out)
	return out
}
