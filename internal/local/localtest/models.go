package localtest

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// model is a service-2.json of botocore.
type model struct {
	id         string
	Metadata   struct{ APIVersion, Protocol, TargetPrefix, SigningName, EndpointPrefix string }
	Operations map[string]struct {
		Name          string
		HTTP          struct{ Method, RequestURI string }
		Input, Output struct{ Shape string }
	}
	Shapes map[string]shape
}

type shape struct {
	Type               string
	Members            map[string]member
	Required           []string
	Enum               []string
	Member, Key, Value *member
	Flattened          bool
	Exception          bool
	Document           bool
	Error              *struct{ Code string }
	TimestampFormat    string
	Payload            string // the member that is the body
}

type member struct {
	Shape, LocationName string
	Location            string // header, querystring, …; empty: the body
	Flattened           bool
}

// named is the member that goes by a name in JSON.
func (s *shape) named(key string) (string, member, bool) {
	if m, ok := s.Members[key]; ok {
		return key, m, true
	}
	for name, m := range s.Members {
		if m.LocationName == key {
			return name, m, true
		}
	}
	return "", member{}, false
}

// xmlMember is the member that goes by a name in XML.
func (m *model) xmlMember(s shape, tag string) (string, member, bool) {
	for name, mem := range s.Members {
		inner := m.Shapes[mem.Shape]
		if inner.Type == "list" && (inner.Flattened || mem.Flattened) && inner.Member.LocationName == tag {
			return name, mem, true
		}
		if mem.LocationName == tag || mem.LocationName == "" && name == tag {
			return name, mem, true
		}
	}
	return "", member{}, false
}

// models are those of the services that the local AWS has, read when first needed.
type models struct {
	once sync.Once
	list []*model
	err  error
}

// installed are the models of this process's tests.
var installed models

// services are botocore's names of what is checked.
var services = []string{"ecs", "ecr", "elbv2", "logs", "ssm", "secretsmanager", "sts", "iam", "ec2", "autoscaling",
	"application-autoscaling", "cloudwatch", "events", "sns", "sqs", "servicediscovery", "scheduler", "s3"}

func (m *models) find(match func(*model) bool) *model {
	for _, x := range m.list {
		if match(x) {
			return x
		}
	}
	return nil
}

// load reads the models of the installed botocore, or our copy of newer ones where it is older than what
// this AWS is made from: it would not know all members. It reports whether botocore is installed.
func (m *models) load(t testing.TB) bool {
	m.once.Do(func() {
		out, err := exec.Command("python3", "-c", "import botocore, os; print(botocore.__version__, os.path.dirname(botocore.__file__))").Output()
		version, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
		if err != nil || dir == "" {
			m.err = errors.New("botocore is not installed")
			return
		}
		_, here, _, _ := runtime.Caller(0)
		own := filepath.Join(filepath.Dir(here), "..", "wire", "model")
		for _, id := range services {
			x, err := m.read(id, dir, version, own)
			if err != nil {
				m.err = fmt.Errorf("reading the model of %s: %w", id, err)
				return
			}
			x.id = id
			m.list = append(m.list, x)
		}
	})
	if m.err != nil && len(m.list) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal(m.err)
		}
		return false
	}
	if m.err != nil {
		t.Fatal(m.err)
	}
	return true
}

func (m *models) read(id, dir, version, own string) (*model, error) {
	data, err := os.ReadFile(filepath.Join(own, id+".json"))
	if err != nil {
		return nil, err
	}
	var ours struct{ Source string }
	if err := json.Unmarshal(data, &ours); err != nil {
		return nil, err
	}
	x := &model{}
	if older(version, strings.TrimPrefix(ours.Source, "botocore ")) {
		if err := json.Unmarshal(data, x); err != nil {
			return nil, err
		}
		if len(x.Shapes) == 0 { // S3's: a library answers, whose shapes are not ours
			return x, m.readInstalled(x, id, dir)
		}
		for name, op := range x.Operations { // the copy leaves the name out
			op.Name = name
			x.Operations[name] = op
		}
		return x, nil
	}
	return x, m.readInstalled(x, id, dir)
}

func (m *models) readInstalled(x *model, id, dir string) error {
	*x = model{}
	paths, err := filepath.Glob(filepath.Join(dir, "data", id, "*", "service-2.json*"))
	if err != nil || len(paths) == 0 {
		return errors.Join(err, fs.ErrNotExist)
	}
	f, err := os.Open(slices.Max(paths))
	if err != nil {
		return err
	}
	defer f.Close()
	var in io.Reader = f
	if strings.HasSuffix(f.Name(), ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			return err
		}
		in = z
	}
	return json.NewDecoder(in).Decode(x)
}

func older(a, b string) bool {
	numbers := func(s string) (out []int) {
		for part := range strings.SplitSeq(s, ".") {
			n, _ := strconv.Atoi(part) // what is no number comes first
			out = append(out, n)
		}
		return out
	}
	return slices.Compare(numbers(a), numbers(b)) < 0
}

// plain makes what CBOR gives what JSON would.
func plain(v any) any {
	switch x := v.(type) {
	case map[any]any:
		m := map[string]any{}
		for k, v := range x {
			m[fmt.Sprint(k)] = plain(v)
		}
		return m
	case []any:
		for i := range x {
			x[i] = plain(x[i])
		}
	case cbor.Tag:
		return plain(x.Content)
	}
	return v
}

func whole(v any) bool {
	switch x := v.(type) {
	case json.Number:
		_, err := x.Int64()
		return err == nil
	case int64, uint64:
		return true
	}
	return false
}

func number(v any) bool {
	switch x := v.(type) {
	case string:
		return x == "NaN" || x == "Infinity" || x == "-Infinity"
	case json.Number, int64, uint64, float64, float32, time.Time:
		return true
	}
	return false
}

// fits reports whether a text in XML is of a type.
func fits(s shape, text string) (ok bool) {
	var err error
	switch s.Type {
	case "boolean":
		return text == "true" || text == "false"
	case "integer", "long":
		_, err = strconv.ParseInt(text, 10, 64)
	case "float", "double":
		_, err = strconv.ParseFloat(text, 64)
	case "timestamp":
		_, err = time.Parse(time.RFC3339, text)
	}
	return err == nil
}
