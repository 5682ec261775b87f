package service

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Change is one difference between two specs.
type Change struct {
	Path string // as in Containers[app].Env.LOG_LEVEL
	Old  string // empty = was not there
	New  string // empty = is not there any more
}

// String is "path: old → new".
func (c Change) String() string {
	show := func(s string) string {
		if s == "" {
			return "(none)"
		}
		return s
	}
	return fmt.Sprintf("%s: %s → %s", c.Path, show(c.Old), show(c.New))
}

// Diff is what changes from a to b, field by field, in the order of the Spec. Entries with a name
// (containers, volumes, …) are compared by it, so that a new sidecar is one change.
func Diff(a, b Spec) []Change {
	var out []Change
	diff("", reflect.ValueOf(a), reflect.ValueOf(b), &out)
	return out
}

func diff(path string, a, b reflect.Value, out *[]Change) {
	if !a.IsValid() || !b.IsValid() {
		*out = append(*out, Change{path, text(a), text(b)})
		return
	}
	switch {
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		diff(path, a.Elem(), b.Elem(), out)
	case a.Kind() == reflect.Struct:
		for i := range a.NumField() {
			diff(join(path, a.Type().Field(i).Name), a.Field(i), b.Field(i), out)
		}
	case a.Kind() == reflect.Map:
		keys := map[string]bool{}
		for _, m := range []reflect.Value{a, b} {
			for _, k := range m.MapKeys() {
				keys[k.String()] = true
			}
		}
		for _, k := range sortedNames(keys) {
			key := reflect.ValueOf(k)
			diff(join(path, k), a.MapIndex(key), b.MapIndex(key), out)
		}
	case a.Kind() == reflect.Slice && a.Type().Elem().Kind() == reflect.Struct && hasName(a.Type().Elem()):
		byName := func(v reflect.Value, name string) reflect.Value {
			for i := range v.Len() {
				if v.Index(i).FieldByName("Name").String() == name {
					return v.Index(i)
				}
			}
			return reflect.Value{}
		}
		var names []string
		for _, v := range []reflect.Value{a, b} {
			for i := range v.Len() {
				if n := v.Index(i).FieldByName("Name").String(); !slices.Contains(names, n) {
					names = append(names, n)
				}
			}
		}
		for _, n := range names {
			diff(fmt.Sprintf("%s[%s]", path, n), byName(a, n), byName(b, n), out)
		}
	default:
		if x, y := text(a), text(b); x != y {
			*out = append(*out, Change{path, x, y})
		}
	}
}

func hasName(t reflect.Type) bool { _, ok := t.FieldByName("Name"); return ok }

func sortedNames(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// text is a value on one line; zero values are empty.
func text(v reflect.Value) string {
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return ""
	}
	if v.Kind() == reflect.Pointer {
		return text(v.Elem())
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return short(d)
	}
	switch v.Kind() {
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = text(v.Index(i))
		}
		return strings.Join(parts, ", ")
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			if !v.Field(i).IsZero() {
				parts = append(parts, v.Type().Field(i).Name+"="+text(v.Field(i)))
			}
		}
		return "{" + strings.Join(parts, " ") + "}"
	case reflect.Map:
		var parts []string
		for _, k := range v.MapKeys() {
			parts = append(parts, k.String()+"="+text(v.MapIndex(k)))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, " ") + "}"
	}
	return fmt.Sprint(v.Interface())
}
