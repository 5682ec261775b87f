// Package render writes a service's Terraform root module: one file a person can read, whose
// slipway_service says in Terraform's words what slipway.yaml says.
package render

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"

	"github.com/slipway-ecs/slipway/internal/service"
	"github.com/slipway-ecs/slipway/internal/service/attribute"
)

// Source is where Terraform finds the provider.
const Source = "slipway/slipway"

// Resource is the address of the service in the module.
const Resource = "slipway_service.this"

// Options are what the module says beside the Spec.
type Options struct {
	Image   string // repository@sha256:… of the main container
	Release string // label for people: commit or tag; may be empty
	Version string // of the provider; empty = any
	Region  string // empty = that of the AWS configuration
	State   *service.State
	// StatePath is where a local state is kept; empty = terraform.tfstate beside the module.
	StatePath string
}

var digestForm = regexp.MustCompile(`^[^@\s]+@sha256:[0-9a-f]{64}$`)

// Render returns the text of main.tf.
func Render(spec service.Spec, o Options) ([]byte, error) {
	if !digestForm.MatchString(o.Image) {
		return nil, fmt.Errorf("rendering %s for %s: image %q has no digest; tags move, so only repository@sha256:… is deployed", spec.Name, spec.Environment, o.Image)
	}
	f := hclwrite.NewEmptyFile()
	body := f.Body()
	body.AppendUnstructuredTokens(hclwrite.Tokens{{Type: hclsyntax.TokenComment,
		Bytes: []byte("# Written by slipway from slipway.yaml, anew at every plan: change that file, not this one.\n\n")}})

	terraform := body.AppendNewBlock("terraform", nil).Body()
	provider := map[string]cty.Value{"source": cty.StringVal(Source)}
	if o.Version != "" {
		provider["version"] = cty.StringVal(o.Version)
	}
	terraform.AppendNewBlock("required_providers", nil).Body().SetAttributeValue("slipway", cty.ObjectVal(provider))
	terraform.AppendNewline()
	backend(terraform, o)
	body.AppendNewline()

	p := body.AppendNewBlock("provider", []string{"slipway"}).Body()
	if o.Region != "" {
		p.SetAttributeValue("region", cty.StringVal(o.Region))
	}
	body.AppendNewline()

	svc := body.AppendNewBlock("resource", strings.SplitN(Resource, ".", 2)).Body()
	svc.SetAttributeValue("image", cty.StringVal(o.Image))
	if o.Release != "" {
		svc.SetAttributeValue("release", cty.StringVal(o.Release))
	}
	v := reflect.ValueOf(spec)
	for i := range v.NumField() {
		name := attribute.Name(v.Type().Field(i))
		if attribute.IsDefault(name, v.Field(i)) {
			continue
		}
		value, err := tokens(name, v.Field(i))
		if err != nil {
			return nil, fmt.Errorf("rendering %s for %s: %s: %w", spec.Name, spec.Environment, name, err)
		}
		svc.SetAttributeRaw(name, value)
	}

	for _, out := range []string{"url", "revision", "task_definition_arn"} {
		body.AppendNewline()
		b := body.AppendNewBlock("output", []string{out}).Body()
		b.SetAttributeRaw("value", hclwrite.TokensForIdentifier(Resource+"."+out))
	}
	return hclwrite.Format(f.Bytes()), nil
}

func backend(terraform *hclwrite.Body, o Options) {
	if s := o.State; s != nil {
		b := terraform.AppendNewBlock("backend", []string{"s3"}).Body()
		b.SetAttributeValue("bucket", cty.StringVal(s.Bucket))
		b.SetAttributeValue("key", cty.StringVal(s.Key))
		if s.Region != "" {
			b.SetAttributeValue("region", cty.StringVal(s.Region))
		}
		b.SetAttributeValue("encrypt", cty.True)
		if s.KMSKey != "" {
			b.SetAttributeValue("kms_key_id", cty.StringVal(s.KMSKey))
		}
		b.SetAttributeValue("use_lockfile", cty.True)
		return
	}
	b := terraform.AppendNewBlock("backend", []string{"local"}).Body()
	if o.StatePath != "" {
		b.SetAttributeValue("path", cty.StringVal(o.StatePath))
	}
}

// tokens writes a value: scalars and lists of scalars on one line, objects on several. Attributes
// that have their default are left out.
func tokens(path string, v reflect.Value) (hclwrite.Tokens, error) {
	if v.Type() == attribute.Duration {
		s, err := attribute.Seconds(v.Interface().(time.Duration))
		return hclwrite.TokensForValue(cty.NumberIntVal(s)), err
	}
	switch v.Kind() {
	case reflect.Pointer:
		return tokens(path, v.Elem())
	case reflect.String:
		return hclwrite.TokensForValue(cty.StringVal(v.String())), nil
	case reflect.Int:
		return hclwrite.TokensForValue(cty.NumberIntVal(v.Int())), nil
	case reflect.Float64:
		return hclwrite.TokensForValue(cty.NumberFloatVal(v.Float())), nil
	case reflect.Bool:
		return hclwrite.TokensForValue(cty.BoolVal(v.Bool())), nil
	case reflect.Slice:
		var items []hclwrite.Tokens
		for i := range v.Len() {
			item, err := tokens(path, v.Index(i))
			if err != nil {
				return nil, err
			}
			items = append(items, item)
		}
		if v.Type().Elem().Kind() == reflect.Struct {
			return block(items), nil
		}
		return hclwrite.TokensForTuple(items), nil
	case reflect.Map:
		var fields []hclwrite.ObjectAttrTokens
		for _, key := range slices.Sorted(maps.Keys(keysOf(v))) {
			value, err := tokens(path, v.MapIndex(reflect.ValueOf(key)))
			if err != nil {
				return nil, err
			}
			fields = append(fields, hclwrite.ObjectAttrTokens{Name: keyTokens(key), Value: value})
		}
		return hclwrite.TokensForObject(fields), nil
	case reflect.Struct:
		var fields []hclwrite.ObjectAttrTokens
		for i := range v.NumField() {
			name := attribute.Name(v.Type().Field(i))
			at := attribute.Join(path, name)
			if attribute.IsDefault(at, v.Field(i)) && !attribute.Of(at).Required {
				continue
			}
			value, err := tokens(at, v.Field(i))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			fields = append(fields, hclwrite.ObjectAttrTokens{Name: hclwrite.TokensForIdentifier(name), Value: value})
		}
		return hclwrite.TokensForObject(fields), nil
	}
	return nil, fmt.Errorf("values of type %s have no form in Terraform", v.Type())
}

// block is a list of objects with each bracket on its own line.
func block(items []hclwrite.Tokens) hclwrite.Tokens {
	newline := &hclwrite.Token{Type: hclsyntax.TokenNewline, Bytes: []byte("\n")}
	out := hclwrite.Tokens{{Type: hclsyntax.TokenOBrack, Bytes: []byte("[")}, newline}
	for _, item := range items {
		out = append(out, item...)
		out = append(out, &hclwrite.Token{Type: hclsyntax.TokenComma, Bytes: []byte(",")}, newline)
	}
	return append(out, &hclwrite.Token{Type: hclsyntax.TokenCBrack, Bytes: []byte("]")})
}

func keyTokens(key string) hclwrite.Tokens {
	if hclsyntax.ValidIdentifier(key) {
		return hclwrite.TokensForIdentifier(key)
	}
	return hclwrite.TokensForValue(cty.StringVal(key))
}

func keysOf(m reflect.Value) map[string]bool {
	keys := map[string]bool{}
	for _, k := range m.MapKeys() {
		keys[k.String()] = true
	}
	return keys
}
