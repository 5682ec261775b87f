package localtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// answers holds every answer of a local AWS against the service models that AWS's own clients install: no
// member that the model does not have, none missing that it requires, each of its type; errors are the
// model's.
type answers struct {
	next   http.Handler
	models *models

	mu    sync.Mutex
	wrong map[string]bool
}

// recorded is an answer on its way to the client; what it is not to look at goes by.
type recorded struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (r *recorded) WriteHeader(status int) { r.status = status; r.ResponseWriter.WriteHeader(status) }
func (r *recorded) Write(p []byte) (int, error) {
	r.body.Write(p)
	return r.ResponseWriter.Write(p)
}

// call is what a request asks for.
type call struct {
	m  *model
	op string
}

// asked finds the operation; ok is false for what is of no service.
func (a *answers) asked(r *http.Request) (c call, ok bool) {
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		prefix, op, _ := strings.Cut(target, ".")
		if i := strings.LastIndexByte(target, '.'); i > 0 {
			prefix, op = target[:i], target[i+1:]
		}
		return call{a.models.find(func(m *model) bool { return m.Metadata.TargetPrefix == prefix }), op}, true
	}
	if rest, cut := strings.CutPrefix(r.URL.Path, "/service/"); cut {
		prefix, op, _ := strings.Cut(rest, "/operation/")
		return call{a.models.find(func(m *model) bool { return m.Metadata.TargetPrefix == prefix }), op}, true
	}
	if ct, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method == http.MethodPost && ct == "application/x-www-form-urlencoded" {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return c, false
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, err := url.ParseQuery(string(body))
		if err != nil || form.Get("Action") == "" {
			return c, false
		}
		return call{a.models.find(func(m *model) bool { // SQS's model has the names of JSON alone
			return m.id != "sqs" && m.Metadata.APIVersion == form.Get("Version") && m.Operations[form.Get("Action")].Name != ""
		}), form.Get("Action")}, true
	}
	return a.models.rest(r)
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := a.asked(r)
	if !ok || c.m == nil {
		a.next.ServeHTTP(w, r)
		return
	}
	rec := &recorded{ResponseWriter: w, status: http.StatusOK}
	a.next.ServeHTTP(rec, r)
	a.check(c, rec)
}

func (a *answers) check(c call, r *recorded) {
	defer func() {
		if p := recover(); p != nil {
			a.say(c, "the answer cannot be checked: %v", p)
		}
	}()
	if strings.HasPrefix(c.m.Metadata.Protocol, "rest-") {
		a.checkREST(c, r)
		return
	}
	op := c.m.Operations[c.op]
	kind, _, _ := mime.ParseMediaType(r.Header().Get("Content-Type"))
	var v any
	var err error
	switch {
	case kind == "text/xml":
		v, err = parseXML(r.body.Bytes())
	case kind == "application/cbor":
		err = cbor.Unmarshal(r.body.Bytes(), &v)
		v = plain(v)
	default:
		d := json.NewDecoder(&r.body)
		d.UseNumber()
		if err = d.Decode(&v); err == io.EOF {
			err = nil
		}
	}
	switch {
	case err != nil:
		a.say(c, "the answer cannot be read: %v", err)
	case r.status < 300 && kind == "text/xml" && c.m.Metadata.Protocol != "ec2":
		result := v.(*element).child(c.op + "Result")
		if result == nil && op.Output.Shape != "" {
			a.say(c, "there is no %sResult", c.op)
		} else if result != nil {
			a.xml(c, c.op, op.Output.Shape, member{}, result)
		}
	case r.status < 300 && kind == "text/xml":
		e := v.(*element)
		e.children = slices.DeleteFunc(e.children, func(x *element) bool {
			return x.name == "requestId" || x.name == "return" && len(c.m.Shapes[op.Output.Shape].Members) == 0
		})
		a.xml(c, c.op, op.Output.Shape, member{}, e)
	case r.status < 300:
		if op.Output.Shape == "" {
			if m, ok := v.(map[string]any); ok && len(m) > 0 {
				a.say(c, "an answer of an operation that has none: %v", m)
			}
			return
		}
		a.json(c, c.op, op.Output.Shape, v)
	case kind != "text/xml":
		a.failure(c, v, "")
	}
}

// failure checks an error in JSON: an exception of the model has its members. Its name is in the body, or in a
// header.
func (a *answers) failure(c call, v any, name string) {
	m, ok := v.(map[string]any)
	if name == "" {
		name, _ = m["__type"].(string)
	}
	if name = name[strings.LastIndexByte(name, '#')+1:]; !ok || name == "" {
		a.say(c, "an error without __type: %v", v)
		return
	}
	s, known := c.m.Shapes[name]
	if !known {
		return // what every service may say: throttling, access, validation, unknown operations
	}
	if !s.Exception && s.Error == nil {
		a.say(c, "the error %s is no exception of the model", name)
	}
	for k, x := range m {
		mem, ok := s.Members[k]
		switch {
		case k == "__type" || strings.EqualFold(k, "message"):
		case !ok:
			a.say(c, "%s.%s is not in the model", name, k)
		default:
			a.json(c, name+"."+k, mem.Shape, x)
		}
	}
}

func (a *answers) say(c call, format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wrong == nil {
		a.wrong = map[string]bool{}
	}
	a.wrong[c.m.id+" "+c.op+": "+fmt.Sprintf(format, args...)] = true
}

