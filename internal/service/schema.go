package service

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/invopop/jsonschema"
)

// Schema is the JSON Schema of slipway.yaml, made from the structs that read it.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{
		FieldNameTag:               "yaml",
		RequiredFromJSONSchemaTags: true,
		ExpandedStruct:             true,
		Namer:                      func(t reflect.Type) string { return strings.TrimSuffix(t.Name(), "Config") },
	}
	s := r.ReflectFromType(reflect.TypeFor[fileConfig]())
	s.ID = "https://slipway-ecs.github.io/schema/slipway.json"
	s.Title = "slipway.yaml"
	s.Description = "One service: how it is built, run, reached and deployed"
	types := map[string]reflect.Type{}
	collect(reflect.TypeFor[fileConfig](), types)
	for name, def := range s.Definitions {
		t, ok := types[name]
		if !ok || t.Kind() != reflect.Struct {
			continue
		}
		if key := shortField(t); key != "" {
			long := *def
			bare, _ := def.Properties.Get(key)
			s.Definitions[name] = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{bare, &long}}
		}
		if name == "settings" {
			def.Required = nil // an environment says only what it has different
		}
	}
	out, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the JSON Schema: %w", err)
	}
	return append(out, '\n'), nil
}

func collect(t reflect.Type, into map[string]reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	name := strings.TrimSuffix(t.Name(), "Config")
	if _, seen := into[name]; seen {
		return
	}
	into[name] = t
	for i := range t.NumField() {
		collect(t.Field(i).Type, into)
	}
}
