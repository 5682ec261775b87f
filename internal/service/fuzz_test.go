package service

import "testing"

// FuzzParse: no file makes Parse panic, loop or answer nothing.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"testdata/good/everything.yaml", "testdata/good/kinds.yaml", "testdata/bad/keys.yaml", "testdata/bad/yaml.yaml"} {
		f.Add(read(f, path))
	}
	f.Add([]byte("service: &a [*a, {<<: *a}]\n"))
	f.Add([]byte("? [a]\n: b\n"))
	f.Add([]byte("{service: a, ? b}\n--- 1\n...\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, faults := Parse("slipway.yaml", data)
		if (file == nil) != (len(faults) > 0) {
			t.Fatalf("file %v with faults %v", file != nil, faults)
		}
		for _, d := range faults {
			if d.Line < 1 || d.Column < 1 {
				t.Fatalf("%v", d)
			}
		}
	})
}
