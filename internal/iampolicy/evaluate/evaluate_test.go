package evaluate

import (
	"errors"
	"strings"
	"testing"
)

const (
	account = "111122223333"
	ann     = "arn:aws:iam::111122223333:user/ann"
	deploy  = "arn:aws:iam::111122223333:role/deploy"
	session = "arn:aws:sts::111122223333:assumed-role/deploy/ci"
)

func read(t testing.TB, kind Kind, statements ...string) *Policy {
	t.Helper()
	p, err := Parse(`{"Version":"2012-10-17","Statement":[`+strings.Join(statements, ",")+`]}`, kind)
	if err != nil {
		t.Fatalf("%v: %s", err, statements)
	}
	return p
}

// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_action.html (NotAction, Resource, NotResource)
func TestStatements(t *testing.T) {
	const cluster = "arn:aws:ecs:us-east-1:111122223333:cluster/prod"
	for name, c := range map[string]struct {
		policy, action, resource string
		want                     Cause
	}{
		"exact":                        {`{"Effect":"Allow","Action":"ecs:ListClusters","Resource":"*"}`, "ecs:ListClusters", "*", Allowed},
		"action in any case":           {`{"Effect":"Allow","Action":"ECS:listclusters","Resource":"*"}`, "ecs:ListClusters", "*", Allowed},
		"action by star":               {`{"Effect":"Allow","Action":"ecs:List*","Resource":"*"}`, "ecs:ListClusters", "*", Allowed},
		"action by question mark":      {`{"Effect":"Allow","Action":"ecs:Lis?Clusters","Resource":"*"}`, "ecs:ListClusters", "*", Allowed},
		"all actions":                  {`{"Effect":"Allow","Action":"*","Resource":"*"}`, "ecs:ListClusters", "*", Allowed},
		"other action":                 {`{"Effect":"Allow","Action":"ecs:List","Resource":"*"}`, "ecs:ListClusters", "*", NoIdentity},
		"resource":                     {`{"Effect":"Allow","Action":"ecs:*","Resource":"` + cluster + `"}`, "ecs:UpdateCluster", cluster, Allowed},
		"resource is case-sensitive":   {`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:us-east-1:111122223333:cluster/PROD"}`, "ecs:UpdateCluster", cluster, NoIdentity},
		"resource by stars":            {`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:*:*:cluster/pr*d"}`, "ecs:UpdateCluster", cluster, Allowed},
		"an ARN is not every resource": {`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:*:*:*"}`, "ecs:ListClusters", "*", NoIdentity},
		"NotAction":                    {`{"Effect":"Allow","NotAction":"iam:*","Resource":"*"}`, "ecs:ListClusters", "*", Allowed},
		"NotAction leaves out":         {`{"Effect":"Allow","NotAction":["iam:*","ecs:*"],"Resource":"*"}`, "ecs:ListClusters", "*", NoIdentity},
		"NotResource":                  {`{"Effect":"Allow","Action":"ecs:*","NotResource":"arn:aws:ecs:*:*:cluster/qa"}`, "ecs:UpdateCluster", cluster, Allowed},
		"NotResource leaves out":       {`{"Effect":"Allow","Action":"ecs:*","NotResource":"arn:aws:ecs:*:*:cluster/prod"}`, "ecs:UpdateCluster", cluster, NoIdentity},
		"deny wins":                    {`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"ecs:Update*","Resource":"*"}`, "ecs:UpdateCluster", cluster, DeniedIdentity},
		"deny by NotAction":            {`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","NotAction":"iam:*","Resource":"*"}`, "ecs:UpdateCluster", cluster, DeniedIdentity},
		"nothing":                      {`{"Effect":"Deny","Action":"s3:*","Resource":"*"}`, "ecs:UpdateCluster", cluster, NoIdentity},
		"variable":                     {`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:us-east-1:111122223333:cluster/${aws:username}"}`, "ecs:UpdateCluster", "arn:aws:ecs:us-east-1:111122223333:cluster/ann", Allowed},
		"variable without value":       {`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:us-east-1:111122223333:cluster/${aws:PrincipalTag/team}"}`, "ecs:UpdateCluster", "arn:aws:ecs:us-east-1:111122223333:cluster/", NoIdentity},
		"variable with default":        {`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:us-east-1:111122223333:cluster/${aws:PrincipalTag/team, 'prod'}"}`, "ecs:UpdateCluster", cluster, Allowed},
		"a star that is meant":         {`{"Effect":"Allow","Action":"ecs:*","Resource":"arn:aws:ecs:us-east-1:111122223333:cluster/${*}"}`, "ecs:UpdateCluster", cluster, NoIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decide(Policies{Identity: []*Policy{read(t, Identity, c.policy)}}, Request{Principal: Principal{ARN: ann, Account: account}, Action: c.action, Resource: c.resource,
				Context: map[string][]string{"aws:username": {"ann"}}})
			if d.Cause != c.want {
				t.Errorf("%v, want %v", d.Cause, c.want)
			}
		})
	}
}

