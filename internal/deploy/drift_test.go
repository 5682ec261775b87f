package deploy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/service"
)

// everything is a target in which every attribute has a value.
func everything() Target {
	tg := target(good)
	c := &tg.Spec.Containers[0]
	c.Command, c.EntryPoint, c.CPU, c.MemoryReservation = []string{"serve"}, []string{"/app"}, 64, 32
	c.Env, c.EnvFiles, c.Secrets = map[string]string{"A": "1"}, []string{"arn:aws:s3:::b/a.env"}, map[string]string{"S": "ssm:/s"}
	c.SecretVersions, c.User, c.StopTimeout = map[string]string{"S": "1"}, "1000", 20*time.Second
	c.HealthCheck = &service.ContainerHealth{Command: []string{"CMD", "/ok"}, Interval: 10 * time.Second, Timeout: 5 * time.Second, Retries: 3}
	c.DependsOn = []service.Dependency{{Container: "proxy", Condition: "START"}}
	c.Mounts, c.Ulimits = []service.Mount{{Volume: "data", Path: "/data"}}, []service.Ulimit{{Name: "nofile", Soft: 1024, Hard: 1024}}
	tg.Spec.Containers = append(tg.Spec.Containers, service.Container{Name: "proxy", Image: "reg/proxy@sha256:ccc", Memory: 32})
	tg.Spec.Volumes = []service.Volume{{Name: "data", EBS: &service.EBSVolume{SizeGiB: 10, Type: "gp3"}}}
	tg.Spec.CPU, tg.Spec.Memory, tg.Spec.Architecture, tg.Spec.NetworkMode = 256, 512, "X86_64", "awsvpc"
	tg.Spec.Subnets, tg.Spec.SecurityGroups = []string{"subnet-1"}, []string{"sg-1"}
	tg.Spec.Logs = service.Logs{Driver: "awsfirelens", Retention: 30, Options: map[string]string{"Name": "es"}, Secrets: map[string]string{"P": "ssm:/p"},
		Router: &service.LogRouter{Image: "reg/fluent@sha256:ddd", Type: "fluentbit", CPU: 32, Memory: 64}}
	tg.Spec.Placement = service.Placement{Strategies: []service.PlacementStrategy{{Type: "spread", Field: "instanceId"}}, Constraints: []service.PlacementConstraint{{Type: "distinctInstance"}}}
	tg.Spec.TaskRole.Statements = []service.Statement{{Effect: "Allow", Actions: []string{"s3:GetObject"}, Resources: []string{"*"}}}
	tg.Spec.Alarms = []service.Alarm{{Name: "churn", Metric: "task-churn", Threshold: 3, Periods: 1, Period: 5 * time.Minute, Notify: []string{"arn:aws:sns:us-east-1:000000000000:t"}}}
	tg.Spec.Deployment.RollbackOnAlarms = []string{"churn"}
	tg.Spec.Discovery = &service.Discovery{Kind: "cloudmap", Namespace: "shop.local", Record: "A", TTL: 10 * time.Second}
	tg.Spec.Tags = map[string]string{"cost-center": "42"}
	return tg
}

// exempt are fields that a plan does not name, each with why.
var exempt = map[string]string{
	"Service.Ref": "what it is found by", "Service.ARN": "AWS gives it", "Service.ClusterARN": "AWS gives it", "Service.Status": "how it is, not what was asked",
	"Service.Running": "how it is", "Service.Pending": "how it is", "Service.CurrentDeployment": "how it is", "Service.Rollouts": "how it is", "Service.Events": "how it is", "Service.CreatedAt": "AWS gives it",
	"Service.Connect.PortName": "", "TaskDefinition.Family": "what it is found by",
	"Service.BakeTime": "ECS has none for ROLLING", "Service.StepPercent": "ECS has none for ROLLING", "Service.StepBake": "ECS has none for ROLLING",
	"TargetGroup.Name": "what it is found by", "TargetGroup.ARN": "AWS gives it", "TargetGroup.LoadBalancers": "AWS gives it",
	"TargetGroup.VPC": "cannot be changed; part of the name", "TargetGroup.Protocol": "cannot be changed; part of the name", "TargetGroup.ProtocolVersion": "cannot be changed; part of the name",
	"TargetGroup.TargetType": "cannot be changed; part of the name", "TargetGroup.Port": "cannot be changed; each target brings its own",
	"Rule.ARN": "AWS gives it", "Rule.Owner": "is of its tags", "Rule.Standby": "of shifted traffic; ECS moves it", "Rule.Listener": "cannot be changed",
	"Role.Name": "what it is found by", "Role.ARN": "AWS gives it", "LogGroup.Name": "what it is found by",
	"Alarm.Name": "what it is found by", "Alarm.Ref": "part of the name", "Alarm.LoadBalancer": "what Metric is read from: a changed one reads as another metric",
	"Alarm.TargetGroup": "what Metric is read from: a changed one reads as another metric", "Alarm.EventRule": "what Metric is read from: a changed one reads as another metric",
	"Alarm.Tags":     "CloudWatch lists alarms without them",
	"EventRule.Name": "what it is found by", "EventRule.Description": "text for people",
	"Registry.ARN": "AWS gives it", "Registry.Namespace": "cannot be changed", "Registry.Name": "cannot be changed", "Registry.Record": "cannot be changed", "Registry.Owner": "what it is found by",
	"ServiceScaling.Label": "follows from the target group",
}

