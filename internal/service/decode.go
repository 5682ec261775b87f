package service

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// decoder fills the structs of config.go from nodes. It goes on after a fault, so that all are
// reported together. The struct tags it reads are those the JSON Schema is made of: what editors
// complain about and what slipway refuses are the same.
type decoder struct {
	report  func(pos, string)
	missing func(at pos, path string) // a required key that is not there
	at      map[string]pos            // path → place, for the checks that come after
}

func (d *decoder) decode(n *node, v reflect.Value, path, tag string) {
	if path != "" {
		d.at[path] = n.pos
	}
	if n.kind == nullNode {
		return // as if it were not there
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.decode(n, v.Elem(), path, tag)
		return
	}
	if s, ok := v.Addr().Interface().(scalarValue); ok {
		if !n.scalar() || n.kind == boolNode {
			d.mismatch(n, path, "a single value")
		} else if err := s.parse(n.text, n.kind == numberNode); err != nil {
			d.report(n.pos, path+": "+err.Error())
		}
		return
	}
	switch list := v.Addr().Interface().(type) {
	case *command:
		if n.kind == stringNode {
			*list = command{"/bin/sh", "-c", n.text}
			return
		}
	case *oneOrMore:
		if n.scalar() {
			n = &node{pos: n.pos, kind: listNode, items: []*node{n}}
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path, tag)
	case reflect.Slice:
		if n.kind != listNode {
			d.mismatch(n, path, "a list")
			return
		}
		out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
		for i, item := range n.items {
			d.decode(item, out.Index(i), fmt.Sprintf("%s[%d]", path, i), tag)
		}
		v.Set(out)
	case reflect.String:
		if !n.scalar() {
			d.mismatch(n, path, "text")
			return
		}
		v.SetString(n.text)
		d.checkText(n, path, tag)
	case reflect.Bool:
		if n.kind != boolNode {
			d.mismatch(n, path, "true or false")
			return
		}
		v.SetBool(strings.EqualFold(n.text, "true"))
	case reflect.Int:
		i, err := strconv.Atoi(strings.ReplaceAll(n.text, "_", ""))
		if n.kind != numberNode || err != nil {
			d.mismatch(n, path, "a whole number")
			return
		}
		v.SetInt(int64(i))
		if enum := tagValues(tag, "enum"); len(enum) > 0 && !slices.Contains(enum, n.text) {
			d.report(n.pos, fmt.Sprintf("%s: %s is not one of %s", path, n.text, strings.Join(enum, ", ")))
		}
		d.checkNumber(n, path, tag, float64(i))
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.text, 64)
		if n.kind != numberNode || err != nil {
			d.mismatch(n, path, "a number")
			return
		}
		v.SetFloat(f)
		d.checkNumber(n, path, tag, f)
	default:
		panic("service: field of kind " + v.Kind().String() + " at " + path)
	}
}

func (d *decoder) mismatch(n *node, path, want string) {
	got := n.kind.String()
	if n.scalar() {
		got = fmt.Sprintf("%q", n.text)
	}
	d.report(n.pos, fmt.Sprintf("%s must be %s, not %s", path, want, got))
}

func (d *decoder) structure(n *node, v reflect.Value, path string) {
	if n.kind != mapNode {
		where := path
		if where == "" {
			where = "the file"
		}
		d.mismatch(n, where, "a mapping")
		return
	}
	keys := keysOf(v.Type())
	seen := map[string]bool{}
	for _, f := range n.fields {
		seen[f.key] = true
		sf, ok := fieldByKey(v.Type(), f.key)
		if !ok {
			d.unknown(f, path, keys)
			continue
		}
		at := join(path, f.key)
		d.at[at] = f.pos
		d.decode(f.value, v.FieldByIndex(sf.Index), at, sf.Tag.Get("jsonschema"))
		if f.value.scalar() {
			d.at[at] = f.value.pos
		} else {
			d.at[at] = f.pos
		}
	}
	for _, f := range reflect.VisibleFields(v.Type()) {
		key := f.Tag.Get("yaml")
		if key != "" && !seen[key] && hasFlag(f.Tag.Get("jsonschema"), "required") {
			d.missing(n.pos, join(path, key))
		}
	}
}

