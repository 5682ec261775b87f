package service

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// pos is a place in the file, from 1.
type pos struct{ line, column int }

type nodeKind int

const (
	nullNode nodeKind = iota
	stringNode
	numberNode
	boolNode
	mapNode
	listNode
)

func (k nodeKind) String() string {
	return [...]string{"nothing", "text", "a number", "true or false", "a mapping", "a list"}[k]
}

// node is a YAML value with its place: what is left of the syntax tree once anchors, merge keys and
// comments are resolved.
type node struct {
	pos    pos
	kind   nodeKind
	text   string // scalars, as written without quotes
	fields []field
	items  []*node
}

type field struct {
	key    string
	pos    pos
	value  *node
	merged bool // came in by a merge key; a key written out takes its place
}

func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, f := range n.fields {
		if f.key == key {
			return f.value
		}
	}
	return nil
}

func (n *node) scalar() bool {
	return n.kind == stringNode || n.kind == numberNode || n.kind == boolNode
}

// reader turns a syntax tree into nodes.
type reader struct {
	anchors map[string]*node
	report  func(pos, string)
}

// parseYAML reads one document. A syntax error is reported once: what follows it means nothing.
func parseYAML(data []byte, report func(pos, string)) *node {
	if i := strings.IndexByte(string(data), 0); i >= 0 {
		report(pos{1, 1}, "not a text file: it has a zero byte")
		return nil
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		at, message := pos{1, 1}, err.Error()
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			message = syntax.GetMessage()
			if t := syntax.GetToken(); t != nil && t.Position != nil {
				at = pos{t.Position.Line, t.Position.Column}
			}
		}
		report(at, "YAML: "+message)
		return nil
	}
	var body ast.Node
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			report(place(file.Docs[i].Body), "only one YAML document is allowed in the file")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		report(pos{1, 1}, "the file is empty; the smallest one says \"service: NAME\"")
		return nil
	}
	r := &reader{anchors: map[string]*node{}, report: report}
	return r.node(body)
}

func place(n ast.Node) pos {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return pos{t.Position.Line, t.Position.Column}
	}
	return pos{1, 1}
}

func (r *reader) node(n ast.Node) *node {
	out := &node{pos: place(n)}
	switch n := n.(type) {
	case *ast.NullNode, *ast.CommentGroupNode:
	case *ast.StringNode:
		out.kind, out.text = stringNode, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = stringNode, n.Value.Value
	case *ast.IntegerNode:
		out.kind, out.text = numberNode, n.GetToken().Value
	case *ast.FloatNode:
		out.kind, out.text = numberNode, n.GetToken().Value
	case *ast.InfinityNode, *ast.NanNode:
		r.report(out.pos, n.GetToken().Value+" is not a usable number")
	case *ast.BoolNode:
		out.kind, out.text = boolNode, n.GetToken().Value
	case *ast.TagNode:
		r.report(out.pos, fmt.Sprintf("YAML tags such as %s are not used here; quote the value to make it text", n.Start.Value))
		return r.node(n.Value)
	case *ast.AnchorNode:
		out = r.node(n.Value)
		r.anchors[n.Name.GetToken().Value] = out
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		target, ok := r.anchors[name]
		if !ok {
			r.report(out.pos, fmt.Sprintf("alias *%s has no anchor &%s before it", name, name))
			return out
		}
		return target
	case *ast.SequenceNode:
		out.kind = listNode
		for _, v := range n.Values {
			out.items = append(out.items, r.node(v))
		}
	case *ast.MappingNode:
		out.kind = mapNode
		if len(n.Values) > 0 {
			out.pos = place(n.Values[0].Key)
		}
		for _, v := range n.Values {
			r.field(out, v)
		}
	case *ast.MappingValueNode:
		out.kind = mapNode
		out.pos = place(n.Key)
		r.field(out, n)
	default:
		r.report(out.pos, fmt.Sprintf("%s is not allowed here", n.Type()))
	}
	return out
}

func (r *reader) field(out *node, v *ast.MappingValueNode) {
	if v.Key.IsMergeKey() {
		merged := r.node(v.Value)
		sources := []*node{merged}
		if merged.kind == listNode {
			sources = merged.items
		}
		for _, s := range sources {
			for _, f := range s.fields {
				if out.get(f.key) == nil {
					f.merged = true
					out.fields = append(out.fields, f)
				}
			}
		}
		return
	}
	key, at := v.Key.GetToken().Value, place(v.Key)
	value := r.node(v.Value)
	if value.kind == nullNode {
		value.pos = at // nothing is nowhere: point at the key
	}
	for i, f := range out.fields {
		if f.key != key {
			continue
		}
		if !f.merged {
			r.report(at, fmt.Sprintf("%q is already given on line %d", key, f.pos.line))
		}
		out.fields[i] = field{key: key, pos: at, value: value}
		return
	}
	out.fields = append(out.fields, field{key: key, pos: at, value: value})
}

// merge lays over on base: mappings field by field, everything else as a whole. A null takes away
// what base says, so that the default applies again.
func merge(base, over *node) *node {
	if base == nil || base.kind != mapNode || over.kind != mapNode {
		return over
	}
	out := &node{pos: base.pos, kind: mapNode, fields: append([]field(nil), base.fields...)}
	for _, f := range over.fields {
		i := -1
		for j := range out.fields {
			if out.fields[j].key == f.key {
				i = j
			}
		}
		switch {
		case f.value.kind == nullNode && i >= 0:
			out.fields = append(out.fields[:i:i], out.fields[i+1:]...)
		case i >= 0:
			out.fields[i] = field{key: f.key, pos: f.pos, value: merge(out.fields[i].value, f.value)}
		default:
			out.fields = append(out.fields, f)
		}
	}
	return out
}

// expand writes short forms out: a scalar or list where a mapping with a field of tag short:"true"
// is expected becomes that field. It comes before merging, so that "network: awsvpc" and an
// environment's "network: {subnets: […]}" add up.
func expand(n *node, t reflect.Type) *node {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Kind() == reflect.Struct:
		if n.scalar() || n.kind == listNode {
			if key := bareField(t, n); key != "" {
				return &node{pos: n.pos, kind: mapNode, fields: []field{{key: key, pos: n.pos, value: n}}}
			}
			return n
		}
		out := *n
		out.fields = append([]field(nil), n.fields...)
		for i, f := range out.fields {
			if sf, ok := fieldByKey(t, f.key); ok {
				out.fields[i].value = expand(f.value, sf.Type)
			}
		}
		return &out
	case t.Kind() == reflect.Map && n.kind == mapNode:
		out := *n
		out.fields = append([]field(nil), n.fields...)
		for i, f := range out.fields {
			out.fields[i].value = expand(f.value, t.Elem())
		}
		return &out
	case t.Kind() == reflect.Slice && n.kind == listNode:
		out := *n
		out.items = append([]*node(nil), n.items...)
		for i, item := range out.items {
			out.items[i] = expand(item, t.Elem())
		}
		return &out
	}
	return n
}

// bareField is the field that a bare value stands for: the switch, if the value is true or false and
// there is one.
func bareField(t reflect.Type, n *node) string {
	if key := tagged(t, "switch"); key != "" && n.kind == boolNode {
		return key
	}
	return shortField(t)
}

func shortField(t reflect.Type) string { return tagged(t, "true") }

func tagged(t reflect.Type, short string) string {
	for _, f := range reflect.VisibleFields(t) {
		if f.Tag.Get("short") == short {
			return f.Tag.Get("yaml")
		}
	}
	return ""
}

func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous && f.Tag.Get("yaml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}
