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
		// What is required may be at the top and what is not in an environment, or the other way
		// round: only the two laid over each other show what is missing.
		def.Required = nil
		if key := shortField(t); key != "" {
			long := *def
			bare, _ := def.Properties.Get(key)
			forms := []*jsonschema.Schema{bare, &long}
			if key := tagged(t, "switch"); key != "" {
				onOff, _ := def.Properties.Get(key)
				forms = append(forms, onOff)
			}
			s.Definitions[name] = &jsonschema.Schema{AnyOf: forms}
		}
	}
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("writing the JSON Schema: %w", err)
	}
	var tree map[string]any
	if err := json.Unmarshal(data, &tree); err != nil {
		return nil, fmt.Errorf("writing the JSON Schema: %w", err)
	}
	loosen(tree)
	out, err := json.MarshalIndent(tree, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing the JSON Schema: %w", err)
	}
	return append(out, '\n'), nil
}

// loosen lets every value but the service's name be null, which brings the default back, and lets
// text in mappings be written as a number or true: "PORT: 8080" needs no quotes.
func loosen(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			loosen(e)
		}
	case map[string]any:
		for _, e := range v {
			loosen(e)
		}
		if properties, ok := v["properties"].(map[string]any); ok {
			for name, p := range properties {
				if name != "service" {
					properties[name] = nullable(p.(map[string]any))
				}
			}
		}
		if entries, ok := v["additionalProperties"].(map[string]any); ok {
			if entries["type"] == "string" && entries["enum"] == nil {
				entries["type"] = []any{"string", "number", "boolean"}
			}
			v["additionalProperties"] = nullable(entries)
		}
	}
}

func nullable(p map[string]any) map[string]any {
	null := map[string]any{"type": "null"}
	for _, key := range []string{"anyOf", "oneOf"} {
		if list, ok := p[key].([]any); ok {
			p[key] = append(list, null)
			return p
		}
	}
	if p["$ref"] != nil {
		out := map[string]any{"anyOf": []any{map[string]any{"$ref": p["$ref"]}, null}}
		if d := p["description"]; d != nil {
			out["description"] = d
		}
		return out
	}
	switch t := p["type"].(type) {
	case string:
		p["type"] = []any{t, "null"}
	case []any:
		p["type"] = append(t, "null")
	}
	if enum, ok := p["enum"].([]any); ok {
		p["enum"] = append(enum, nil)
	}
	return p
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