// changed is another value of the same type.
func changed(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	out.Set(v)
	switch v.Kind() {
	case reflect.String:
		text := v.String()
		switch {
		case strings.HasPrefix(text, "{"): // a policy or a pattern
			text = `{"Other":"` + fmt.Sprint(len(text)) + `"}`
		case text == "EC2":
			text = "FARGATE"
		default:
			text += "-other"
		}
		out.SetString(text)
	case reflect.Int, reflect.Int64:
		out.SetInt(v.Int() + int64(time.Minute))
	case reflect.Float64:
		out.SetFloat(v.Float() + 1)
	case reflect.Bool:
		out.SetBool(!v.Bool())
	case reflect.Pointer:
		p := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			p.Elem().Set(v.Elem())
		}
		p.Elem().Set(changed(p.Elem()))
		out.Set(p)
	case reflect.Struct:
		for i := range v.NumField() {
			out.Field(i).Set(changed(v.Field(i)))
		}
	case reflect.Slice:
		out = reflect.MakeSlice(v.Type(), 0, v.Len())
		for i := range v.Len() {
			out = reflect.Append(out, changed(v.Index(i)))
		}
		if v.Len() == 0 {
			out = reflect.Append(out, changed(reflect.Zero(v.Type().Elem())))
		}
	case reflect.Map:
		out.Set(reflect.MakeMap(v.Type()))
		for _, k := range v.MapKeys() {
			out.SetMapIndex(k, changed(v.MapIndex(k)))
		}
		if v.Len() == 0 {
			out.SetMapIndex(reflect.ValueOf("other"), changed(reflect.Zero(v.Type().Elem())))
		}
	}
	return out
}

