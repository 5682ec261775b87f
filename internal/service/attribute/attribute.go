// Package attribute names the fields of service.Spec as Terraform sees them. The renderer that
// writes a service's root module and the provider that reads it share this table, so they cannot
// disagree about a name or a default.
//
// Durations are whole seconds, percentages whole percent, memory MiB, CPU in units of 1/1024 vCPU.
package attribute

import (
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-ecs/slipway/internal/service"
)

// Info is what is known of an attribute beside its type.
type Info struct {
	Description string
	Default     any // string, bool, int, float64 or time.Duration; nil = none
	Required    bool
	Replace     bool // a change makes a new resource
	// Provided: what is left out, the environment or the engine chooses; finding it in AWS is no drift.
	Provided bool
	OneOf    []string
}

// Name is the attribute's name of a field.
func Name(f reflect.StructField) string {
	if n, ok := names[f.Name]; ok {
		return n
	}
	if f.Name == "CapacityProvider" && f.Type.Kind() == reflect.Slice {
		return "capacity_provider_strategy"
	}
	var b strings.Builder
	runes := []rune(f.Name)
	for i, r := range runes {
		lowerBefore := i > 0 && unicode.IsLower(runes[i-1])
		wordBegins := i > 0 && i+1 < len(runes) && unicode.IsUpper(r) && unicode.IsLower(runes[i+1])
		if unicode.IsUpper(r) && (lowerBefore || wordBegins) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// names that do not follow from the field's.
var names = map[string]string{
	"Count":     "desired_count", // count is Terraform's own
	"SizeGiB":   "size_gib",
	"RootGiB":   "root_gib",
	"Lifecycle": "lifecycle_policy", // so is lifecycle
	"VPC":       "vpc_id",
	"Env":       "env",
}

// Join is the path of an attribute in another: containers.health_check.interval. Entries of lists
// have no part of their own.
func Join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Of is what is known of the attribute at a path.
func Of(path string) Info { return table[path] }

// IsDefault says whether leaving the attribute out means the same as writing this value.
func IsDefault(path string, v reflect.Value) bool {
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if !IsDefault(Join(path, Name(v.Type().Field(i))), v.Field(i)) {
				return false
			}
		}
		return true
	}
	if d := table[path].Default; d != nil {
		return reflect.DeepEqual(reflect.ValueOf(d).Convert(v.Type()).Interface(), v.Interface())
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	}
	return v.IsZero()
}

// Spec is the type whose fields are the attributes.
var Spec = reflect.TypeFor[service.Spec]()

// Duration is the type that becomes a number of seconds.
var Duration = reflect.TypeFor[time.Duration]()

// Each calls f with every path that Spec has.
func Each(f func(path string, t reflect.Type)) { each("", Spec, f) }

func each(path string, t reflect.Type, f func(string, reflect.Type)) {
	for i := range t.NumField() {
		field := t.Field(i)
		p, ft := Join(path, Name(field)), field.Type
		f(p, ft)
		for ft.Kind() == reflect.Pointer || ft.Kind() == reflect.Slice {
			ft = ft.Elem()
		}
		if ft.Kind() == reflect.Struct {
			each(p, ft, f)
		}
	}
}

// Seconds writes a duration as Terraform has it.
func Seconds(d time.Duration) (int64, error) {
	if d%time.Second != 0 {
		return 0, fmt.Errorf("%s is not a whole number of seconds", d)
	}
	return int64(d / time.Second), nil
}
