package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// types writes the Go types of one service: an input and an output for each operation, and the
// structures they reach. Operations whose shapes the model left out get none.
func types(id, pkg string, m model) ([]byte, error) {
	g := &generator{m: m, ec2: m.Metadata.Protocol == "ec2", done: map[string]string{}}
	g.query = g.ec2 || slices.Contains(m.Metadata.Protocols, "query")
	for _, op := range sorted(m.Operations) {
		o := m.Operations[op]
		if o.Input == nil && o.Output == nil && g.ec2 {
			continue
		}
		in, out := "", ""
		if o.Input != nil {
			in = o.Input.Shape
		}
		if o.Output != nil {
			out = o.Output.Shape
		}
		if err := g.structure(op+"Input", in, "is the input of "+op+"."); err != nil {
			return nil, err
		}
		if err := g.structure(op+"Output", out, "is the output of "+op+"."); err != nil {
			return nil, err
		}
	}
	for len(g.todo) > 0 {
		name := g.todo[0]
		g.todo = g.todo[1:]
		if err := g.structure(upper(name), name, "is a structure of the service's model."); err != nil {
			return nil, err
		}
	}
	var src bytes.Buffer
	src.WriteString(header)
	fmt.Fprintf(&src, "// Package %s holds the types of the service %q as it speaks on the wire (%s).\npackage %s\n\n", pkg, id, m.Source, pkg)
	if bytes.Contains(g.body.Bytes(), []byte("wire.Time")) {
		src.WriteString("import \"github.com/slipway-ecs/slipway/internal/local/wire\"\n\n")
	}
	src.Write(g.body.Bytes())
	return src.Bytes(), nil
}

type generator struct {
	m          model
	ec2, query bool
	body       bytes.Buffer
	done       map[string]string // Go type → shape
	todo       []string
}

func (g *generator) structure(name, shapeName, doc string) error {
	if was, ok := g.done[name]; ok {
		if was != shapeName {
			return fmt.Errorf("%s names both %s and %s", name, was, shapeName)
		}
		return nil
	}
	g.done[name] = shapeName
	fmt.Fprintf(&g.body, "// %s %s\ntype %s struct {\n", name, doc, name)
	s := g.m.Shapes[shapeName]
	if shapeName != "" && s.Type != "structure" {
		return fmt.Errorf("%s is a %s, not a structure", shapeName, s.Type)
	}
	for _, mn := range sorted(s.Members) {
		mem := s.Members[mn]
		t, err := g.goType(mem.Shape, true)
		if err != nil {
			return fmt.Errorf("%s.%s: %w", shapeName, mn, err)
		}
		tag := fmt.Sprintf(`json:"%s,omitzero"`, mn)
		if extra := g.tag(mn, mem, slices.Contains(s.Required, mn)); extra != "" {
			tag += fmt.Sprintf(` aws:"%s"`, extra)
		}
		fmt.Fprintf(&g.body, "%s %s `%s`\n", upper(mn), t, tag)
	}
	g.body.WriteString("}\n\n")
	return nil
}

// tag says what reflection cannot: names in the query and XML protocols where they are not the
// member's own, list and map element names, flattening, and whether the member is required.
func (g *generator) tag(name string, mem member, required bool) string {
	var out []string
	if required {
		out = append(out, "req")
	}
	switch mem.Location {
	case "uri":
		out = append(out, "uri="+mem.LocationName)
	case "querystring":
		out = append(out, "query="+mem.LocationName)
	}
	if !g.query {
		return strings.Join(out, ",")
	}
	s := g.m.Shapes[mem.Shape]
	q, x := name, name
	if mem.LocationName != "" {
		q, x = mem.LocationName, mem.LocationName
	}
	if g.ec2 {
		q = upper(q)
		if mem.QueryName != "" {
			q = mem.QueryName
		}
	}
	if q != name {
		out = append(out, "q="+q)
	}
	if x != name {
		out = append(out, "x="+x)
	}
	if mem.Flattened || s.Flattened {
		out = append(out, "flat")
	}
	if s.Type == "list" {
		item := s.Member.LocationName
		if item == "" && g.ec2 {
			item = "item"
		}
		if item != "" {
			out = append(out, "item="+item)
		}
	}
	if s.Type == "map" {
		if s.Key.LocationName != "" {
			out = append(out, "key="+s.Key.LocationName)
		}
		if s.Value.LocationName != "" {
			out = append(out, "value="+s.Value.LocationName)
		}
	}
	return strings.Join(out, ",")
}

var scalars = map[string]string{
	"string": "string", "character": "string", "boolean": "bool", "integer": "int32", "long": "int64",
	"double": "float64", "float": "float32", "timestamp": "wire.Time",
}

// goType is the Go type of a shape; as a member, scalars and structures are pointers.
func (g *generator) goType(name string, asMember bool) (string, error) {
	s, ok := g.m.Shapes[name]
	if !ok {
		return "", fmt.Errorf("the model has no shape %s", name)
	}
	star := ""
	if asMember {
		star = "*"
	}
	switch {
	case s.Document:
		return "any", nil
	case scalars[s.Type] != "":
		return star + scalars[s.Type], nil
	case s.Type == "blob":
		return "[]byte", nil
	case s.Type == "list":
		e, err := g.goType(s.Member.Shape, false)
		return "[]" + e, err
	case s.Type == "map":
		e, err := g.goType(s.Value.Shape, false)
		return "map[string]" + e, err
	case s.Type == "structure":
		g.todo = append(g.todo, name)
		return star + upper(name), nil
	}
	return "", fmt.Errorf("shape %s has the unknown type %q", name, s.Type)
}
