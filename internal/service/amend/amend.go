// Package amend changes a slipway.yaml as a person would: only what has to, with every comment, blank line and
// order kept.
package amend

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Size is what a container is to reserve.
type Size struct {
	CPU, Memory, MemoryReservation int // CPU units; MiB, the limit; MiB
}

// Sizes writes what containers of an environment reserve, by their names in the task definition, into that
// environment's part of the file. The result is read back: it is an error if it says anything else than was
// asked for.
func Sizes(path string, data []byte, env string, sizes map[string]Size) ([]byte, error) {
	before, faults := service.Parse(path, data)
	if len(faults) > 0 {
		return nil, faults.Err()
	}
	want, faults := before.Spec(env)
	if len(faults) > 0 {
		return nil, faults.Err()
	}
	if want.CPU > 0 || want.Memory > 0 {
		return nil, fmt.Errorf("not supported: environment %s of %s sizes the task as a whole", env, path)
	}
	out := data
	want.Containers = slices.Clone(want.Containers)
	done := 0
	for k := range want.Containers {
		c := &want.Containers[k]
		s, ok := sizes[c.Name]
		if !ok {
			continue
		}
		done++
		at := []string{"environments", env, "sidecars", c.Name}
		if k == 0 {
			at = []string{"environments", env, "container"}
		}
		for _, f := range []struct {
			key       string
			has, wish int
		}{{"memory_reservation", c.MemoryReservation, s.MemoryReservation}, {"memory", c.Memory, s.Memory}, {"cpu", c.CPU, s.CPU}} {
			if f.has == f.wish {
				continue
			}
			var err error
			if out, err = set(out, at, f.key, fmt.Sprint(f.wish)); err != nil {
				return nil, fmt.Errorf("changing %s.%s in %s: %w", strings.Join(at, "."), f.key, path, err)
			}
		}
		c.CPU, c.Memory, c.MemoryReservation = s.CPU, s.Memory, s.MemoryReservation
	}
	if done < len(sizes) {
		return nil, fmt.Errorf("environment %s of %s lacks some of the containers to be changed", env, path)
	}
	after, faults := service.Parse(path, out)
	if len(faults) > 0 {
		return nil, fmt.Errorf("what would be written to %s is not right: %w", path, faults.Err())
	}
	for _, e := range before.Environments() {
		is, _ := after.Spec(e)
		should, _ := before.Spec(e)
		if e == env {
			should = want
		}
		if !reflect.DeepEqual(is, should) {
			return nil, fmt.Errorf("not supported: %s is written in a way that cannot be changed in place; change environment %s by hand", path, env)
		}
	}
	return out, nil
}

// set gives the mapping at a path a key with a value, and makes what is missing of the path.
func set(data []byte, path []string, key, value string) ([]byte, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, err
	}
	t := text{data: data, lines: strings.SplitAfter(string(data), "\n")}
	var at ast.Node
	for _, d := range file.Docs {
		if d.Body != nil {
			at = d.Body
		}
	}
	for k, name := range append(slices.Clone(path), key) {
		last := k == len(path)
		v := child(at, name)
		if v == nil {
			// The rest of the path in one piece.
			return t.insert(at, piece(append(slices.Clone(path), key)[k:], value))
		}
		switch x := v.Value.(type) {
		case *ast.NullNode:
			return t.after(v, piece(append(slices.Clone(path), key)[k+1:], value), last, value)
		case *ast.AliasNode, *ast.AnchorNode:
			return nil, fmt.Errorf("not supported: %s is written by an alias", name)
		default:
			if last {
				return t.replace(x, value)
			}
			at = x
		}
	}
	return nil, fmt.Errorf("not supported: the path is empty")
}

// piece is path and value as a flow mapping's inside: a: { b: v }.
func piece(path []string, value string) string {
	if len(path) == 0 {
		return value
	}
	if len(path) == 1 {
		return path[0] + ": " + value
	}
	return path[0] + ": { " + piece(path[1:], value) + " }"
}

func entries(n ast.Node) []*ast.MappingValueNode {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}
	}
	return nil
}

func child(n ast.Node, name string) *ast.MappingValueNode {
	for _, v := range entries(n) {
		if v.Key.GetToken().Value == name {
			return v
		}
	}
	return nil
}

// text is a file by its lines.
type text struct {
	data  []byte
	lines []string // with their ends
}

