// Package authz holds the calls to the local AWS against the policies of its IAM: who calls, which actions
// on which resources the call asks for, and whether they are allowed.
package authz

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/iampolicy/evaluate"
	"github.com/slipway-ecs/slipway/internal/local/api/iam"
	"github.com/slipway-ecs/slipway/internal/local/api/sts"
	"github.com/slipway-ecs/slipway/internal/local/clock"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecrapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// Enforcer decides calls. Use its Middleware.
type Enforcer struct {
	IAM     *iam.Service
	STS     *sts.Service
	Clock   clock.Clock
	Account string
	Service func(id string) *wire.Service // for the policies and tags of resources
	// BucketPolicy is the policy of a bucket; empty if it has none.
	BucketPolicy func(bucket string) string
	// GroupOf is the name of the Auto Scaling group an instance is in; empty if it is in none.
	GroupOf func(instance string) string
	// Seen is told of every decision; nil: nobody.
	Seen func(evaluate.Request, evaluate.Decision)
}

// Root is a key nobody made: it is the account itself, and is allowed everything in it.
func (e *Enforcer) root(id wire.Identity) iam.Caller {
	arn := "arn:" + id.Partition + ":iam::" + id.Account + ":root"
	return iam.Caller{Principal: evaluate.Principal{ARN: arn, Account: id.Account},
		Context: map[string][]string{"aws:principaltype": {"Account"}, "aws:principalarn": {arn}, "aws:principalaccount": {id.Account}, "aws:userid": {id.Account}}}
}

// Caller is who signed a request.
func (e *Enforcer) Caller(id wire.Identity) (iam.Caller, error) {
	if c, ok, err := e.IAM.ByKey(id.AccessKey); ok || err != nil {
		return c, err
	}
	ses, ok := e.STS.Session(id.AccessKey)
	if !ok {
		return e.root(id), nil
	}
	if !ses.Expires.After(e.Clock.Now()) {
		return iam.Caller{}, &wire.Error{Code: "ExpiredTokenException", Message: "The security token included in the request is expired"}
	}
	return e.of(ses, id)
}

// of is who a session is of.
func (e *Enforcer) of(ses sts.Session, id wire.Identity) (iam.Caller, error) {
	if ses.RoleARN == "" {
		id.AccessKey = ses.Parent
		if c, ok, err := e.IAM.ByKey(ses.Parent); ok || err != nil {
			return c, err
		}
		return e.root(id), nil
	}
	var session []*evaluate.Policy
	for _, doc := range ses.Policies {
		p, err := evaluate.Parse(doc, evaluate.Identity)
		if err != nil {
			return iam.Caller{}, fmt.Errorf("reading a session policy: %w", err)
		}
		session = append(session, p)
	}
	c, ok, err := e.IAM.Session(ses.RoleARN, ses.ARN, ses.RoleID+":"+ses.Name, session)
	if !ok && err == nil { // the role has been deleted: its sessions may do nothing
		c = iam.Caller{Principal: evaluate.Principal{ARN: ses.ARN, Role: ses.RoleARN, Account: ses.Account}, Context: map[string][]string{}}
	}
	return c, err
}

// free are the actions that need no permission.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
var free = map[string]bool{"sts:GetCallerIdentity": true, "sts:GetSessionToken": true, "sts:GetAccessKeyInfo": true}

// Middleware refuses what is not allowed, in AWS's words.
func (e *Enforcer) Middleware(next wire.Next) wire.Next {
	return func(ctx context.Context, c wire.Call) (any, error) {
		id := wire.Caller(ctx)
		who, err := e.Caller(id)
		if err != nil {
			return nil, err
		}
		for _, n := range Needs(id.Partition, id.Region, e.Account, c.Service, c.Operation, c.Input) {
			if free[n.Action] {
				continue
			}
			if c.Operation == "TerminateInstanceInAutoScalingGroup" && e.GroupOf != nil { // names the instance; the right is to its group
				n.Resource = strings.TrimSuffix(n.Resource, "*") + e.GroupOf(of(c.Input).one("InstanceId"))
			}
			if err := e.Allow(ctx, who, id, n); err != nil {
				return nil, denied(c.Service, err)
			}
		}
		return next(ctx, c)
	}
}

// Registry decides what somebody who has logged in to the image registry asks of it; id.AccessKey is the
// key he logged in with. A registry's token outlives the session it was given to.
// https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
func (e *Enforcer) Registry(ctx context.Context, id wire.Identity, action, resource string) error {
	if id.AccessKey == "" || id.Account != e.Account { // the local AWS itself; other accounts' rights are theirs to judge
		return nil
	}
	who, ok, err := e.IAM.ByKey(id.AccessKey)
	if !ok && err == nil {
		who = e.root(id)
		if ses, found := e.STS.Session(id.AccessKey); found {
			who, err = e.of(ses, id)
		}
	}
	if err != nil {
		return err
	}
	return e.Allow(ctx, who, id, Need{Action: action, Resource: resource})
}

// AsRole decides what a service of AWS does in a session of a role.
func (e *Enforcer) AsRole(ctx context.Context, id wire.Identity, role, session string, n Need) error {
	arn := "arn:" + id.Partition + ":sts::" + id.Account + ":assumed-role/" + last(role, "/") + "/" + session
	who, ok, err := e.IAM.Session(role, arn, session, nil)
	if err != nil {
		return err
	}
	if !ok {
		return &Refusal{"ECS was unable to assume the role '" + role + "' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role."}
	}
	return e.Allow(ctx, who, id, n)
}