// Whatever is changed behind Slipway's back, attribute by attribute of everything a service is made of,
// is named by the plan that drift shows. The attributes are those of the records, found by reflection: a
// new one fails here until the plan compares it or it is exempt with a reason.
func TestDriftOfEveryAttributeIsNamed(t *testing.T) {
	// kept returns the record as the world has it; the names of its fields in plans are those of the
	// fields unless said otherwise.
	type record struct {
		name, resource string
		kept           func(w *world) reflect.Value
		called         map[string]string
	}
	at := func(p any) reflect.Value { return reflect.ValueOf(p).Elem() }
	role := func(kind string) func(w *world) reflect.Value {
		return func(w *world) reflect.Value { r := w.roles[target(good).Ref().roleName(kind)]; return at(&r) }
	}
	records := []record{
		{"Service", resService, func(w *world) reflect.Value { return at(w.service) }, map[string]string{"Desired": "count", "CapacityProvider": "capacity_providers", "AssignPublicIP": "assign_public_ip",
			"RollbackOnAlarms": "rollback_on_alarms", "Placement": "placement.", "Tags": "tags."}},
		{"TaskDefinition", resDefinition, func(w *world) reflect.Value { return at(&w.definitions[len(w.definitions)-1]) }, map[string]string{"Containers": "containers."}},
		{"TargetGroup", resTargetGroup, func(w *world) reflect.Value { return at(&w.groups[0]) }, map[string]string{"Health": "health_check.", "HealthProtocol": "health_check.protocol", "Deregistration": "deregistration_delay", "Tags": "tags."}},
		{"Rule", resRule, func(w *world) reflect.Value { return at(&w.rules[0]) }, map[string]string{"Tags": "tags."}},
		{"Role", resExecutionRole, role("exec"), map[string]string{"Tags": "tags."}},
		{"Role", resTaskRole, role("task"), map[string]string{"Tags": "tags."}},
		{"Role", resVolumeRole, role("volume"), map[string]string{"Tags": "tags."}},
		{"LogGroup", resLogGroup, func(w *world) reflect.Value {
			for _, g := range w.logGroups {
				return at(&g)
			}
			return reflect.Value{}
		}, map[string]string{"Tags": "tags."}},
		{"Alarm", resAlarm, func(w *world) reflect.Value { return at(&w.alarms[0]) }, nil},
		{"EventRule", resEventRule, func(w *world) reflect.Value {
			r := w.eventRules[target(good).Ref().churnRuleName()]
			return at(&r)
		}, map[string]string{"Tags": "tags."}},
		{"Registry", resRegistry, func(w *world) reflect.Value { return at(&w.registries[0]) }, map[string]string{"TTL": "ttl", "Tags": "tags."}},
		{"ServiceScaling", resScaling, func(w *world) reflect.Value { return at(w.scaling) }, map[string]string{"Scaling": ""}},
	}
	put := func(w *world, v any) {
		switch v := v.(type) {
		case Role:
			w.roles[v.Name] = v
		case LogGroup:
			w.logGroups[v.Name] = v
		case EventRule:
			w.eventRules[v.Name] = v
		}
	}
	seen := 0
	for _, r := range records {
		in(t, func(t *testing.T, w *world) {
			tg := everything()
			if r.name == "ServiceScaling" {
				tg.Spec.Scaling = &service.Scaling{Min: 1, Max: 4, Targets: []service.ScalingTarget{{Metric: "cpu", Target: 60}}, Schedules: []service.ScalingSchedule{{Name: "n", Expression: "rate(1 hour)", Timezone: "UTC", Min: 1, Max: 2}}}
			}
			mustApply(t, w, tg)
			if p, err := w.engine().Plan(t.Context(), tg); err != nil || !p.Empty() {
				t.Fatalf("%s: the plan after it is not empty: %+v, %v", r.name, p, err)
			}
			// change sets one field as somebody else would, and says whether the plan names it.
			try := func(path, want string, field func(v reflect.Value) reflect.Value) {
				t.Helper()
				if why, ok := exempt[path]; ok {
					if why == "" {
						t.Errorf("%s is exempt without a reason", path)
					}
					return
				}
				seen++
				definitions, ran := len(w.definitions), w.service.TaskDefinition
				if r.name == "TaskDefinition" { // what is registered cannot be changed: another revision, tags and all
					other := w.definitions[len(w.definitions)-1]
					other.Containers = slices.Clone(other.Containers)
					other.Revision++
					other.ARN = fmt.Sprintf("arn:task-definition/%s:%d", other.Family, other.Revision)
					w.definitions = append(w.definitions, other)
					w.service.TaskDefinition = other.ARN
				}
				v := r.kept(w)
				f := field(v)
				was := reflect.New(f.Type()).Elem()
				was.Set(f)
				f.Set(changed(f))
				put(w, v.Interface())
				p, err := w.engine().Plan(t.Context(), tg)
				f.Set(was)
				put(w, v.Interface())
				w.definitions, w.service.TaskDefinition = w.definitions[:definitions], ran
				var refused *RefusedError
				if errors.As(err, &refused) { // some things cannot be repaired in place, which is said
					return
				}
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				for _, c := range p.Changes {
					if c.Resource == r.resource && c.Action != Keep && slices.ContainsFunc(c.Fields, func(f Field) bool { return strings.HasPrefix(f.Path, want) && f.From != f.To }) {
						return
					}
				}
				t.Errorf("%s %s was changed and the plan does not name %q: %+v", r.resource, path, want, p.Changes)
			}
			typ := r.kept(w).Type()
			for i := range typ.NumField() {
				f := typ.Field(i)
				if f.Tag.Get("json") == "-" || f.Name == "Containers" {
					continue
				}
				want, ok := r.called[f.Name]
				if !ok {
					want = fieldName(f.Name)
				}
				try(r.name+"."+f.Name, want, func(v reflect.Value) reflect.Value { return v.Field(i) })
			}
			if r.name != "TaskDefinition" {
				return
			}
			container := reflect.TypeFor[service.Container]()
			for i := range container.NumField() {
				name := container.Field(i).Name
				if name == "Name" {
					continue // another container
				}
				try("Container."+name, "containers.app."+fieldName(name), func(v reflect.Value) reflect.Value { return v.FieldByName("Containers").Index(0).Field(i) })
			}
			try("Container.Name", "containers.proxy", func(v reflect.Value) reflect.Value { return v.FieldByName("Containers").Index(1).FieldByName("Name") })
		})
	}
	t.Logf("%d attributes", seen)
	if seen < 60 {
		t.Errorf("only %d attributes were tried", seen)
	}
}

// A revision that ECS rolled back to, or that Slipway registered, is not taken for somebody else's.
func TestStranger(t *testing.T) {
	for _, c := range []struct {
		tag, runs string
		want      bool
	}{
		{"", "arn:task-definition/app-qa:7", false}, {"app-qa:6", "arn:task-definition/app-qa:6", false}, {"app-qa:6", "arn:task-definition/app-qa:5", false},
		{"app-qa:9", "arn:task-definition/app-qa:10", true}, {"app-qa:6", "arn:task-definition/other:1", true},
	} {
		o := observed{service: &Service{TaskDefinition: c.runs, Tags: map[string]string{tagRevision: c.tag}}}
		if got := o.stranger(); got != c.want {
			t.Errorf("tag %q, runs %s: %v", c.tag, c.runs, got)
		}
	}
}
