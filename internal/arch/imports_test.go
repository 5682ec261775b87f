// Package arch tests the shape of the program: which package may import which.
package arch

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/slipway-ecs/slipway/"

// The layers, from docs/design/overview.md. A package belongs to the longest entry that is its path
// or a folder above it.
var (
	pure = []string{
		"internal/service", "internal/image", "internal/image/lifecycle", "internal/listener", "internal/placement",
		"internal/capacity", "internal/scaling", "internal/rightsize", "internal/rollout", "internal/iampolicy", "internal/ci", "internal/ssmchannel",
	}
	engines = []string{
		"internal/deploy", "internal/clusterinfra", "internal/release", "internal/pipeline",
		"internal/secrets", "internal/drain", "internal/rotate", "internal/autoscale", "internal/simulate",
	}
	adapters = []string{
		"internal/awscloud", "internal/registry", "internal/build", "internal/tfexec", "internal/local", "internal/secretsource", "internal/notify", "internal/execclient",
	}
	fronts = []string{"internal/cli", "internal/provider", "internal/web", "cmd/slipway"}
	others = []string{"internal/arch", "internal/docs", "test"}

	// What pure packages may import beside the standard library: parsing and writing their own
	// formats is what internal/service exists for.
	pureMayImport = map[string][]string{
		"internal/service": {
			"github.com/goccy/go-yaml", "github.com/invopop/jsonschema", "github.com/hashicorp/hcl", "github.com/zclconf/go-cty",
			"github.com/agext/levenshtein",
		},
	}
	// Packages of the standard library that decide nothing: they act, or read the world.
	impure = []string{"context", "log", "log/slog", "net", "net/http", "os", "os/exec", "io/ioutil", "syscall", "math/rand"}
)

func layer(pkg string) (name string, rank int) {
	best, rank := "", -1
	for r, group := range [][]string{pure, engines, adapters, fronts, others} {
		for _, g := range group {
			if (pkg == g || strings.HasPrefix(pkg, g+"/")) && len(g) > len(best) {
				best, rank = g, r
			}
		}
	}
	return best, rank
}

type file struct {
	path, pkg string
	imports   []string
	test      bool
}

// files parses the imports of every Go file. It reads them itself: a test that asked the go command
// would be answered from the test cache and stay green.
func files(t *testing.T) []file {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	var out []file
	for _, top := range []string{"internal", "cmd", "test"} {
		if _, err := os.Stat(filepath.Join(root, top)); err != nil {
			continue
		}
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && d.Name() == "testdata" {
				return skipDir(err)
			}
			if d.IsDir() || !strings.HasSuffix(path, ".go") {
				return nil
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			f := file{path: rel, pkg: filepath.ToSlash(filepath.Dir(rel)), test: strings.HasSuffix(path, "_test.go")}
			for _, i := range parsed.Imports {
				p, _ := strconv.Unquote(i.Path.Value)
				f.imports = append(f.imports, p)
			}
			out = append(out, f)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(out) < 20 {
		t.Fatalf("only %d files found: the walk is wrong", len(out))
	}
	return out
}

func skipDir(err error) error {
	if err != nil {
		return err
	}
	return filepath.SkipDir
}

func TestEveryPackageHasALayer(t *testing.T) {
	for _, f := range files(t) {
		if _, rank := layer(f.pkg); rank < 0 {
			t.Errorf("%s: package %s is in no layer; add it to the table and to docs/design/overview.md", f.path, f.pkg)
		}
	}
}

func TestImportDirection(t *testing.T) {
	for _, f := range files(t) {
		if f.test {
			continue // tests may start the local AWS
		}
		from, rank := layer(f.pkg)
		for _, imp := range f.imports {
			own, isOwn := strings.CutPrefix(imp, module)
			if !isOwn {
				if rank == 0 && !pureImport(from, imp) {
					t.Errorf("%s: a pure package imports %s", f.path, imp)
				}
				continue
			}
			to, toRank := layer(own)
			switch {
			case to == from:
			case rank == 0 && toRank != 0, rank == 1 && toRank > 0, rank == 2 && toRank > 1:
				t.Errorf("%s: %s may not import %s", f.path, from, own)
			case rank == 2 && toRank == 2:
				t.Errorf("%s: adapters never import each other (%s)", f.path, own)
			case from == "internal/local" && toRank != 0:
				t.Errorf("%s: the local AWS imports only pure packages (%s)", f.path, own)
			}
		}
	}
}

func pureImport(pkg, imp string) bool {
	if !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
		return !slices.Contains(impure, imp)
	}
	return slices.ContainsFunc(pureMayImport[pkg], func(p string) bool { return strings.HasPrefix(imp, p) })
}

// The clock is an argument of everything that decides.
func TestNoClockInPureCodeAndEngines(t *testing.T) {
	for _, f := range files(t) {
		if _, rank := layer(f.pkg); f.test || rank > 1 {
			continue
		}
		data, err := os.ReadFile(filepath.Join("../..", f.path))
		if err != nil {
			t.Fatal(err)
		}
		for _, banned := range []string{"time.Now(", "time.Sleep(", "time.Since("} {
			if strings.Contains(string(data), banned) {
				t.Errorf("%s: uses %s…); pass the time in", f.path, banned)
			}
		}
	}
}
