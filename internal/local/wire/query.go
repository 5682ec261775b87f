package wire

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// maxDepth bounds the nesting of parameters; the deepest of AWS's own shapes is far from it.
const maxDepth = 32

// node is a parameter and what is below it: Filter.1.Value.2=x is Filter → 1 → Value → 2.
type node struct {
	value    string
	has      bool
	children map[string]*node
}

func (n *node) child(name string) *node { return n.children[name] }

func tree(form url.Values) (*node, error) {
	root := &node{}
	for key, values := range form {
		if len(values) == 0 {
			continue
		}
		if strings.Count(key, ".") >= maxDepth {
			return nil, fmt.Errorf("the parameter %.100q is nested too deeply", key)
		}
		n := root
		for part := range strings.SplitSeq(key, ".") {
			next := n.children[part]
			if next == nil {
				next = &node{}
				if n.children == nil {
					n.children = map[string]*node{}
				}
				n.children[part] = next
			}
			n = next
		}
		n.value, n.has = values[0], true
	}
	return root, nil
}

// numbered lists the children whose names are numbers, in order.
func (n *node) numbered() []*node {
	type entry struct {
		i int
		n *node
	}
	var es []entry
	for name, c := range n.children {
		if i, err := strconv.Atoi(name); err == nil && i >= 0 {
			es = append(es, entry{i, c})
		}
	}
	slices.SortFunc(es, func(a, b entry) int { return a.i - b.i })
	out := make([]*node, len(es))
	for i, e := range es {
		out[i] = e.n
	}
	return out
}

// decodeQuery reads the parameters of an awsQuery or ec2Query request.
func decodeQuery(form url.Values, in any, p *plan) error {
	root, err := tree(form)
	if err != nil {
		return err
	}
	return p.fromQuery(root, reflect.ValueOf(in).Elem(), "", &field{item: "member", key: "key", value: "value"})
}

// fromQuery decodes n into v; f is the member it belongs to.
func (p *plan) fromQuery(n *node, v reflect.Value, path string, f *field) error {
	switch p.kind {
	case kStruct:
		for i := range p.fields {
			f := &p.fields[i]
			c := n.child(f.query)
			if c == nil && f.flat && f.p.kind == kList && f.item != "member" {
				c = n.child(f.item) // a flattened list goes by its element's name
			}
			if c == nil {
				continue
			}
			fv := v.Field(f.index)
			if f.ptr {
				fv.Set(reflect.New(f.p.typ))
				fv = fv.Elem()
			}
			at := f.query
			if path != "" {
				at = path + "." + f.query
			}
			if err := f.p.fromQuery(c, fv, at, f); err != nil {
				return err
			}
		}
		return nil
	case kList:
		elems := n.numbered()
		if len(elems) == 0 { // not flattened: one level more, "member" or the element's own name
			if c := n.child(f.item); c != nil {
				elems = c.numbered()
			} else if c := n.child("member"); c != nil {
				elems = c.numbered()
			}
		}
		list := reflect.MakeSlice(p.typ, len(elems), len(elems))
		for i, e := range elems {
			if err := p.elem.fromQuery(e, list.Index(i), path+"."+strconv.Itoa(i+1), f); err != nil {
				return err
			}
		}
		v.Set(list)
		return nil
	case kMap:
		entries := n.numbered()
		if len(entries) == 0 {
			if c := n.child("entry"); c != nil {
				entries = c.numbered()
			}
		}
		m := reflect.MakeMapWithSize(p.typ, len(entries))
		for _, e := range entries {
			k, val := e.child(f.key), e.child(f.value)
			if k == nil {
				return fmt.Errorf("%s has an entry without %s", path, f.key)
			}
			ev := reflect.New(p.elem.typ).Elem()
			if val != nil {
				if err := p.elem.fromQuery(val, ev, path+"."+k.value, f); err != nil {
					return err
				}
			}
			m.SetMapIndex(reflect.ValueOf(k.value), ev)
		}
		v.Set(m)
		return nil
	}
	return p.fromText(n.value, v, path)
}

func (p *plan) fromText(s string, v reflect.Value, path string) error {
	switch p.kind {
	case kString:
		v.SetString(s)
	case kBool:
		switch strings.ToLower(s) {
		case "true", "1":
			v.SetBool(true)
		case "false", "0", "":
			v.SetBool(false)
		default:
			return fmt.Errorf("Invalid value '%.100s' for boolean parameter %s", s, path)
		}
	case kInt:
		n, err := strconv.ParseInt(s, 10, p.typ.Bits())
		if err != nil {
			return fmt.Errorf("Invalid value '%.100s' for integer parameter %s", s, path)
		}
		v.SetInt(n)
	case kFloat:
		x, err := strconv.ParseFloat(s, p.typ.Bits())
		if err != nil {
			return fmt.Errorf("Invalid value '%.100s' for number parameter %s", s, path)
		}
		v.SetFloat(x)
	case kTime:
		t, err := parseTime(s)
		if err != nil {
			return fmt.Errorf("Invalid value '%.100s' for timestamp parameter %s", s, path)
		}
		v.Set(reflect.ValueOf(Time{t}))
	case kBlob:
		data, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return fmt.Errorf("Invalid base64 in parameter %s", path)
		}
		v.SetBytes(data)
	case kAny:
		v.Set(reflect.ValueOf(s))
	}
	return nil
}

// fillLists makes the required lists of an input that are not there empty.
func (p *plan) fillLists(in any) {
	v := reflect.ValueOf(in).Elem()
	for i := range p.fields {
		if f := &p.fields[i]; f.required && f.p.kind == kList && v.Field(f.index).IsNil() {
			v.Field(f.index).Set(reflect.MakeSlice(f.p.typ, 0, 0))
		}
	}
}
