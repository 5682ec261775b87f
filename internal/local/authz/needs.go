package authz

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Need is one permission that a call asks for. All the needs of a call must be allowed.
type Need struct {
	Action   string              // "ecs:UpdateService"
	Resource string              // ARN; "*" if the action knows none
	Context  map[string][]string // condition keys of the service, in small letters
}

// place is where the resources of a call are.
type place struct{ partition, region, account string }

func (p place) arn(service, resource string) string {
	return "arn:" + p.partition + ":" + service + ":" + p.region + ":" + p.account + ":" + resource
}

func (p place) global(service, resource string) string {
	return "arn:" + p.partition + ":" + service + "::" + p.account + ":" + resource
}

// input reads the members of an operation's input by their names in AWS's model.
type input struct{ v reflect.Value }

func of(in any) input {
	v := reflect.ValueOf(in)
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return input{v}
}

func (in input) field(name string) reflect.Value {
	if in.v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	f := in.v.FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, name) })
	for f.IsValid() && f.Kind() == reflect.Pointer {
		f = f.Elem()
	}
	return f
}

// one is the first of the members that is there.
func (in input) one(names ...string) string {
	for _, name := range names {
		if f := in.field(name); f.IsValid() && f.Kind() == reflect.String && f.String() != "" {
			return f.String()
		}
	}
	return ""
}

// all are the strings of lists of strings.
func (in input) all(names ...string) (out []string) {
	for _, name := range names {
		if f := in.field(name); f.IsValid() && f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.String {
			for i := range f.Len() {
				out = append(out, f.Index(i).String())
			}
		}
	}
	return out
}

// in is a structure, or nothing.
func (in input) in(name string) input { return input{in.field(name)} }

func (in input) each(name string) (out []input) {
	if f := in.field(name); f.IsValid() && f.Kind() == reflect.Slice {
		for i := range f.Len() {
			if e := f.Index(i); e.Kind() == reflect.Struct {
				out = append(out, input{e})
			}
		}
	}
	return out
}

// tags are the tags a request brings, by whatever name the service has for them.
func (in input) tags() map[string]string {
	out := map[string]string{}
	add := func(list []input) {
		for _, t := range list {
			if k := t.one("Key"); k != "" {
				out[k] = t.one("Value")
			}
		}
	}
	add(in.each("Tags"))
	for _, spec := range in.each("TagSpecifications") {
		add(spec.each("Tags"))
	}
	if f := in.field("Tags"); f.IsValid() && f.Kind() == reflect.Map {
		for _, k := range f.MapKeys() {
			out[k.String()] = f.MapIndex(k).String()
		}
	}
	return out
}

// prefixes are the names of services in actions, where they are not botocore's.
var prefixes = map[string]string{"elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}

// table says what a service's calls need; other calls need the action of their name on "*".
var table = map[string]func(p place, op string, in input) []Need{
	"ecs": ecsNeeds, "ecr": ecrNeeds, "elbv2": elbNeeds, "autoscaling": groupNeeds, "application-autoscaling": scalingNeeds,
	"logs": logNeeds, "ssm": parameterNeeds, "secretsmanager": secretNeeds, "iam": iamNeeds, "sts": stsNeeds, "ec2": ec2Needs,
	"cloudwatch": alarmNeeds, "sqs": queueNeeds, "sns": topicNeeds, "events": eventNeeds, "servicediscovery": discoveryNeeds, "s3": bucketNeeds, "scheduler": scheduleNeeds,
}

// Needs says what a call asks for.
// https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
func Needs(partition, region, account, service, op string, in any) []Need {
	p, x := place{partition, region, account}, of(in)
	var needs []Need
	if f := table[service]; f != nil {
		needs = f(p, op, x)
	}
	prefix := service
	if s, ok := prefixes[service]; ok {
		prefix = s
	}
	if len(needs) == 0 {
		needs = []Need{{Resource: "*"}}
	}
	tags := x.tags()
	keys := x.all("TagKeys")
	keys = append(keys, slices.Sorted(maps.Keys(tags))...)
	for i := range needs {
		n := &needs[i]
		if n.Action == "" {
			n.Action = prefix + ":" + op
		}
		if n.Resource == "" {
			n.Resource = "*"
		}
		if n.Action == "iam:PassRole" {
			continue
		}
		ctx := map[string][]string{}
		maps.Copy(ctx, n.Context)
		for k, v := range tags {
			ctx["aws:requesttag/"+strings.ToLower(k)] = []string{v}
		}
		if len(keys) > 0 {
			ctx["aws:tagkeys"] = keys
		}
		n.Context = ctx
	}
	return needs
}

// on makes a need for each resource; none: one of everything of the kind.
func on(context map[string][]string, resources ...string) (needs []Need) {
	for _, r := range resources {
		needs = append(needs, Need{Resource: r, Context: context})
	}
	return needs
}

// pass is the permission to give roles to a service; empty names are left out.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
func pass(p place, service string, roles ...string) (needs []Need) {
	for _, r := range roles {
		if r == "" {
			continue
		}
		if !strings.HasPrefix(r, "arn:") {
			r = p.global("iam", "role/"+r)
		}
		needs = append(needs, Need{Action: "iam:PassRole", Resource: r, Context: map[string][]string{"iam:passedtoservice": {service}}})
	}
	return needs
}

func last(s, sep string) string { return s[strings.LastIndex(s, sep)+1:] }

func isARN(s string) bool { return strings.HasPrefix(s, "arn:") }