// verdict is what was wrong, once each.
func (a *answers) verdict() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.wrong))
}

func (a *answers) json(c call, path, shape string, v any) {
	s := c.m.Shapes[shape]
	if s.Document {
		return
	}
	bad := func() { a.say(c, "%s is %T, not a %s", path, v, s.Type) }
	switch s.Type {
	case "structure":
		m, ok := v.(map[string]any)
		if !ok {
			bad()
			return
		}
		for k, x := range m {
			name, mem, ok := s.named(k)
			if !ok {
				a.say(c, "%s.%s is not in the model", path, k)
				continue
			}
			_ = name
			if x == nil {
				a.say(c, "%s.%s is null", path, k)
				continue
			}
			a.json(c, path+"."+k, mem.Shape, x)
		}
		for _, k := range s.Required {
			if _, ok := m[cmp.Or(s.Members[k].LocationName, k)]; !ok && s.inBody(k) {
				a.say(c, "%s.%s is required", path, k)
			}
		}
	case "list":
		list, ok := v.([]any)
		if !ok {
			bad()
		}
		for _, x := range list {
			a.json(c, path+"[]", s.Member.Shape, x)
		}
	case "map":
		m, ok := v.(map[string]any)
		if !ok {
			bad()
		}
		for k, x := range m {
			a.enum(c, path+" key", s.Key.Shape, k)
			a.json(c, path+"{}", s.Value.Shape, x)
		}
	case "string", "blob", "character":
		if text, ok := v.(string); ok {
			a.enum(c, path, shape, text)
		} else if _, bytes := v.([]byte); !bytes || s.Type != "blob" {
			bad()
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			bad()
		}
	case "integer", "long":
		if !whole(v) {
			bad()
		}
	case "timestamp", "float", "double":
		if !number(v) && !(s.Type == "timestamp" && s.TimestampFormat == "iso8601") {
			bad()
		}
	}
}

// outside are values that AWS answers with although its own models do not have them.
var outside = map[string]string{
	// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_InternetGatewayAttachment.html
	"AttachmentStatus": "available",
	// https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html, in its example
	"PolicySourceType": "IAM Policy",
	// DeploymentLifecycleHookStage has it, and a deployment that such a hook holds is in it:
	// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-lifecycle-hooks.html
	"ServiceDeploymentLifecycleStage": "PRE_PRODUCTION_TRAFFIC_SHIFT",
}

func (a *answers) enum(c call, path, shape, text string) {
	if outside[shape] == text {
		return
	}
	if s := c.m.Shapes[shape]; len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
		a.say(c, "%s is %q, which the model does not have", path, text)
	}
}

// xml checks an element; mem is the member it is.
func (a *answers) xml(c call, path, shape string, mem member, e *element) {
	s := c.m.Shapes[shape]
	switch s.Type {
	case "structure":
		seen := map[string]bool{}
		for _, x := range e.children {
			name, mem, ok := c.m.xmlMember(s, x.name)
			if !ok {
				a.say(c, "%s.%s is not in the model", path, x.name)
				continue
			}
			seen[name] = true
			inner := c.m.Shapes[mem.Shape]
			if inner.Type == "list" && (inner.Flattened || mem.Flattened) {
				a.xml(c, path+"."+name+"[]", inner.Member.Shape, member{}, x)
				continue
			}
			a.xml(c, path+"."+name, mem.Shape, mem, x)
		}
		for _, k := range s.Required {
			inner := c.m.Shapes[s.Members[k].Shape]
			if flat := inner.Flattened || s.Members[k].Flattened; !seen[k] && !flat && s.inBody(k) {
				a.say(c, "%s.%s is required", path, k)
			}
		}
	case "list":
		item := cmp.Or(s.Member.LocationName, "member")
		for _, x := range e.children {
			if x.name != item {
				a.say(c, "%s has an item %s, not %s", path, x.name, item)
				continue
			}
			a.xml(c, path+"[]", s.Member.Shape, *s.Member, x)
		}
	case "map":
		for _, entry := range entries(e, s.Flattened || mem.Flattened) {
			k, v := entry.child(cmp.Or(s.Key.LocationName, "key")), entry.child(cmp.Or(s.Value.LocationName, "value"))
			if k == nil || v == nil {
				a.say(c, "%s has an entry without key or value", path)
				continue
			}
			a.xml(c, path+"{}", s.Value.Shape, *s.Value, v)
		}
	default:
		if len(e.children) > 0 || !fits(s, e.text) {
			a.say(c, "%s is %q, not a %s", path, e.text, s.Type)
		} else if s.Type == "string" {
			a.enum(c, path, shape, e.text)
		}
	}
}

func entries(e *element, flat bool) []*element {
	if flat {
		return []*element{e}
	}
	return e.children
}

// element is a part of an answer in XML.
type element struct {
	name, text string
	children   []*element
}

func (e *element) child(name string) *element {
	for _, x := range e.children {
		if x.name == name {
			return x
		}
	}
	return nil
}

func parseXML(data []byte) (*element, error) {
	root := &element{}
	stack := []*element{root}
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		top := stack[len(stack)-1]
		switch x := token.(type) {
		case xml.StartElement:
			e := &element{name: x.Name.Local}
			top.children = append(top.children, e)
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			top.text += string(x)
		}
	}
	if len(root.children) != 1 {
		return nil, fmt.Errorf("%d elements at the top", len(root.children))
	}
	return root.children[0], nil
}
