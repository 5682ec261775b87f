package provider

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/float64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64default"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/objectdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/slipway-ecs/slipway/internal/service/attribute"
)

// table is what is known of a Go type's fields as attributes, by path.
type table func(path string) attribute.Info

// attributes makes a resource's attributes of a struct's fields.
func (t table) attributes(typ reflect.Type, path string) map[string]schema.Attribute {
	out := map[string]schema.Attribute{}
	for i := range typ.NumField() {
		name := attribute.Name(typ.Field(i))
		at := attribute.Join(path, name)
		if t(at).Description == "" {
			continue // not Terraform's business: what an engine only reports
		}
		out[name] = t.attribute(typ.Field(i).Type, at)
	}
	return out
}

func (t table) attribute(typ reflect.Type, path string) schema.Attribute {
	info := t(path)
	optional, computed := !info.Required, info.Default != nil
	switch {
	case typ == attribute.Duration:
		a := schema.Int64Attribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional, Computed: computed,
			Validators: []validator.Int64{int64validator.AtLeast(0)}}
		if d, ok := info.Default.(time.Duration); ok {
			a.Default = int64default.StaticInt64(int64(d / time.Second))
		}
		return a
	case typ.Kind() == reflect.String:
		a := schema.StringAttribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional, Computed: computed}
		if d, ok := info.Default.(string); ok {
			a.Default = stringdefault.StaticString(d)
		}
		if info.Replace {
			a.PlanModifiers = []planmodifier.String{stringplanmodifier.RequiresReplace()}
		}
		if len(info.OneOf) > 0 {
			a.Validators = []validator.String{stringvalidator.OneOf(info.OneOf...)}
		}
		return a
	case typ.Kind() == reflect.Int:
		a := schema.Int64Attribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional, Computed: computed}
		if d, ok := info.Default.(int); ok {
			a.Default = int64default.StaticInt64(int64(d))
		}
		if info.Replace {
			a.PlanModifiers = []planmodifier.Int64{int64planmodifier.RequiresReplace()}
		}
		return a
	case typ.Kind() == reflect.Float64:
		a := schema.Float64Attribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional, Computed: computed}
		if d, ok := info.Default.(float64); ok {
			a.Default = float64default.StaticFloat64(d)
		}
		return a
	case typ.Kind() == reflect.Bool:
		a := schema.BoolAttribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional, Computed: computed}
		if d, ok := info.Default.(bool); ok {
			a.Default = booldefault.StaticBool(d)
		}
		return a
	case typ.Kind() == reflect.Map && typ.Elem().Kind() == reflect.Struct:
		return schema.MapNestedAttribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional,
			NestedObject: schema.NestedAttributeObject{Attributes: t.attributes(typ.Elem(), path)}}
	case typ.Kind() == reflect.Map && typ.Elem().Kind() == reflect.Slice:
		return schema.MapAttribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional, ElementType: types.ListType{ElemType: types.StringType}}
	case typ.Kind() == reflect.Map:
		return schema.MapAttribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional, ElementType: types.StringType}
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct:
		return schema.ListNestedAttribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional,
			NestedObject: schema.NestedAttributeObject{Attributes: t.attributes(typ.Elem(), path)}}
	case typ.Kind() == reflect.Slice:
		return schema.ListAttribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional, ElementType: types.StringType}
	case typ.Kind() == reflect.Pointer:
		return schema.SingleNestedAttribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional,
			Attributes: t.attributes(typ.Elem(), path)}
	case typ.Kind() == reflect.Struct:
		a := schema.SingleNestedAttribute{MarkdownDescription: info.Description, Required: info.Required, Optional: optional,
			Attributes: t.attributes(typ, path)}
		if t.hasDefaults(typ, path) && !info.Required {
			a.Computed = true
			a.Default = objectdefault.StaticValue(t.defaultObject(typ, path, a.GetType()))
		}
		return a
	}
	panic(fmt.Sprintf("provider: %s is a %s", path, typ))
}

func (t table) hasDefaults(typ reflect.Type, path string) bool {
	for i := range typ.NumField() {
		at, ft := attribute.Join(path, attribute.Name(typ.Field(i))), typ.Field(i).Type
		if t(at).Default != nil || ft.Kind() == reflect.Struct && t.hasDefaults(ft, at) {
			return true
		}
	}
	return false
}

// defaultObject is an object with the default of each attribute that has one.
func (t table) defaultObject(typ reflect.Type, path string, of attr.Type) basetypes.ObjectValue {
	ctx := context.Background()
	object := of.TerraformType(ctx).(tftypes.Object)
	v := reflect.New(typ).Elem()
	t.setDefaults(v, path)
	value, err := of.ValueFromTerraform(ctx, t.encode(v, object, tftypes.NewValue(object, nil), path))
	if err != nil {
		panic(fmt.Sprintf("provider: default of %s: %v", path, err))
	}
	return value.(basetypes.ObjectValue)
}

func (t table) setDefaults(v reflect.Value, path string) {
	for i := range v.NumField() {
		at := attribute.Join(path, attribute.Name(v.Type().Field(i)))
		if d := t(at).Default; d != nil {
			v.Field(i).Set(reflect.ValueOf(d).Convert(v.Field(i).Type()))
		} else if v.Field(i).Kind() == reflect.Struct {
			t.setDefaults(v.Field(i), at)
		}
	}
}

func computed(description string, keep bool) schema.StringAttribute {
	a := schema.StringAttribute{MarkdownDescription: description, Computed: true}
	if keep {
		a.PlanModifiers = []planmodifier.String{stringplanmodifier.UseStateForUnknown()}
	}
	return a
}
