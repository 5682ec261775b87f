package service

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestGood(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, faults := Parse("slipway.yaml", read(t, path))
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			var out strings.Builder
			show := func(v any) {
				data, err := json.MarshalIndent(v, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&out, "%s\n", data)
			}
			show(f)
			for _, env := range f.Environments() {
				s, faults := f.Spec(env)
				target, _ := f.Target(env)
				if len(faults) > 0 {
					t.Fatal(faults)
				}
				show(map[string]any{"spec": s, "target": target})
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".golden", []byte(out.String()))
		})
	}
}

func TestBad(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) == 0 {
		t.Fatal("no files")
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			f, faults := Parse("slipway.yaml", read(t, path))
			if f != nil || len(faults) == 0 {
				t.Fatal("accepted")
			}
			golden(t, strings.TrimSuffix(path, ".yaml")+".golden", []byte(faults.String()+"\n"))
		})
	}
}

func TestSecretsAreNotRepeated(t *testing.T) {
	_, faults := Parse("slipway.yaml", []byte("service: a\ncluster: b\ncontainer: { secrets: { PASSWORD: canary-8231 } }\n"))
	if len(faults) != 1 || strings.Contains(faults.String(), "canary-8231") {
		t.Errorf("%v", faults)
	}
}

func TestUnknownEnvironment(t *testing.T) {
	f, _ := Parse("slipway.yaml", read(t, "testdata/good/iplookup.yaml"))
	if _, faults := f.Spec("prodd"); !strings.Contains(faults.String(), `did you mean "prod"?`) {
		t.Errorf("%v", faults)
	}
}

func TestSchema(t *testing.T) {
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/schema.json", data)
	var s struct {
		Properties map[string]any            `json:"properties"`
		Defs       map[string]map[string]any `json:"$defs"`
		Required   []string                  `json:"required"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOf(reflect.TypeFor[fileConfig]()) {
		if s.Properties[key] == nil {
			t.Errorf("the schema lacks %q", key)
		}
	}
	if !slices.Equal(s.Required, []string{"service"}) {
		t.Errorf("required: %v", s.Required)
	}
	if s.Defs["network"]["anyOf"] == nil {
		t.Error("the schema does not know the short form of network")
	}
}

// What slipway takes, an editor that knows the schema takes, and it marks the same faults of form.
func TestSchemaAgrees(t *testing.T) {
	data, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("slipway.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("slipway.json")
	if err != nil {
		t.Fatal(err)
	}
	good, _ := filepath.Glob("testdata/good/*.yaml")
	examples, _ := filepath.Glob("../../examples/*/slipway.yaml")
	nested, _ := filepath.Glob("../../examples/*/*/slipway.yaml")
	if len(examples) == 0 || len(nested) == 0 {
		t.Error("no examples")
	}
	for _, path := range slices.Concat(good, examples, nested) {
		var v any
		if err := yaml.Unmarshal(read(t, path), &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(jsonForm(v)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if _, faults := Parse(path, read(t, path)); len(faults) > 0 {
			t.Error(faults)
		}
	}
	for _, text := range []string{
		"service: a\ncluser: b\n", "service: A\n", "cluster: b\n", "service: a\nkind: deamon\n", "service: a\ncount: -1\n",
		"service: a\ncontainer: { prt: 1 }\n", "service: a\nroute: { health: { healthy: 1 } }\n", "service: a\nlogs: { retention: 31 }\n",
	} {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if schema.Validate(jsonForm(v)) == nil {
			t.Errorf("the schema takes %q", text)
		}
		if _, faults := Parse("slipway.yaml", []byte(text)); len(faults) == 0 {
			t.Errorf("slipway takes %q", text)
		}
	}
}

// jsonForm makes numbers and mappings what JSON has.
func jsonForm(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		panic(err)
	}
	return out
}

// The table of the page is the file the facts came with.
func TestFargateSizes(t *testing.T) {
	for _, s := range fargateSizes {
		for _, m := range s.memory {
			if err := checkFargate(s.cpu, m); err != nil {
				t.Error(err)
			}
		}
	}
	n := 0
	for _, s := range fargateSizes {
		n += len(s.memory)
	}
	if n != 3+4+7+13+23+12+12+3 {
		t.Errorf("%d sizes", n)
	}
	for _, tc := range []struct{ cpu, memory, wantCPU, wantMemory int }{
		{0, 0, 256, 512}, {200, 600, 256, 1024}, {256, 2049, 512, 3072}, {3000, 1, 4096, 8192}, {1, 249856, 32768, 249856},
	} {
		if c, m, ok := FargateFit(tc.cpu, tc.memory); !ok || c != tc.wantCPU || m != tc.wantMemory {
			t.Errorf("FargateFit(%d, %d) = %d, %d, %v", tc.cpu, tc.memory, c, m, ok)
		}
	}
	if _, _, ok := FargateFit(1, 300000); ok {
		t.Error("300000 MiB fit")
	}
}

func TestDiff(t *testing.T) {
	f, _ := Parse("slipway.yaml", read(t, "testdata/good/everything.yaml"))
	a, _ := f.Spec("staging")
	b, _ := f.Spec("prod")
	if d := Diff(a, a); len(d) != 0 {
		t.Errorf("with itself: %v", d)
	}
	b.Containers = append(slices.Clone(b.Containers), Container{Name: "new", Image: "x", StopTimeout: time.Minute})
	b.Discovery = nil
	var out strings.Builder
	for _, c := range Diff(a, b) {
		fmt.Fprintln(&out, c)
	}
	golden(t, "testdata/diff.golden", []byte(out.String()))
}

func TestDistance(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "abc", 3}, {"port", "prot", 1}, {"team", "temas", 2}, {"kitten", "sitting", 3}, {"same", "same", 0}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("distance(%q, %q) = %d", tc.a, tc.b, got)
		}
	}
}

// Whatever is in the file, Parse answers: with a File or with faults that have a place in it.
func TestParseAlwaysAnswers(t *testing.T) {
	base := string(read(t, "testdata/good/everything.yaml"))
	lines := strings.Split(base, "\n")
	rapid.Check(t, func(t *rapid.T) {
		broken := slices.Clone(lines)
		for range rapid.IntRange(1, 4).Draw(t, "edits") {
			i := rapid.IntRange(0, len(broken)-1).Draw(t, "line")
			switch rapid.IntRange(0, 3).Draw(t, "edit") {
			case 0:
				broken = slices.Delete(broken, i, i+1)
			case 1:
				broken[i] = strings.Repeat(" ", rapid.IntRange(0, 6).Draw(t, "indent")) + strings.TrimSpace(broken[i])
			case 2:
				from := rapid.IntRange(0, len(broken[i])).Draw(t, "from")
				broken[i] = broken[i][:from] + rapid.SampledFrom([]string{"null", "[]", "{}", "-1", ": ", "x", "\"", "&a", "*a", "1e9", "}"}).Draw(t, "text")
			case 3:
				broken = slices.Insert(broken, i, broken[rapid.IntRange(0, len(broken)-1).Draw(t, "copied")])
			}
			if len(broken) == 0 {
				return
			}
		}
		f, faults := Parse("slipway.yaml", []byte(strings.Join(broken, "\n")))
		if (f == nil) != (len(faults) > 0) {
			t.Fatalf("file %v with faults %v", f != nil, faults)
		}
		for _, d := range faults {
			if d.Line < 1 || d.Column < 1 || d.Line > len(broken)+1 || d.Message == "" {
				t.Fatalf("%v", d)
			}
		}
	})
}