// offset is where in the file a line and column are; both begin with 1, columns count characters.
func (t *text) offset(line, column int) (int, error) {
	if line < 1 || line > len(t.lines) {
		return 0, fmt.Errorf("not supported: line %d is not in the file", line)
	}
	n := 0
	for _, l := range t.lines[:line-1] {
		n += len(l)
	}
	for k := range t.lines[line-1] {
		if column--; column == 0 {
			return n + k, nil
		}
	}
	return n + len(strings.TrimRight(t.lines[line-1], "\r\n")), nil
}

func (t *text) splice(at, length int, with string) []byte {
	return slices.Concat(t.data[:at], []byte(with), t.data[at+length:])
}

// replace writes a value over a plain one.
func (t *text) replace(n ast.Node, value string) ([]byte, error) {
	tok := n.GetToken()
	at, err := t.offset(tok.Position.Line, tok.Position.Column)
	if err != nil {
		return nil, err
	}
	for _, old := range []string{tok.Value, `"` + tok.Value + `"`, "'" + tok.Value + "'"} {
		if strings.HasPrefix(string(t.data[at:]), old) {
			return t.splice(at, len(old), value), nil
		}
	}
	return nil, fmt.Errorf("not supported: the value on line %d", tok.Position.Line)
}

// after writes the value of a key that has none.
func (t *text) after(v *ast.MappingValueNode, inside string, scalar bool, value string) ([]byte, error) {
	tok := v.Key.GetToken()
	at, err := t.offset(tok.Position.Line, tok.Position.Column)
	if err != nil {
		return nil, err
	}
	colon := strings.IndexByte(string(t.data[at:]), ':')
	if colon < 0 {
		return nil, fmt.Errorf("not supported: the key on line %d", tok.Position.Line)
	}
	rest := string(t.data[at+colon+1:])
	if line, _, _ := strings.Cut(rest, "\n"); strings.HasPrefix(strings.TrimSpace(line), "null") || strings.HasPrefix(strings.TrimSpace(line), "~") {
		return nil, fmt.Errorf("not supported: null on line %d", tok.Position.Line)
	}
	if scalar {
		return t.splice(at+colon+1, 0, " "+value), nil
	}
	return t.splice(at+colon+1, 0, " { "+inside+" }"), nil
}

// insert adds an entry to a mapping: at the beginning of one in braces, else on a line of its own.
func (t *text) insert(n ast.Node, entry string) ([]byte, error) {
	if m, ok := n.(*ast.MappingNode); ok && m.IsFlowStyle {
		at, err := t.offset(m.Start.Position.Line, m.Start.Position.Column)
		if err != nil {
			return nil, err
		}
		if len(m.Values) == 0 {
			return t.splice(at+1, 0, " "+entry+" "), nil
		}
		return t.splice(at+1, 0, " "+entry+","), nil
	}
	all := entries(n)
	if len(all) == 0 {
		return nil, fmt.Errorf("not supported: %s", n.Type())
	}
	first := all[0].Key.GetToken().Position
	indent := strings.Repeat(" ", first.Column-1)
	// Below an entry that is on one line: comments above keys stay with their keys.
	for _, v := range all {
		if line, ok := oneLine(v); ok && line <= len(t.lines) {
			at, err := t.offset(line, 1)
			if err != nil {
				return nil, err
			}
			l := t.lines[line-1]
			if !strings.HasSuffix(l, "\n") {
				return t.splice(at+len(l), 0, "\n"+indent+entry), nil
			}
			return t.splice(at+len(l), 0, indent+entry+"\n"), nil
		}
	}
	line := first.Line
	for line > 1 && strings.HasPrefix(strings.TrimSpace(t.lines[line-2]), "#") {
		line--
	}
	at, err := t.offset(line, 1)
	if err != nil {
		return nil, err
	}
	return t.splice(at, 0, indent+entry+"\n"), nil
}

// oneLine is the line of an entry that begins and ends there.
func oneLine(v *ast.MappingValueNode) (int, bool) {
	line := v.Key.GetToken().Position.Line
	switch x := v.Value.(type) {
	case *ast.MappingNode:
		return line, x.IsFlowStyle && x.Start.Position.Line == line && x.End != nil && x.End.Position.Line == line
	case *ast.SequenceNode:
		return line, x.IsFlowStyle && x.Start.Position.Line == line && x.End != nil && x.End.Position.Line == line
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return line, true
	case *ast.StringNode:
		return line, !strings.Contains(x.Value, "\n") && x.GetToken().Position.Line == line
	}
	return 0, false
}