func (d *decoder) unknown(f field, path string, keys []string) {
	message := fmt.Sprintf("unknown key %q", f.key)
	if path != "" {
		message += " in " + path
	}
	if hint := didYouMean(f.key, keys); hint != "" {
		d.report(f.pos, message+hint)
		return
	}
	if homes := homesOf(f.key); len(homes) > 0 && len(homes) <= 3 {
		d.report(f.pos, message+"; it belongs under "+strings.Join(homes, " or "))
		return
	}
	d.report(f.pos, message+"; known here: "+strings.Join(keys, ", "))
}

func (d *decoder) mapping(n *node, v reflect.Value, path, tag string) {
	if n.kind != mapNode {
		d.mismatch(n, path, "a mapping")
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.fields))
	for _, f := range n.fields {
		at := join(path, f.key)
		d.at[at] = f.pos
		value := reflect.New(v.Type().Elem()).Elem()
		d.decode(f.value, value, at, tag)
		d.at[at] = f.pos
		out.SetMapIndex(reflect.ValueOf(f.key).Convert(v.Type().Key()), value)
	}
	v.Set(out)
}

func (d *decoder) checkText(n *node, path, tag string) {
	if enum := tagValues(tag, "enum"); len(enum) > 0 && !slices.Contains(enum, n.text) {
		for _, e := range enum {
			if strings.EqualFold(e, n.text) {
				d.report(n.pos, fmt.Sprintf("%s: %q is written %q", path, n.text, e))
				return
			}
		}
		d.report(n.pos, fmt.Sprintf("%s: %q is not one of %s%s", path, n.text, strings.Join(enum, ", "), didYouMean(n.text, enum)))
	}
	for _, p := range tagValues(tag, "pattern") {
		if !regexp.MustCompile(p).MatchString(n.text) {
			d.report(n.pos, fmt.Sprintf("%s: %q is not allowed; it must match %s", path, n.text, p))
		}
	}
	for _, m := range tagValues(tag, "maxLength") {
		if limit, _ := strconv.Atoi(m); len(n.text) > limit {
			d.report(n.pos, fmt.Sprintf("%s: %q has %d characters; at most %d are allowed", path, n.text, len(n.text), limit))
		}
	}
}

func (d *decoder) checkNumber(n *node, path, tag string, v float64) {
	low, high := tagValues(tag, "minimum"), tagValues(tag, "maximum")
	below := len(low) > 0 && v < mustFloat(low[0])
	above := len(high) > 0 && v > mustFloat(high[0])
	switch {
	case (below || above) && len(low) > 0 && len(high) > 0:
		d.report(n.pos, fmt.Sprintf("%s is %s; it must be from %s to %s", path, n.text, low[0], high[0]))
	case below:
		d.report(n.pos, fmt.Sprintf("%s is %s; it must be at least %s", path, n.text, low[0]))
	case above:
		d.report(n.pos, fmt.Sprintf("%s is %s; it must be at most %s", path, n.text, high[0]))
	}
}

func mustFloat(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic("service: struct tag: " + err.Error())
	}
	return f
}

// lookup is the place of a path, or of the nearest mapping around it.
func lookup(at map[string]pos, path string, fallback pos) pos {
	for path != "" {
		if p, ok := at[path]; ok {
			return p
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return fallback
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func tagValues(tag, key string) []string {
	var out []string
	for _, part := range strings.Split(tag, ",") {
		if k, v, ok := strings.Cut(part, "="); ok && k == key {
			out = append(out, v)
		}
	}
	return out
}

func hasFlag(tag, flag string) bool { return slices.Contains(strings.Split(tag, ","), flag) }

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, f := range reflect.VisibleFields(t) {
		if key := f.Tag.Get("yaml"); key != "" && !f.Anonymous {
			keys = append(keys, key)
		}
	}
	return keys
}

// homesOf are the mappings of the file in which a key is known.
func homesOf(key string) []string {
	var homes []string
	seen := map[reflect.Type]bool{}
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || seen[t] {
			return
		}
		seen[t] = true
		for _, f := range reflect.VisibleFields(t) {
			name := f.Tag.Get("yaml")
			if f.Anonymous || name == "" || name == "environments" { // environments repeat the rest
				continue
			}
			if name == key {
				homes = append(homes, path)
			}
			walk(f.Type, join(path, name))
		}
	}
	walk(reflect.TypeFor[fileConfig](), "")
	for i, h := range homes {
		if h == "" {
			homes[i] = "the top of the file"
		}
	}
	return homes
}
