package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"reflect"
	"strconv"
)

// xmlWriter writes the answers of awsQuery and ec2Query.
type xmlWriter struct{ bytes.Buffer }

func (w *xmlWriter) open(name string)  { w.WriteByte('<'); w.WriteString(name); w.WriteByte('>') }
func (w *xmlWriter) close(name string) { w.WriteString("</"); w.WriteString(name); w.WriteByte('>') }

func (w *xmlWriter) text(s string) {
	_ = xml.EscapeText(&w.Buffer, []byte(s)) // a buffer does not fail
}

func (w *xmlWriter) element(name, text string) {
	w.open(name)
	w.text(text)
	w.close(name)
}

// members writes the members of a structure.
func (p *plan) members(w *xmlWriter, v reflect.Value) {
	for i := range p.fields {
		f := &p.fields[i]
		fv := v.Field(f.index)
		if fv.IsNil() {
			continue
		}
		if f.ptr {
			fv = fv.Elem()
		}
		f.p.toXML(w, f.xml, fv, f)
	}
}

// toXML writes v as an element called name; f is the member it belongs to.
func (p *plan) toXML(w *xmlWriter, name string, v reflect.Value, f *field) {
	switch p.kind {
	case kList:
		if f.flat {
			for i := range v.Len() {
				p.elem.toXML(w, name, v.Index(i), f)
			}
			return
		}
		w.open(name)
		for i := range v.Len() {
			p.elem.toXML(w, f.item, v.Index(i), f)
		}
		w.close(name)
		return
	case kMap:
		entry := "entry"
		if f.flat {
			entry = name
		} else {
			w.open(name)
		}
		for _, k := range sortedKeys(v) {
			w.open(entry)
			w.element(f.key, k.String())
			p.elem.toXML(w, f.value, v.MapIndex(k), f)
			w.close(entry)
		}
		if !f.flat {
			w.close(name)
		}
		return
	}
	w.open(name)
	switch p.kind {
	case kStruct:
		p.members(w, v)
	case kString:
		w.text(v.String())
	case kBool:
		w.WriteString(strconv.FormatBool(v.Bool()))
	case kInt:
		w.WriteString(strconv.FormatInt(v.Int(), 10))
	case kFloat:
		w.WriteString(strconv.FormatFloat(v.Float(), 'g', -1, p.typ.Bits()))
	case kTime:
		w.WriteString(v.Interface().(Time).format())
	case kBlob:
		w.WriteString(base64.StdEncoding.EncodeToString(v.Bytes()))
	}
	w.close(name)
}
