package attribute

import (
	"reflect"
	"testing"
)

func TestTableIsComplete(t *testing.T) {
	seen := map[string]bool{}
	Each(func(path string, typ reflect.Type) {
		seen[path] = true
		info, ok := table[path]
		if !ok || info.Description == "" {
			t.Errorf("%s has no description", path)
		}
		if info.Default != nil {
			if d := reflect.TypeOf(info.Default); d != typ && !(d.Kind() == reflect.String && typ.Kind() == reflect.String) {
				t.Errorf("%s is a %s, its default a %s", path, typ, d)
			}
			if info.Required {
				t.Errorf("%s is required and has a default", path)
			}
		}
	})
	for path := range table {
		if !seen[path] {
			t.Errorf("%s is in the table but not in service.Spec", path)
		}
	}
	if len(seen) < 100 {
		t.Errorf("only %d attributes", len(seen))
	}
}

func TestName(t *testing.T) {
	type fields struct{ CPU, AssignPublicIP, EnvFiles, SizeGiB, ARN, ReadOnlyRoot, EFS int }
	typ := reflect.TypeFor[fields]()
	for i, want := range []string{"cpu", "assign_public_ip", "env_files", "size_gib", "arn", "read_only_root", "efs"} {
		if got := Name(typ.Field(i)); got != want {
			t.Errorf("%s is called %q", typ.Field(i).Name, got)
		}
	}
}
