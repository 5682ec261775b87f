package provider

import (
	"fmt"
	"math/big"
	"reflect"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/slipway-ecs/slipway/internal/service/attribute"
)

// decode reads an attribute's value into a Go value. Null and unknown are zero.
func (t table) decode(from tftypes.Value, into reflect.Value, path string) error {
	if !from.IsKnown() || from.IsNull() {
		return nil
	}
	if into.Type() == attribute.Duration {
		var n big.Float
		if err := from.As(&n); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		seconds, _ := n.Int64()
		into.SetInt(seconds * int64(time.Second))
		return nil
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return t.decode(from, into.Elem(), path)
	case reflect.String:
		var s string
		if err := from.As(&s); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		into.SetString(s)
	case reflect.Bool:
		var b bool
		if err := from.As(&b); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		into.SetBool(b)
	case reflect.Int, reflect.Float64:
		var n big.Float
		if err := from.As(&n); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if into.Kind() == reflect.Float64 {
			f, _ := n.Float64()
			into.SetFloat(f)
			return nil
		}
		i, _ := n.Int64()
		into.SetInt(i)
	case reflect.Slice:
		var items []tftypes.Value
		if err := from.As(&items); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if len(items) == 0 {
			return nil
		}
		into.Set(reflect.MakeSlice(into.Type(), len(items), len(items)))
		for i, item := range items {
			if err := t.decode(item, into.Index(i), path); err != nil {
				return err
			}
		}
	case reflect.Map:
		var items map[string]tftypes.Value
		if err := from.As(&items); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if len(items) == 0 {
			return nil
		}
		into.Set(reflect.MakeMap(into.Type()))
		for key, item := range items {
			v := reflect.New(into.Type().Elem()).Elem()
			if err := t.decode(item, v, path); err != nil {
				return err
			}
			into.SetMapIndex(reflect.ValueOf(key), v)
		}
	case reflect.Struct:
		var fields map[string]tftypes.Value
		if err := from.As(&fields); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for i := range into.NumField() {
			name := attribute.Name(into.Type().Field(i))
			if f, ok := fields[name]; ok {
				if err := t.decode(f, into.Field(i), attribute.Join(path, name)); err != nil {
					return err
				}
			}
		}
	default:
		return fmt.Errorf("%s: a %s has no form in Terraform", path, into.Type())
	}
	return nil
}

// encode writes a Go value as an attribute's value of a type. prior is what the attribute was: where
// the two mean the same, prior's way of saying it stays (null or empty, null or zero), so that
// reading a resource that nobody touched shows no difference.
func (t table) encode(v reflect.Value, typ tftypes.Type, prior tftypes.Value, path string) tftypes.Value {
	info := t(path)
	priorSet := prior.Type() != nil && prior.IsKnown() && !prior.IsNull()
	if !priorSet && (info.Provided || empty(v) && info.Default == nil) {
		return tftypes.NewValue(typ, nil)
	}
	switch {
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			return tftypes.NewValue(typ, nil)
		}
		return t.encode(v.Elem(), typ, prior, path)
	case v.Type() == attribute.Duration:
		return tftypes.NewValue(typ, v.Int()/int64(time.Second))
	}
	switch v.Kind() {
	case reflect.String:
		return tftypes.NewValue(typ, v.String())
	case reflect.Bool:
		return tftypes.NewValue(typ, v.Bool())
	case reflect.Int:
		return tftypes.NewValue(typ, v.Int())
	case reflect.Float64:
		return tftypes.NewValue(typ, v.Float())
	case reflect.Slice:
		element := typ.(tftypes.List).ElementType
		var before []tftypes.Value
		if priorSet {
			_ = prior.As(&before)
		}
		items := make([]tftypes.Value, v.Len())
		for i := range items {
			p := tftypes.NewValue(element, nil)
			if i < len(before) {
				p = before[i]
			}
			items[i] = t.encode(v.Index(i), element, p, path)
			if items[i].IsNull() { // an entry, unlike an attribute, is never left out
				items[i] = t.encodeEntry(v.Index(i), element)
			}
		}
		return tftypes.NewValue(typ, items)
	case reflect.Map:
		element := typ.(tftypes.Map).ElementType
		before := map[string]tftypes.Value{}
		if priorSet {
			_ = prior.As(&before)
		}
		items := map[string]tftypes.Value{}
		for _, key := range v.MapKeys() {
			p, ok := before[key.String()]
			if !ok {
				p = tftypes.NewValue(element, nil)
			}
			items[key.String()] = t.encode(v.MapIndex(key), element, p, path)
			if items[key.String()].IsNull() {
				items[key.String()] = t.encodeEntry(v.MapIndex(key), element)
			}
		}
		return tftypes.NewValue(typ, items)
	case reflect.Struct:
		object := typ.(tftypes.Object)
		before := map[string]tftypes.Value{}
		if priorSet {
			_ = prior.As(&before)
		}
		fields := map[string]tftypes.Value{}
		for name, ft := range object.AttributeTypes { // those that no field stands for stay
			if fields[name] = before[name]; fields[name].Type() == nil {
				fields[name] = tftypes.NewValue(ft, nil)
			}
		}
		for i := range v.NumField() {
			name := attribute.Name(v.Type().Field(i))
			ft, ok := object.AttributeTypes[name]
			if !ok {
				continue
			}
			p, ok := before[name]
			if !ok {
				p = tftypes.NewValue(ft, nil)
			}
			fields[name] = t.encode(v.Field(i), ft, p, attribute.Join(path, name))
		}
		return tftypes.NewValue(typ, fields)
	}
	panic(fmt.Sprintf("provider: %s is a %s", path, v.Type()))
}

// encodeEntry writes an empty string or an object of nothing but defaults.
func (t table) encodeEntry(v reflect.Value, typ tftypes.Type) tftypes.Value {
	if v.Kind() == reflect.String {
		return tftypes.NewValue(typ, v.String())
	}
	if object, ok := typ.(tftypes.Object); ok {
		fields := map[string]tftypes.Value{}
		for name, ft := range object.AttributeTypes {
			fields[name] = tftypes.NewValue(ft, nil)
		}
		return tftypes.NewValue(typ, fields)
	}
	return tftypes.NewValue(typ, []tftypes.Value{})
}

// empty says whether a value says nothing: zero, or without entries.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Struct:
		for i := range v.NumField() {
			if !empty(v.Field(i)) {
				return false
			}
		}
		return true
	}
	return v.IsZero()
}
