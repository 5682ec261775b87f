package localtest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestOnlyTestsImportThis keeps the helper out of the binary.
func TestOnlyTestsImportThis(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, top := range []string{"internal", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			n++
			text, err := os.ReadFile(path)
			if err == nil && strings.Contains(string(text), `"github.com/slipway-ecs/slipway/internal/local/localtest"`) {
				t.Errorf("%s imports the test helper", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 50 {
		t.Fatalf("only %d files found: the walk is wrong", n)
	}
}
