// Package ecr is the API of Elastic Container Registry of the local AWS, on top of package registry,
// which holds the images and serves them to docker.
package ecr

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"sort"

	"github.com/slipway-ecs/slipway/internal/local/registry"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
)

// Deps is what the API works with.
type Deps struct {
	Registries *registry.Registries
	Tokens     *registry.Tokens
	// Host is the host and port under which the home registry is reached: repository URIs begin with it.
	Host func() string
	// Principal is the ARN of the user or the role's session an access key belongs to; empty: of
	// nobody that is known. Nil: there are none.
	Principal func(accessKey string) string
	// ScanFindings is a file of what scans find, see scan.go; empty or missing: every scan fails.
	ScanFindings string
}

// service is the API in one registry.
type service struct {
	Deps
	Store   *registry.Store
	Account string // registry id
}

// Register adds the operations to svc.
func Register(svc *wire.Service, d Deps) {
	s := &service{Deps: d}
	handle(svc, s, "GetAuthorizationToken", (*service).token)
	s.repositories(svc)
	s.images(svc)
	s.layers(svc)
	s.lifecycle(svc)
	s.templates(svc)
	s.settings(svc)
	d.Registries.ScanOnPush(func(store *registry.Store, im *registry.Image) { s.in(store).scanPushed(im) })
}

func (s *service) in(store *registry.Store) *service {
	return &service{Deps: s.Deps, Store: store, Account: store.Account()}
}

// handle adds an operation that works in the registry the request is for: that of the registryId, or
// the caller's own, in the caller's region.
func handle[In, Out any](svc *wire.Service, s *service, op string, f func(*service, context.Context, *In) (*Out, error), opts ...wire.Option) {
	field, named := reflect.TypeFor[In]().FieldByName("RegistryId")
	wire.Handle(svc, op, func(ctx context.Context, in *In) (*Out, error) {
		caller, region := s.caller(ctx), wire.Caller(ctx).Region
		store, err := s.Registries.Of(region, caller)
		if err != nil {
			return nil, shown(err)
		}
		if named {
			if id, ok := reflect.ValueOf(in).Elem().FieldByIndex(field.Index).Interface().(*string); ok && wire.Value(id) != "" && *id != caller {
				if other := s.Registries.Known(region, *id); other != nil { // otherwise the operation says that there is none
					store = other
				}
			}
		}
		return f(s.in(store), ctx, in)
	}, opts...)
}

func (s *service) host() string { return s.Store.Host(s.Host()) }

// shown turns an error of the registry into one the client sees.
func shown(err error) error {
	var e *registry.Error
	if errors.As(err, &e) {
		return wire.Errorf(e.Code, "%s", e.Message)
	}
	return err
}

func invalid(parameter, format string) *wire.Error {
	return wire.Errorf("InvalidParameterException", "Invalid parameter at '%s' failed to satisfy constraint: '%s'", parameter, format)
}

var accountKey = regexp.MustCompile(`^[0-9]{12}$`)

// caller is the account of the caller. A caller whose access key id is 12 digits speaks as that
// account, so that sharing between accounts can be tried.
func (s *service) caller(ctx context.Context) string {
	id := wire.Caller(ctx)
	if accountKey.MatchString(id.AccessKey) {
		return id.AccessKey
	}
	if id.Account != "" {
		return id.Account
	}
	return s.Registries.Home().Account()
}

// who is the caller as policies know it.
func (s *service) who(ctx context.Context) registry.Caller {
	id := wire.Caller(ctx)
	out := registry.Caller{Account: s.caller(ctx), SourceIP: id.SourceIP}
	if s.Principal != nil && !accountKey.MatchString(id.AccessKey) {
		out.Principal = s.Principal(id.AccessKey)
	}
	return out
}

// repository finds a repository for an action of the caller.
func (s *service) repository(ctx context.Context, registryID, name *string, action string) (*registry.Repository, error) {
	caller := s.who(ctx)
	id := wire.Value(registryID)
	if id == "" {
		id = caller.Account
	}
	if id != s.Account {
		return nil, wire.Errorf("RepositoryNotFoundException", "The repository with name '%s' does not exist in the registry with id '%s'", wire.Value(name), id)
	}
	r, err := s.Store.Repository(wire.Value(name))
	if err != nil {
		return nil, shown(err)
	}
	if managing[action] && caller.Account == s.Account { // so that nobody can lock himself out
		return r, nil
	}
	if !s.Store.Allows(caller, "ecr:"+action, r) {
		arn := caller.Principal
		if arn == "" {
			arn = "arn:aws:iam::" + caller.Account + ":root"
		}
		return nil, &wire.Error{Code: "AccessDeniedException", Status: 400,
			Message: "User: " + arn + " is not authorized to perform: ecr:" + action + " on resource: " + r.ARN + " because no resource-based policy allows the ecr:" + action + " action"}
	}
	return r, nil
}

// managing are the actions on a repository's policy, which its own account can always do.
var managing = map[string]bool{"SetRepositoryPolicy": true, "GetRepositoryPolicy": true, "DeleteRepositoryPolicy": true}

func (s *service) token(ctx context.Context, _ *ecrapi.GetAuthorizationTokenInput) (*ecrapi.GetAuthorizationTokenOutput, error) {
	who := s.who(ctx)
	password, expires := s.Tokens.IssueTo(registry.Caller{Account: who.Account, Principal: who.Principal, Key: wire.Caller(ctx).AccessKey})
	return &ecrapi.GetAuthorizationTokenOutput{AuthorizationData: []ecrapi.AuthorizationData{{
		AuthorizationToken: wire.String(base64.StdEncoding.EncodeToString([]byte("AWS:" + password))),
		ExpiresAt:          wire.Timestamp(expires),
		ProxyEndpoint:      wire.String("http://" + s.host()),
	}}}, nil
}

// page cuts one page out of a list in a fixed order; key is an entry's place in it.
func page[T any](list []T, key func(T) string, max *int32, token *string, limit int) ([]T, *string, error) {
	if t := wire.Value(token); t != "" {
		after, err := base64.RawURLEncoding.DecodeString(t)
		if err != nil {
			return nil, nil, invalid("nextToken", "Invalid next token")
		}
		i := sort.Search(len(list), func(i int) bool { return key(list[i]) > string(after) })
		list = list[i:]
	}
	n := int(wire.Value(max))
	if n < 0 || n > 1000 {
		return nil, nil, invalid("maxResults", "Member must have value between 1 and 1000")
	}
	if n == 0 {
		n = limit
	}
	if len(list) <= n {
		return list, nil, nil
	}
	return list[:n], wire.String(base64.RawURLEncoding.EncodeToString([]byte(key(list[n-1])))), nil
}

func tagMap(tags []ecrapi.Tag) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		m[wire.Value(t.Key)] = wire.Value(t.Value)
	}
	return m
}

func tagList(m map[string]string) []ecrapi.Tag {
	out := []ecrapi.Tag{}
	for k, v := range m {
		out = append(out, ecrapi.Tag{Key: &k, Value: &v})
	}
	slices.SortFunc(out, func(a, b ecrapi.Tag) int {
		if *a.Key < *b.Key {
			return -1
		}
		return 1
	})
	return out
}

// stored reads a document of the registry into v; false if it is not set.
func (s *service) stored(name string, v any) bool {
	text := s.Store.Setting(name)
	return text != "" && json.Unmarshal([]byte(text), v) == nil
}

func (s *service) store(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.Store.PutSetting(name, string(text))
}
