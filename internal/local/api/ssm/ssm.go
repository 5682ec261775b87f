// Package ssm is Parameter Store of the local AWS: parameters with versions, labels and hierarchies,
// and the public parameters that name ECS-optimized images.
package ssm

import (
	"context"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ssmapi"
)

// Parameter is one parameter with all its versions. Key: name.
type Parameter struct {
	Name, ARN string
	Versions  []Version // oldest first; at most 100 are kept, as AWS keeps
	Tags      []ssmapi.Tag
}

// Version is one version of a parameter.
type Version struct {
	Number                                          int64
	Type, Value, Description, KeyID, Tier, DataType string
	AllowedPattern, ModifiedBy                      string
	Labels                                          []string
	At                                              time.Time
}

// Service is the Parameter Store.
type Service struct {
	db         *state.DB
	parameters *state.Table[Parameter]
	clock      clock.Clock
}

// Register adds the operations to svc and the tables to db.
func Register(svc *wire.Service, db *state.DB, clk clock.Clock) (*Service, error) {
	t, err := state.NewTable[Parameter](db, "ssm.parameters")
	if err != nil {
		return nil, err
	}
	s := &Service{db: db, parameters: t, clock: clk}
	wire.Handle(svc, "PutParameter", s.put)
	wire.Handle(svc, "GetParameter", s.get)
	wire.Handle(svc, "GetParameters", s.getMany)
	wire.Handle(svc, "GetParametersByPath", s.byPath)
	wire.Handle(svc, "GetParameterHistory", s.history)
	wire.Handle(svc, "DescribeParameters", s.describe)
	wire.Handle(svc, "DeleteParameter", s.delete)
	wire.Handle(svc, "DeleteParameters", s.deleteMany)
	wire.Handle(svc, "LabelParameterVersion", s.label)
	wire.Handle(svc, "UnlabelParameterVersion", s.unlabel)
	wire.Handle(svc, "AddTagsToResource", s.tag)
	wire.Handle(svc, "RemoveTagsFromResource", s.untag)
	wire.Handle(svc, "ListTagsForResource", s.tags)
	return s, nil
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9_.\-/]+$`)

const keptVersions = 100 // https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html

func (s *Service) put(ctx context.Context, in *ssmapi.PutParameterInput) (*ssmapi.PutParameterOutput, error) {
	name, value := wire.Value(in.Name), wire.Value(in.Value)
	if err := checkPut(name, value, in); err != nil {
		return nil, err
	}
	who := wire.Caller(ctx)
	var v Version
	err := s.db.Update(func(tx *state.Tx) error {
		p := Parameter{Name: name, ARN: arn(who, name), Tags: in.Tags}
		if old, ok := s.parameters.Get(tx, name); ok {
			if !wire.Value(in.Overwrite) {
				return wire.Errorf("ParameterAlreadyExists", "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.")
			}
			p = *old
		} else if wire.Value(in.Type) == "" {
			return wire.Errorf("ValidationException", "A parameter type is required when you create a parameter.")
		}
		v = Version{Number: 1, Type: wire.Value(in.Type), Value: value, Description: wire.Value(in.Description),
			KeyID: wire.Value(in.KeyId), Tier: or(wire.Value(in.Tier), "Standard"), DataType: or(wire.Value(in.DataType), "text"),
			AllowedPattern: wire.Value(in.AllowedPattern), ModifiedBy: "arn:aws:iam::" + who.Account + ":root", At: s.clock.Now()}
		if n := len(p.Versions); n > 0 {
			last := p.Versions[n-1]
			v.Number, v.Type, v.KeyID = last.Number+1, or(v.Type, last.Type), or(v.KeyID, last.KeyID)
		}
		if v.Type == "SecureString" {
			v.KeyID = or(v.KeyID, "alias/aws/ssm")
		}
		versions := append(append([]Version{}, p.Versions...), v)
		if len(versions) > keptVersions {
			versions = versions[len(versions)-keptVersions:]
		}
		p.Versions = versions
		s.parameters.Put(tx, name, &p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &ssmapi.PutParameterOutput{Version: &v.Number, Tier: &v.Tier}, nil
}

func checkPut(name, value string, in *ssmapi.PutParameterInput) error {
	limit := 4096
	if t := wire.Value(in.Tier); t == "Advanced" || t == "Intelligent-Tiering" {
		limit = 8192
	}
	switch t := wire.Value(in.Type); {
	case !validName.MatchString(name) || len(name) > 1011 || strings.Contains(name, "/") && !strings.HasPrefix(name, "/"):
		return wire.Errorf("ValidationException", "Parameter name: can't be prefixed with \"ssm\" (case-insensitive) and must use only a-zA-Z0-9_.-/; a name with a path must be fully qualified: %s", name)
	case strings.HasPrefix(name, "/aws") || strings.HasPrefix(strings.ToLower(strings.TrimPrefix(name, "/")), "ssm"):
		return wire.Errorf("AccessDeniedException", "No access to reserved parameter name: %s.", name)
	case strings.Count(name, "/") > 15:
		return wire.Errorf("HierarchyLevelLimitExceededException", "A hierarchy can have a maximum of 15 levels.")
	case t != "" && t != "String" && t != "StringList" && t != "SecureString":
		return wire.Errorf("UnsupportedParameterType", "The parameter type %s isn't supported.", t)
	case value == "":
		return wire.Errorf("ValidationException", "1 validation error detected: Value at 'value' failed to satisfy constraint: Member must have length greater than or equal to 1.")
	case len(value) > limit:
		return wire.Errorf("ValidationException", "Standard tier parameters support a maximum parameter value of %d characters.", limit)
	}
	if p := wire.Value(in.AllowedPattern); p != "" {
		re, err := regexp.Compile(p)
		if err != nil {
			return wire.Errorf("InvalidAllowedPatternException", "The request does not meet the regular expression requirement.")
		}
		if !re.MatchString(value) {
			return wire.Errorf("ParameterPatternMismatchException", "Parameter value, cannot be validated against allowedPattern: %s", p)
		}
	}
	return nil
}

// find resolves name, name:version, name:label or an ARN.
func (s *Service) find(tx *state.Tx, ref string) (*Parameter, Version, string, error) {
	if _, after, ok := strings.Cut(ref, ":parameter"); ok && strings.HasPrefix(ref, "arn:") {
		ref = after
		if _, ok := s.parameters.Get(tx, strings.TrimPrefix(strings.SplitN(ref, ":", 2)[0], "/")); ok {
			ref = strings.TrimPrefix(ref, "/")
		}
	}
	name, selector, _ := strings.Cut(ref, ":")
	if v, ok := publicParameter(name); ok && selector == "" {
		return &Parameter{Name: name, ARN: "arn:aws:ssm:us-east-1::parameter" + name}, v, "", nil
	}
	p, ok := s.parameters.Get(tx, name)
	if !ok {
		return nil, Version{}, "", wire.Errorf("ParameterNotFound", "")
	}
	if selector == "" {
		return p, p.Versions[len(p.Versions)-1], "", nil
	}
	n, err := strconv.ParseInt(selector, 10, 64)
	for _, v := range p.Versions {
		if err == nil && v.Number == n || err != nil && contains(v.Labels, selector) {
			return p, v, ":" + selector, nil
		}
	}
	return nil, Version{}, "", wire.Errorf("ParameterVersionNotFound", "Systems Manager could not find version %s of %s. Verify the version and try again.", selector, name)
}

func (s *Service) get(_ context.Context, in *ssmapi.GetParameterInput) (*ssmapi.GetParameterOutput, error) {
	out := &ssmapi.GetParameterOutput{}
	err := s.db.View(func(tx *state.Tx) error {
		p, v, sel, err := s.find(tx, wire.Value(in.Name))
		if err == nil {
			out.Parameter = wire.Ptr(apiParameter(p, v, sel, wire.Value(in.WithDecryption)))
		}
		return err
	})
	return out, err
}

func (s *Service) getMany(_ context.Context, in *ssmapi.GetParametersInput) (*ssmapi.GetParametersOutput, error) {
	if len(in.Names) > 10 {
		return nil, wire.Errorf("ValidationException", "1 validation error detected: Value at 'names' failed to satisfy constraint: Member must have length less than or equal to 10.")
	}
	out := &ssmapi.GetParametersOutput{Parameters: []ssmapi.Parameter{}, InvalidParameters: []string{}}
	err := s.db.View(func(tx *state.Tx) error {
		for _, n := range in.Names {
			p, v, sel, err := s.find(tx, n)
			if err != nil {
				out.InvalidParameters = append(out.InvalidParameters, n)
				continue
			}
			out.Parameters = append(out.Parameters, apiParameter(p, v, sel, wire.Value(in.WithDecryption)))
		}
		return nil
	})
	return out, err
}

func (s *Service) byPath(_ context.Context, in *ssmapi.GetParametersByPathInput) (*ssmapi.GetParametersByPathOutput, error) {
	path := strings.TrimSuffix(wire.Value(in.Path), "/") + "/"
	out := &ssmapi.GetParametersByPathOutput{Parameters: []ssmapi.Parameter{}}
	limit := int(or(wire.Value(in.MaxResults), 10))
	err := s.db.View(func(tx *state.Tx) error {
		for name, p := range s.parameters.From(tx, max(path, wire.Value(in.NextToken))) {
			if !strings.HasPrefix(name, path) {
				break
			}
			if !wire.Value(in.Recursive) && strings.Contains(name[len(path):], "/") {
				continue
			}
			if len(out.Parameters) == limit {
				out.NextToken = wire.Ptr(name)
				break
			}
			out.Parameters = append(out.Parameters, apiParameter(p, p.Versions[len(p.Versions)-1], "", wire.Value(in.WithDecryption)))
		}
		return nil
	})
	return out, err
}

// Value is the current or the named version's plain value, for tasks' secrets: ref is a name or an ARN.
func (s *Service) Value(ref string) (string, error) {
	var value string
	err := s.db.View(func(tx *state.Tx) error {
		_, v, _, err := s.find(tx, ref)
		value = v.Value
		return err
	})
	return value, err
}

func apiParameter(p *Parameter, v Version, selector string, decrypt bool) ssmapi.Parameter {
	value := v.Value
	if v.Type == "SecureString" && !decrypt {
		value = ciphertext(p.Name, v.Number)
	}
	out := ssmapi.Parameter{Name: &p.Name, ARN: &p.ARN, Type: wire.Ptr(v.Type), Value: &value, Version: wire.Ptr(v.Number),
		LastModifiedDate: wire.Timestamp(v.At), DataType: wire.Ptr(v.DataType)}
	if selector != "" {
		out.Selector = &selector
	}
	return out
}

// ciphertext stands for the encrypted value, which callers without decryption see on AWS: opaque,
// and telling nothing of the plain text.
func ciphertext(name string, version int64) string {
	return fmt.Sprintf("AQICAH-local-%s-%d", strings.ReplaceAll(strings.Trim(name, "/"), "/", "-"), version)
}

func arn(who wire.Identity, name string) string {
	return fmt.Sprintf("arn:aws:ssm:%s:%s:parameter/%s", who.Region, who.Account, strings.TrimPrefix(name, "/"))
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func contains(list []string, s string) bool {
	i := sort.SearchStrings(list, s)
	return i < len(list) && list[i] == s
}
