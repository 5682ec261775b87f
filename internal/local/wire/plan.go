package wire

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// plan says how values of one Go type go over the wire. Plans are made once a type, when an
// operation is added.
type plan struct {
	kind   kind
	typ    reflect.Type
	elem   *plan   // list, map
	fields []field // structure
	checks bool    // a required member is somewhere below
}

type kind int

const (
	kString kind = iota
	kBool
	kInt
	kFloat
	kTime
	kBlob
	kList
	kMap
	kStruct
	kAny
)

// field is a member of a structure.
type field struct {
	index      int
	ptr        bool // scalars and structures
	name       string
	jsonKey    []byte // `"name":`
	query, xml string // names in requests and answers
	item       string // list element; "member" in awsQuery unless named
	key, value string // map entries
	flat       bool
	required   bool
	p          *plan
}

var (
	planMu  sync.Mutex
	plans   = map[reflect.Type]*plan{}
	timeTyp = reflect.TypeFor[Time]()
	byteTyp = reflect.TypeFor[[]byte]()
)

func planOf(t reflect.Type) *plan {
	planMu.Lock()
	defer planMu.Unlock()
	var made []*plan
	p := build(t, &made)
	for _, p := range made {
		p.settle(map[*plan]bool{})
	}
	return p
}

// build returns the plan of t and adds the plans it had to make to made.
func build(t reflect.Type, made *[]*plan) *plan {
	if p := plans[t]; p != nil {
		return p
	}
	p := &plan{typ: t}
	*made = append(*made, p)
	plans[t] = p // before its fields: shapes may hold themselves
	switch {
	case t == timeTyp:
		p.kind = kTime
	case t == byteTyp:
		p.kind = kBlob
	default:
		switch t.Kind() {
		case reflect.String:
			p.kind = kString
		case reflect.Bool:
			p.kind = kBool
		case reflect.Int32, reflect.Int64:
			p.kind = kInt
		case reflect.Float32, reflect.Float64:
			p.kind = kFloat
		case reflect.Slice:
			p.kind, p.elem = kList, build(t.Elem(), made)
		case reflect.Map:
			p.kind, p.elem = kMap, build(t.Elem(), made)
		case reflect.Interface:
			p.kind = kAny
		case reflect.Struct:
			p.kind = kStruct
			p.structFields(t, made)
		default:
			panic(fmt.Sprintf("wire: no codec for %s", t))
		}
	}
	return p
}

func (p *plan) structFields(t reflect.Type, made *[]*plan) {
	for i := range t.NumField() {
		sf := t.Field(i)
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if name == "" {
			panic(fmt.Sprintf("wire: %s.%s has no wire name", t, sf.Name))
		}
		f := field{index: i, name: name, jsonKey: []byte(`"` + name + `":`), query: name, xml: name, item: "member", key: "key", value: "value"}
		for opt := range strings.SplitSeq(sf.Tag.Get("aws"), ",") {
			k, v, _ := strings.Cut(opt, "=")
			switch k {
			case "req":
				f.required = true
			case "flat":
				f.flat = true
			case "q":
				f.query = v
			case "x":
				f.xml = v
			case "item":
				f.item = v
			case "key":
				f.key = v
			case "value":
				f.value = v
			}
		}
		ft := sf.Type
		if ft.Kind() == reflect.Pointer {
			f.ptr, ft = true, ft.Elem()
		}
		f.p = build(ft, made)
		p.fields = append(p.fields, f)
	}
}

// settle finds out whether anything below p is required.
func (p *plan) settle(seen map[*plan]bool) bool {
	if p.checks || seen[p] {
		return p.checks
	}
	seen[p] = true
	if p.elem != nil && p.elem.settle(seen) {
		p.checks = true
	}
	for i := range p.fields {
		if f := &p.fields[i]; f.p.settle(seen) || f.required {
			p.checks = true
		}
	}
	return p.checks
}