// Refusal is a call that is not allowed.
type Refusal struct{ Message string }

func (r *Refusal) Error() string { return r.Message }

// Allow decides one need; the error is a *Refusal, or why it could not be decided.
func (e *Enforcer) Allow(ctx context.Context, who iam.Caller, id wire.Identity, n Need) error {
	p := who.Policies
	p.Owner = e.Account
	if err := e.resource(ctx, n, &p, &who); err != nil {
		return err
	}
	r := evaluate.Request{Principal: who.Principal, Action: n.Action, Resource: n.Resource, Context: map[string][]string{}}
	maps.Copy(r.Context, who.Context)
	now := e.Clock.Now().UTC()
	maps.Copy(r.Context, map[string][]string{"aws:currenttime": {now.Format(time.RFC3339)}, "aws:epochtime": {strconv.FormatInt(now.Unix(), 10)},
		"aws:securetransport": {"false"}, "aws:requestedregion": {id.Region}, "aws:resourceaccount": {e.Account}})
	if id.SourceIP != "" {
		r.Context["aws:sourceip"] = []string{id.SourceIP}
	}
	maps.Copy(r.Context, n.Context)
	e.tags(ctx, n.Resource, r.Context)
	d := evaluate.Decide(p, r)
	if e.Seen != nil {
		e.Seen(r, d)
	}
	if d.Allowed() {
		return nil
	}
	return &Refusal{"User: " + who.ARN + " is not authorized to perform: " + n.Action + " on resource: " + n.Resource + " " + d.Reason(n.Action)}
}

// resource finds the policy of the resource itself.
func (e *Enforcer) resource(ctx context.Context, n Need, p *evaluate.Policies, who *iam.Caller) error {
	if strings.HasPrefix(n.Action, "sts:AssumeRole") {
		trust, ok, err := e.IAM.Trust(n.Resource)
		if err != nil {
			return err
		}
		p.Required, p.Resource = true, trust
		if !ok {
			p.Resource = nil
		}
		if n.Action == "sts:AssumeRoleWithWebIdentity" && ok {
			// The token is not verified here: every provider the role trusts is believed.
			for _, st := range trust.Statements {
				if len(st.Principals.Federated) > 0 {
					who.Principal = evaluate.Principal{ARN: "anonymous", Web: st.Principals.Federated[0]}
				}
			}
		}
		return nil
	}
	if path, ok := strings.CutPrefix(n.Resource, "arn:aws:s3:::"); ok && e.BucketPolicy != nil {
		bucket, _, _ := strings.Cut(path, "/")
		if policy, err := evaluate.Parse(e.BucketPolicy(bucket), evaluate.Resource); err == nil {
			p.Resource = policy
		}
		return nil
	}
	if repository, ok := strings.CutPrefix(n.Resource, "arn:aws:ecr:"); ok && strings.Contains(repository, ":repository/") {
		_, name, _ := strings.Cut(repository, ":repository/")
		out, err := wire.Do[ecrapi.GetRepositoryPolicyInput, ecrapi.GetRepositoryPolicyOutput](ctx, e.Service("ecr"), "GetRepositoryPolicy", &ecrapi.GetRepositoryPolicyInput{RepositoryName: &name})
		if err != nil {
			return nil // it has none, or is not there
		}
		policy, err := evaluate.Parse(wire.Value(out.PolicyText), evaluate.Attached)
		if err == nil {
			p.Resource = policy
		}
	}
	return nil
}

// tags adds aws:ResourceTag/… of load balancers' resources.
func (e *Enforcer) tags(ctx context.Context, resource string, into map[string][]string) {
	if !strings.Contains(resource, ":elasticloadbalancing:") || strings.ContainsAny(resource, "*?") {
		return
	}
	out, err := wire.Do[elbv2api.DescribeTagsInput, elbv2api.DescribeTagsOutput](ctx, e.Service("elbv2"), "DescribeTags", &elbv2api.DescribeTagsInput{ResourceArns: []string{resource}})
	if err != nil {
		return // what is not there has no tags
	}
	for _, d := range out.TagDescriptions {
		for _, t := range d.Tags {
			into["aws:resourcetag/"+strings.ToLower(wire.Value(t.Key))] = []string{wire.Value(t.Value)}
		}
	}
}

// denied is a refusal with the service's own code.
func denied(service string, err error) error {
	r, ok := err.(*Refusal)
	if !ok {
		return err
	}
	switch service {
	case "ec2":
		return &wire.Error{Code: "UnauthorizedOperation", Status: http.StatusForbidden, Message: "You are not authorized to perform this operation. " + r.Message}
	case "elbv2", "autoscaling", "iam", "sts":
		return &wire.Error{Code: "AccessDenied", Status: http.StatusForbidden, Message: r.Message}
	case "s3":
		return &wire.Error{Code: "AccessDenied", Status: http.StatusForbidden, Message: r.Message}
	case "sns":
		return &wire.Error{Code: "AuthorizationError", Status: http.StatusForbidden, Message: r.Message}
	}
	return &wire.Error{Code: "AccessDeniedException", Status: http.StatusBadRequest, Message: r.Message}
}