// What a variable stands for has no wildcards; without version 2012-10-17 there are no variables.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
func TestVariables(t *testing.T) {
	lookup := func(key string) (string, bool) { return "*", key == "aws:username" }
	if g, ok := expand("a/${aws:username}/*", "2012-10-17", lookup); !ok || g.match("a/b/c") || !g.match("a/*/c") {
		t.Error("a value with a star matched everything")
	}
	if g, ok := expand("${aws:username}", "2008-10-17", lookup); !ok || g.match("*") || !g.match("${aws:username}") {
		t.Error("the old language has variables")
	}
}

// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
func TestConditions(t *testing.T) {
	for _, c := range []struct {
		condition string
		context   map[string][]string
		want      bool
	}{
		{`{"StringEquals":{"a:k":"x"}}`, map[string][]string{"a:k": {"x"}}, true},
		{`{"StringEquals":{"A:K":["y","x"]}}`, map[string][]string{"a:k": {"x"}}, true},
		{`{"StringEquals":{"a:k":"X"}}`, map[string][]string{"a:k": {"x"}}, false},
		{`{"StringEquals":{"a:k":"x"}}`, nil, false},
		{`{"StringEquals":{"a:k":"*"}}`, map[string][]string{"a:k": {"x"}}, false},
		{`{"StringEqualsIfExists":{"a:k":"x"}}`, nil, true},
		{`{"StringEqualsIfExists":{"a:k":"x"}}`, map[string][]string{"a:k": {"y"}}, false},
		{`{"StringNotEquals":{"a:k":["x","y"]}}`, map[string][]string{"a:k": {"y"}}, false},
		{`{"StringNotEquals":{"a:k":["x","y"]}}`, map[string][]string{"a:k": {"z"}}, true},
		{`{"StringNotEquals":{"a:k":"x"}}`, nil, true},
		{`{"StringEqualsIgnoreCase":{"a:k":"X"}}`, map[string][]string{"a:k": {"x"}}, true},
		{`{"StringNotEqualsIgnoreCase":{"a:k":"X"}}`, map[string][]string{"a:k": {"x"}}, false},
		{`{"StringLike":{"a:k":"release-*"}}`, map[string][]string{"a:k": {"release-1"}}, true},
		{`{"StringLike":{"a:k":"${aws:username}-*"}}`, map[string][]string{"a:k": {"ann-1"}, "aws:username": {"ann"}}, true},
		{`{"StringNotLike":{"a:k":"release-*"}}`, map[string][]string{"a:k": {"release-1"}}, false},
		{`{"NumericLessThan":{"a:k":10}}`, map[string][]string{"a:k": {"9.5"}}, true},
		{`{"NumericLessThan":{"a:k":10}}`, map[string][]string{"a:k": {"10"}}, false},
		{`{"NumericLessThanEquals":{"a:k":"10"}}`, map[string][]string{"a:k": {"10"}}, true},
		{`{"NumericGreaterThanEquals":{"a:k":"10"}}`, map[string][]string{"a:k": {"9"}}, false},
		{`{"NumericNotEquals":{"a:k":10}}`, map[string][]string{"a:k": {"10.0"}}, false},
		{`{"NumericEquals":{"a:k":10}}`, map[string][]string{"a:k": {"ten"}}, false},
		{`{"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}`, map[string][]string{"aws:currenttime": {"2026-05-01T00:00:00Z"}}, true},
		{`{"DateLessThan":{"aws:EpochTime":"1700000000"}}`, map[string][]string{"aws:epochtime": {"1699999999"}}, true},
		{`{"Bool":{"aws:SecureTransport":false}}`, map[string][]string{"aws:securetransport": {"false"}}, true},
		{`{"Bool":{"aws:SecureTransport":"true"}}`, map[string][]string{"aws:securetransport": {"false"}}, false},
		{`{"BinaryEquals":{"a:k":"QmluYXJ5"}}`, map[string][]string{"a:k": {"QmluYXJ5"}}, true},
		{`{"IpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:DB8:1234:5678::/64"]}}`, map[string][]string{"aws:sourceip": {"203.0.113.7"}}, true},
		{`{"IpAddress":{"aws:SourceIp":["203.0.113.0/24","2001:DB8:1234:5678::/64"]}}`, map[string][]string{"aws:sourceip": {"2001:db8:1234:5678::1"}}, true},
		{`{"NotIpAddress":{"aws:SourceIp":"203.0.113.7"}}`, map[string][]string{"aws:sourceip": {"203.0.113.7"}}, false},
		{`{"ArnEquals":{"ecs:cluster":"arn:aws:ecs:*:111122223333:cluster/p*"}}`, map[string][]string{"ecs:cluster": {"arn:aws:ecs:us-east-1:111122223333:cluster/prod"}}, true},
		{`{"ArnLike":{"a:k":"arn:aws:sns:*:t"}}`, map[string][]string{"a:k": {"arn:aws:sns:us-east-1:111122223333:t"}}, false},
		{`{"ArnLike":{"a:k":"arn:aws:ecs:us-east-1:111122223333:*"}}`, map[string][]string{"a:k": {"arn:aws:ecs:us-east-1:111122223333:task/a:b"}}, true},
		{`{"ArnNotLike":{"a:k":"arn:aws:ecs:*:*:*"}}`, map[string][]string{"a:k": {"arn:aws:ecs:us-east-1:111122223333:task/a"}}, false},
		{`{"Null":{"a:k":"true"}}`, nil, true},
		{`{"Null":{"a:k":false}}`, nil, false},
		{`{"Null":{"a:k":"false"}}`, map[string][]string{"a:k": {"x"}}, true},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}`, map[string][]string{"aws:tagkeys": {"a", "b"}}, true},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}`, map[string][]string{"aws:tagkeys": {"a", "c"}}, false},
		{`{"ForAllValues:StringEquals":{"aws:TagKeys":["a","b"]}}`, nil, true},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":["a","b"]}}`, map[string][]string{"aws:tagkeys": {"a", "c"}}, true},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":["a","b"]}}`, map[string][]string{"aws:tagkeys": {"c"}}, false},
		{`{"ForAnyValue:StringEquals":{"aws:TagKeys":["a","b"]}}`, nil, false},
		{`{"ForAnyValue:StringEqualsIfExists":{"aws:TagKeys":["a","b"]}}`, nil, true},
		{`{"ForAllValues:StringNotLike":{"aws:TagKeys":["secret*"]}}`, map[string][]string{"aws:tagkeys": {"a", "secret1"}}, false},
		{`{"ForAnyValue:StringNotEquals":{"aws:TagKeys":["a"]}}`, map[string][]string{"aws:tagkeys": {"a", "b"}}, true},
		{`{"StringEquals":{"a:k":"x","a:l":"y"}}`, map[string][]string{"a:k": {"x"}, "a:l": {"z"}}, false},
		{`{"StringEquals":{"a:k":"x"},"Bool":{"a:b":"true"}}`, map[string][]string{"a:k": {"x"}, "a:b": {"TRUE"}}, true},
	} {
		p := read(t, Identity, `{"Effect":"Allow","Action":"*","Resource":"*","Condition":`+c.condition+`}`)
		d := Decide(Policies{Identity: []*Policy{p}}, Request{Principal: Principal{ARN: ann, Account: account}, Action: "a:b", Resource: "*", Context: c.context})
		if d.Allowed() != c.want {
			t.Errorf("%s with %v: %v, want %v", c.condition, c.context, d.Allowed(), c.want)
		}
	}
}

// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics-request-context.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html
// https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
func TestTogether(t *testing.T) {
	allow := read(t, Identity, `{"Effect":"Allow","Action":"*","Resource":"*"}`)
	deny := read(t, Identity, `{"Effect":"Deny","Action":"ecr:*","Resource":"*"}`)
	other := read(t, Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`)
	names := func(principal string) *Policy {
		return read(t, Attached, `{"Effect":"Allow","Principal":`+principal+`,"Action":"ecr:BatchGetImage"}`)
	}
	user, role, root := Principal{ARN: ann, Account: account}, Principal{ARN: session, Role: deploy, Account: account}, Principal{ARN: "arn:aws:iam::111122223333:root", Account: account}
	for name, c := range map[string]struct {
		who  Principal
		p    Policies
		want Cause
	}{
		"nothing allows":                                      {user, Policies{}, NoIdentity},
		"identity allows":                                     {user, Policies{Identity: []*Policy{other, allow}}, Allowed},
		"the resource alone, in its account":                  {user, Policies{Resource: names(`{"AWS":"` + ann + `"}`)}, Allowed},
		"everyone":                                            {user, Policies{Resource: names(`"*"`)}, Allowed},
		"the resource leaves it to the account":               {user, Policies{Resource: names(`{"AWS":"` + account + `"}`)}, NoIdentity},
		"and its policies say yes":                            {user, Policies{Resource: names(`{"AWS":"arn:aws:iam::111122223333:root"}`), Identity: []*Policy{allow}}, Allowed},
		"the resource names another":                          {user, Policies{Resource: names(`{"AWS":"444455556666"}`)}, NoIdentity},
		"another account's, identity alone":                   {user, Policies{Owner: "444455556666", Identity: []*Policy{allow}}, NoResource},
		"another account's, resource alone":                   {user, Policies{Owner: "444455556666", Resource: names(`{"AWS":"` + ann + `"}`)}, NoIdentity},
		"another account's, both":                             {user, Policies{Owner: "444455556666", Identity: []*Policy{allow}, Resource: names(`{"AWS":"` + account + `"}`)}, Allowed},
		"boundary":                                            {user, Policies{Identity: []*Policy{allow}, Boundary: other}, NoBoundary},
		"boundary denies":                                     {user, Policies{Identity: []*Policy{allow}, Boundary: deny}, DeniedBoundary},
		"both allow":                                          {user, Policies{Identity: []*Policy{allow}, Boundary: allow}, Allowed},
		"a boundary does not allow":                           {user, Policies{Boundary: allow}, NoIdentity},
		"the user is named: the boundary's silence is passed": {user, Policies{Boundary: other, Resource: names(`{"AWS":"` + ann + `"}`)}, Allowed},
		"the role is named: it is not":                        {role, Policies{Boundary: other, Resource: names(`{"AWS":"` + deploy + `"}`)}, NoBoundary},
		"the session is named: it is":                         {role, Policies{Session: []*Policy{other}, Resource: names(`{"AWS":"` + session + `"}`)}, Allowed},
		"session policy":                                      {role, Policies{Identity: []*Policy{allow}, Session: []*Policy{other}}, NoSession},
		"session policy denies":                               {role, Policies{Identity: []*Policy{allow}, Session: []*Policy{allow, deny}}, DeniedSession},
		"resource denies":                                     {user, Policies{Identity: []*Policy{allow}, Resource: read(t, Attached, `{"Effect":"Deny","Principal":"*","Action":"ecr:*"}`)}, DeniedResource},
		"all but one are denied":                              {user, Policies{Identity: []*Policy{allow}, Resource: read(t, Attached, `{"Effect":"Deny","NotPrincipal":{"AWS":"`+ann+`"},"Action":"ecr:*"}`)}, Allowed},
		"and this is not the one":                             {role, Policies{Identity: []*Policy{allow}, Resource: read(t, Attached, `{"Effect":"Deny","NotPrincipal":{"AWS":"`+ann+`"},"Action":"ecr:*"}`)}, DeniedResource},
		"root":                                                {root, Policies{}, Allowed},
		"root of another account":                             {root, Policies{Owner: "444455556666"}, NoResource},
		"a service":                                           {Principal{Service: "ecs-tasks.amazonaws.com"}, Policies{Resource: names(`{"Service":"ecs-tasks.amazonaws.com"}`), Required: true}, Allowed},
		"another service":                                     {Principal{Service: "ec2.amazonaws.com"}, Policies{Resource: names(`{"Service":"ecs-tasks.amazonaws.com"}`), Required: true}, NoResource},
		"a role that trusts nobody here":                      {user, Policies{Required: true, Identity: []*Policy{allow}, Resource: names(`{"AWS":"444455556666"}`)}, NoResource},
	} {
		t.Run(name, func(t *testing.T) {
			if d := Decide(c.p, Request{Principal: c.who, Action: "ecr:BatchGetImage", Resource: "arn:aws:ecr:us-east-1:111122223333:repository/app"}); d.Cause != c.want {
				t.Errorf("%v, want %v", d.Cause, c.want)
			}
		})
	}
}

// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html
func TestReason(t *testing.T) {
	for cause, want := range map[Cause]string{
		Allowed: "", NoIdentity: "because no identity-based policy allows the ecs:X action", NoSession: "because no session policy allows the ecs:X action",
		NoBoundary: "because no permissions boundary allows the ecs:X action", NoResource: "because no resource-based policy allows the ecs:X action",
		DeniedIdentity: "with an explicit deny in an identity-based policy", DeniedBoundary: "with an explicit deny in a permissions boundary",
		DeniedResource: "with an explicit deny in a resource-based policy", DeniedSession: "with an explicit deny in a session policy",
	} {
		if got := (Decision{Cause: cause}).Reason("ecs:X"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_policies.html
func TestMalformed(t *testing.T) {
	one := func(s string) string { return `{"Version":"2012-10-17","Statement":[` + s + `]}` }
	for doc, want := range map[string]string{
		``:                              "Syntax errors in policy.",
		`[]`:                            "Syntax errors in policy.",
		`{}`:                            "Syntax errors in policy.",
		one(`{}`):                       "Syntax errors in policy.",
		one(`{"Effect":"Allow"}`) + `x`: "Syntax errors in policy.",
		`{"Version":"2013-01-01","Statement":[]}`:                                                                                   "Syntax errors in policy.",
		one(`{"Effect":"allow","Action":"a:b","Resource":"*"}`):                                                                     "Syntax errors in policy.",
		one(`{"Effect":"Allow","Effect":"Deny","Action":"a:b","Resource":"*"}`):                                                     "Syntax errors in policy.",
		one(`{"Effect":"Allow","Action":"a:b","NotAction":"a:c","Resource":"*"}`):                                                   "Syntax errors in policy.",
		one(`{"Effect":"Allow","Action":"a:b","Resource":"*","Resources":"*"}`):                                                     "Syntax errors in policy.",
		one(`{"Effect":"Allow","Action":3,"Resource":"*"}`):                                                                         "Syntax errors in policy.",
		one(`{"Effect":"Allow","Resource":"*"}`):                                                                                    "Policy statement must contain actions.",
		one(`{"Effect":"Allow","Action":"a:b"}`):                                                                                    "Policy statement must contain resources.",
		one(`{"Effect":"Allow","Action":"list","Resource":"*"}`):                                                                    "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
		one(`{"Effect":"Allow","Action":"a:b:c","Resource":"*"}`):                                                                   "Actions/Condition can contain only one colon.",
		one(`{"Effect":"Allow","Action":"a b:c","Resource":"*"}`):                                                                   "Vendor a b is not valid",
		one(`{"Effect":"Allow","Action":"a:b","Resource":"bucket"}`):                                                                `Resource bucket must be in ARN format or "*".`,
		one(`{"Effect":"Allow","Action":"a:b","Resource":"*","Principal":"*"}`):                                                     "Policy document should not specify a principal.",
		one(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringIs":{"a:k":"x"}}}`):                                "Invalid Condition type : StringIs.",
		one(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"StringEquals":{"k":"x"}}}`):                              "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
		one(`{"Effect":"Allow","Action":"a:b","Resource":"*","Condition":{"NumericEquals":{"a:k":"x"}}}`):                           "Syntax errors in policy.",
		one(`{"Sid":"a b","Effect":"Allow","Action":"a:b","Resource":"*"}`):                                                         "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*",
		one(`{"Sid":"a","Effect":"Allow","Action":"a:b","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"a:b","Resource":"*"}`): "Statement IDs (SID) in a single policy must be unique.",
	} {
		_, err := Parse(doc, Identity)
		var m *Malformed
		if !errors.As(err, &m) || m.Message != want {
			t.Errorf("%s: %v, want %s", doc, err, want)
		}
	}
	for doc, want := range map[string]string{
		one(`{"Effect":"Allow","Action":"sts:AssumeRole"}`):                                                   "Missing required field Principal",
		one(`{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}`):                    "Has prohibited field Resource",
		one(`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}`):                                     "AssumeRole policy may only specify STS AssumeRole actions.",
		one(`{"Effect":"Allow","Principal":{"AWS":"nobody"},"Action":"sts:AssumeRole"}`):                      `Invalid principal in policy: "AWS":"nobody"`,
		one(`{"Effect":"Allow","Principal":"all","Action":"sts:AssumeRole"}`):                                 "Invalid principal in policy.",
		one(`{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}`): "",
	} {
		_, err := Parse(doc, Trust)
		if got := ""; err != nil {
			if got = err.Error(); got != want {
				t.Errorf("%s: %q, want %q", doc, got, want)
			}
		} else if want != "" {
			t.Errorf("%s is taken, want %q", doc, want)
		}
	}
}

func TestPositions(t *testing.T) {
	doc := "{\"Version\":\"2012-10-17\",\n \"Statement\":[\n  {\"Effect\":\"Allow\",\"Action\":\"a:b\",\"Resource\":\"*\"},\n  {\"Effect\":\"Deny\",\"Action\":\"a:c\",\"Resource\":\"arn:aws:s3:::${aws:username}*\",\"Condition\":{\"Null\":{\"aws:TagKeys\":true}}}\n ]}"
	p, err := Parse(doc, Identity)
	if err != nil {
		t.Fatal(err)
	}
	if st := p.Statements[1]; !strings.HasPrefix(doc[st.Start:st.End], `{"Effect":"Deny"`) || !strings.HasSuffix(doc[st.Start:st.End], "}}}") {
		t.Errorf("the second statement is %q", doc[st.Start:st.End])
	}
	if line, column := Position(doc, p.Statements[1].Start); line != 4 || column != 3 {
		t.Errorf("it begins at %d:%d", line, column)
	}
	if got := strings.Join(Keys(p), " "); got != "aws:TagKeys aws:username" {
		t.Errorf("keys %q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"Version":"2012-10-17","Statement":{"Sid":"A","Effect":"Allow","Action":["ecs:*"],"Resource":"arn:aws:ecs:*:${aws:username, 'x'}:?","Condition":{"ForAllValues:StringLikeIfExists":{"aws:TagKeys":["a",1,true]}}}}`)
	f.Add(`{"Statement":[{"Effect":"Deny","NotPrincipal":{"AWS":["111122223333","*"],"Service":"a"},"NotAction":"*","NotResource":["*"],"Condition":{"IpAddress":{"aws:SourceIp":"::/0"}}}]}`)
	f.Fuzz(func(t *testing.T, doc string) {
		for _, kind := range []Kind{Identity, Resource, Attached, Trust} {
			p, err := Parse(doc, kind)
			var m *Malformed
			if err != nil {
				if !errors.As(err, &m) || m.Message == "" {
					t.Fatalf("%v has no message of IAM", err)
				}
				continue
			}
			for _, st := range p.Statements {
				if st.Start < 0 || st.Start >= st.End || st.End > len(doc) || doc[st.Start] != '{' || doc[st.End-1] != '}' {
					t.Fatalf("a statement at %d–%d of %q", st.Start, st.End, doc)
				}
			}
			Keys(p)
			r := Request{Principal: Principal{ARN: ann, Account: account}, Action: "ecs:UpdateService", Resource: "arn:aws:ecs:us-east-1:111122223333:service/a/b",
				Context: map[string][]string{"aws:tagkeys": {"a"}, "aws:username": {"ann"}, "aws:sourceip": {"10.0.0.1"}}}
			alone := Decide(Policies{Identity: []*Policy{p}, Resource: p}, r)
			// An explicit deny is never undone by allowing more.
			more := read(t, Identity, `{"Effect":"Allow","Action":"*","Resource":"*"}`)
			if both := Decide(Policies{Identity: []*Policy{p, more}, Resource: p}, r); alone.Denied() != both.Denied() || !both.Denied() && !both.Allowed() {
				t.Errorf("%v alone, %v with all allowed", alone.Cause, both.Cause)
			}
		}
	})
}
