package wire

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// missing lists the paths of required members that are not there.
func (p *plan) missing(in any) []string {
	if !p.checks {
		return nil
	}
	var out []string
	p.walkRequired(reflect.ValueOf(in).Elem(), "", &out)
	return out
}

func (p *plan) walkRequired(v reflect.Value, path string, out *[]string) {
	if !p.checks {
		return
	}
	switch p.kind {
	case kList:
		for i := range v.Len() {
			p.elem.walkRequired(v.Index(i), path+"."+strconv.Itoa(i+1)+".member", out)
		}
	case kMap:
		for it := v.MapRange(); it.Next(); {
			p.elem.walkRequired(it.Value(), path+"."+it.Key().String()+".member", out)
		}
	case kStruct:
		for i := range p.fields {
			f := &p.fields[i]
			fv := v.Field(f.index)
			if !f.required && !f.p.checks {
				continue
			}
			at := strings.ToLower(f.name[:1]) + f.name[1:]
			if path != "" {
				at = path + "." + at
			}
			if fv.IsZero() {
				if f.required {
					*out = append(*out, at)
				}
				continue
			}
			if f.ptr {
				fv = fv.Elem()
			}
			f.p.walkRequired(fv, at, out)
		}
	}
}

// required is how the service says that members are missing.
func (m *Model) required(paths []string) *Error {
	last := func() string {
		p := paths[0]
		p = p[strings.LastIndexByte(p, '.')+1:]
		return strings.ToUpper(p[:1]) + p[1:]
	}
	switch m.ID {
	case "ec2":
		return Errorf("MissingParameter", "The request must contain the parameter %s", last())
	case "sqs":
		return Errorf("MissingParameter", "The request must contain the parameter %s.", last())
	case "cloudwatch":
		return Errorf("MissingParameter", "The parameter %s is required.", last())
	case "sns":
		return Errorf("InvalidParameter", "Invalid parameter: %s Reason: no value for required parameter", last())
	}
	var msgs []string
	for _, p := range paths {
		msgs = append(msgs, fmt.Sprintf("Value null at '%s' failed to satisfy constraint: Member must not be null", p))
	}
	s := "s"
	if len(paths) == 1 {
		s = ""
	}
	return Errorf(m.validationCode(), "%d validation error%s detected: %s", len(paths), s, strings.Join(msgs, "; "))
}

func (m *Model) validationCode() string {
	switch m.ID {
	case "ecs", "ecr", "logs":
		return "InvalidParameterException"
	case "servicediscovery":
		return "InvalidInput"
	case "ssm", "secretsmanager", "application-autoscaling", "events", "scheduler", "service-quotas":
		return "ValidationException"
	}
	return "ValidationError"
}
