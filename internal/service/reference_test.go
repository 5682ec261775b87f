package service

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// The reference of slipway.yaml is made of the structs that read it.
func TestReference(t *testing.T) {
	var b strings.Builder
	b.WriteString("# slipway.yaml\n\n<!-- Generated: go test ./internal/service -run TestReference -update -->\n\n" +
		"One file a service. What stands at the top holds for every environment; under `environments`, each says what it has different.\n" +
		"Mappings are laid over each other key by key, everything else is replaced, and `null` brings the default back.\n\n" +
		"Durations are `30s`, `5m`, `1h`, `7d` or a number of seconds; memory is `512` (MiB), `512MB` or `1GB`; CPU is `256` (units, 1024 are one vCPU) or `0.25 vCPU`.\n" +
		"Where a key is marked *short*, a bare value in place of the mapping means that key: `network: awsvpc` is `network: { mode: awsvpc }`.\n\n" +
		"The smallest useful file:\n\n```yaml\n")
	b.Write(read(t, "testdata/good/iplookup.yaml"))
	b.WriteString("```\n\n`slipway schema` prints the JSON Schema, from which editors complete; `slipway check` reports every fault at its line and column.\n\n")
	b.WriteString("| key | | |\n|---|---|---|\n")
	writeKeys(&b, reflect.TypeFor[fileConfig](), "")
	golden(t, "../../docs/reference/slipway.yaml.md", []byte(b.String()))
}

func writeKeys(b *strings.Builder, typ reflect.Type, path string) {
	for _, f := range reflect.VisibleFields(typ) {
		key := f.Tag.Get("yaml")
		if f.Anonymous || key == "" {
			continue
		}
		at, inner, kind := join(path, key), f.Type, formOf(f.Type)
		if enum := tagValues(f.Tag.Get("jsonschema"), "enum"); len(enum) > 0 && len(enum) < 12 && f.Type.Kind() == reflect.String {
			kind = strings.Join(enum, ", ")
		}
		text := f.Tag.Get("jsonschema_description")
		if hasFlag(f.Tag.Get("jsonschema"), "required") {
			text = "**required.** " + text
		}
		if f.Tag.Get("short") == "true" {
			text += " *short*"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", at, kind, strings.ReplaceAll(text, "|", `\|`))
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Map || inner.Kind() == reflect.Slice {
			if inner.Kind() == reflect.Map {
				at += ".NAME"
			}
			inner = inner.Elem()
		}
		switch {
		case key == "environments", inner.Kind() != reflect.Struct:
		case key == "sidecars":
			fmt.Fprintf(b, "| `sidecars.NAME.…` | | As under `container`. |\n")
		default:
			writeKeys(b, inner, at)
		}
	}
}

func formOf(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[duration]():
		return "duration"
	case reflect.TypeFor[mib]():
		return "memory"
	case reflect.TypeFor[cpuUnits]():
		return "CPU"
	case reflect.TypeFor[oneOrMore]():
		return "text or list"
	case reflect.TypeFor[command]():
		return "list, or a line for the shell"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		return "list"
	}
	return "mapping"
}
