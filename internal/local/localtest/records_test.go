package localtest_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	logs "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func TestLogs(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir))
	c, ctx := logs.NewFromConfig(a.Config), t.Context()
	group, stream := aws.String("/ecs/web"), aws.String("web/app/1")
	ok[logs.CreateLogGroupOutput](t)(c.CreateLogGroup(ctx, &logs.CreateLogGroupInput{LogGroupName: group, Tags: map[string]string{"k": "v"}}))
	_, err := c.CreateLogGroup(ctx, &logs.CreateLogGroupInput{LogGroupName: group})
	refused(t, err, "ResourceAlreadyExistsException")
	_, err = c.CreateLogGroup(ctx, &logs.CreateLogGroupInput{LogGroupName: aws.String("a b")})
	refused(t, err, "InvalidParameterException")
	_, err = c.CreateLogStream(ctx, &logs.CreateLogStreamInput{LogGroupName: aws.String("none"), LogStreamName: stream})
	refused(t, err, "ResourceNotFoundException")
	ok[logs.CreateLogStreamOutput](t)(c.CreateLogStream(ctx, &logs.CreateLogStreamInput{LogGroupName: group, LogStreamName: stream}))
	ok[logs.CreateLogStreamOutput](t)(c.CreateLogStream(ctx, &logs.CreateLogStreamInput{LogGroupName: group, LogStreamName: aws.String("web/app/2")}))
	now := time.Now().UnixMilli()
	put := func(stream *string, from int64, lines ...string) {
		in := &logs.PutLogEventsInput{LogGroupName: group, LogStreamName: stream}
		for i, l := range lines {
			in.LogEvents = append(in.LogEvents, logtypes.InputLogEvent{Timestamp: aws.Int64(from + int64(2*i)), Message: aws.String(l)})
		}
		ok[logs.PutLogEventsOutput](t)(c.PutLogEvents(ctx, in))
	}
	put(stream, now, "ERROR one", "INFO two", "ERROR three")
	put(aws.String("web/app/2"), now+1, "ERROR uno", "WARN dos")
	_, err = c.PutLogEvents(ctx, &logs.PutLogEventsInput{LogGroupName: group, LogStreamName: stream, LogEvents: []logtypes.InputLogEvent{{Timestamp: aws.Int64(now + 5), Message: aws.String("x")}, {Timestamp: aws.Int64(now), Message: aws.String("y")}}})
	refused(t, err, "InvalidParameterException")

	// Forward a page at a time until the token repeats.
	var got []string
	in := &logs.GetLogEventsInput{LogGroupName: group, LogStreamName: stream, StartFromHead: aws.Bool(true), Limit: aws.Int32(2)}
	for range 10 {
		out := ok[logs.GetLogEventsOutput](t)(c.GetLogEvents(ctx, in))
		for _, e := range out.Events {
			got = append(got, *e.Message)
		}
		if str(out.NextForwardToken) == str(in.NextToken) {
			break
		}
		in.NextToken = out.NextForwardToken
	}
	same(t, "forward", strings.Join(got, ","), "ERROR one,INFO two,ERROR three")
	tail := ok[logs.GetLogEventsOutput](t)(c.GetLogEvents(ctx, &logs.GetLogEventsInput{LogGroupName: group, LogStreamName: stream, Limit: aws.Int32(1)}))
	same(t, "the last", *tail.Events[0].Message, "ERROR three")
	back := ok[logs.GetLogEventsOutput](t)(c.GetLogEvents(ctx, &logs.GetLogEventsInput{LogGroupName: group, LogStreamName: stream, Limit: aws.Int32(5), NextToken: tail.NextBackwardToken}))
	same(t, "before the last", len(back.Events), 2)

	got = nil
	pages := logs.NewFilterLogEventsPaginator(c, &logs.FilterLogEventsInput{LogGroupName: group, FilterPattern: aws.String("ERROR -three"), Limit: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			got = append(got, *e.LogStreamName+" "+*e.Message)
		}
	}
	same(t, "filtered", strings.Join(got, ","), "web/app/1 ERROR one,web/app/2 ERROR uno")
	window := ok[logs.FilterLogEventsOutput](t)(c.FilterLogEvents(ctx, &logs.FilterLogEventsInput{LogGroupName: group, StartTime: aws.Int64(now + 1), EndTime: aws.Int64(now + 3)}))
	same(t, "in a window", len(window.Events), 2)
	_, err = c.PutRetentionPolicy(ctx, &logs.PutRetentionPolicyInput{LogGroupName: group, RetentionInDays: aws.Int32(2)})
	refused(t, err, "InvalidParameterException")
	ok[logs.PutRetentionPolicyOutput](t)(c.PutRetentionPolicy(ctx, &logs.PutRetentionPolicyInput{LogGroupName: group, RetentionInDays: aws.Int32(7)}))

	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir))
	c = logs.NewFromConfig(a.Config)
	groups := ok[logs.DescribeLogGroupsOutput](t)(c.DescribeLogGroups(ctx, &logs.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/ecs")}))
	same(t, "retention after a restart", aws.ToInt32(groups.LogGroups[0].RetentionInDays), 7)
	all := ok[logs.GetLogEventsOutput](t)(c.GetLogEvents(ctx, &logs.GetLogEventsInput{LogGroupName: group, LogStreamName: stream, StartFromHead: aws.Bool(true)}))
	same(t, "events after a restart", len(all.Events), 3)
	tags := ok[logs.ListTagsForResourceOutput](t)(c.ListTagsForResource(ctx, &logs.ListTagsForResourceInput{ResourceArn: groups.LogGroups[0].LogGroupArn}))
	same(t, "tags after a restart", tags.Tags["k"], "v")
	streams := ok[logs.DescribeLogStreamsOutput](t)(c.DescribeLogStreams(ctx, &logs.DescribeLogStreamsInput{LogGroupName: group, OrderBy: "LastEventTime", Descending: aws.Bool(true)}))
	same(t, "the stream with the newest event", *streams.LogStreams[0].LogStreamName, "web/app/1")
	ok[logs.DeleteLogGroupOutput](t)(c.DeleteLogGroup(ctx, &logs.DeleteLogGroupInput{LogGroupName: group}))
	_, err = c.GetLogEvents(ctx, &logs.GetLogEventsInput{LogGroupName: group, LogStreamName: stream})
	refused(t, err, "ResourceNotFoundException")
}

func TestIdentities(t *testing.T) {
	a := localtest.Start(t)
	c, ctx := sts.NewFromConfig(a.Config), t.Context()
	me := ok[sts.GetCallerIdentityOutput](t)(c.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{}))
	same(t, "account", str(me.Account), "000000000000")
	as := ok[sts.AssumeRoleOutput](t)(c.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::000000000000:role/deploy"), RoleSessionName: aws.String("ci")}))
	contains(t, "who", *as.AssumedRoleUser.Arn, "assumed-role/deploy/ci")
	if as.Credentials.Expiration.Before(time.Now().Add(50 * time.Minute)) {
		t.Errorf("the credentials end at %v", as.Credentials.Expiration)
	}
	_, err := c.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String("not-a-role-at-all-by-arn"), RoleSessionName: aws.String("ci")})
	refused(t, err, "ValidationError")
}

const trust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
const allow = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`

func TestRoles(t *testing.T) {
	dir := t.TempDir()
	a := localtest.Start(t, localtest.Dir(dir))
	c, ctx := iam.NewFromConfig(a.Config), t.Context()
	role := aws.String("web")
	made := ok[iam.CreateRoleOutput](t)(c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: role, AssumeRolePolicyDocument: aws.String(trust), Tags: []iamtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))
	same(t, "ARN", str(made.Role.Arn), "arn:aws:iam::000000000000:role/web")
	_, err := c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: role, AssumeRolePolicyDocument: aws.String(trust)})
	refused(t, err, "EntityAlreadyExists")
	_, err = c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("bad"), AssumeRolePolicyDocument: aws.String("{")})
	refused(t, err, "MalformedPolicyDocument")
	_, err = c.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("none")})
	refused(t, err, "NoSuchEntity")
	ok[iam.PutRolePolicyOutput](t)(c.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: role, PolicyName: aws.String("inline"), PolicyDocument: aws.String(allow)}))
	inline := ok[iam.GetRolePolicyOutput](t)(c.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: role, PolicyName: aws.String("inline")}))
	doc, err := url.QueryUnescape(str(inline.PolicyDocument))
	same(t, "document", doc+fmt.Sprint(err), allow+"<nil>")
	policy := ok[iam.CreatePolicyOutput](t)(c.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("managed"), PolicyDocument: aws.String(allow)}))
	ok[iam.AttachRolePolicyOutput](t)(c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: policy.Policy.Arn}))
	ok[iam.AttachRolePolicyOutput](t)(c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: aws.String("arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy")}))
	_, err = c.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: aws.String("arn:aws:iam::000000000000:policy/none")})
	refused(t, err, "NoSuchEntity")
	_, err = c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: role})
	refused(t, err, "DeleteConflict")
	ok[iam.CreatePolicyVersionOutput](t)(c.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: policy.Policy.Arn, PolicyDocument: aws.String(allow), SetAsDefault: true}))
	_, err = c.DeletePolicyVersion(ctx, &iam.DeletePolicyVersionInput{PolicyArn: policy.Policy.Arn, VersionId: aws.String("v2")})
	refused(t, err, "DeleteConflict")
	ok[iam.CreateInstanceProfileOutput](t)(c.CreateInstanceProfile(ctx, &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("host")}))
	ok[iam.AddRoleToInstanceProfileOutput](t)(c.AddRoleToInstanceProfile(ctx, &iam.AddRoleToInstanceProfileInput{InstanceProfileName: aws.String("host"), RoleName: role}))

	a.Stop()
	a = localtest.Start(t, localtest.Dir(dir))
	c = iam.NewFromConfig(a.Config)
	got := ok[iam.GetRoleOutput](t)(c.GetRole(ctx, &iam.GetRoleInput{RoleName: role}))
	back, _ := url.QueryUnescape(str(got.Role.AssumeRolePolicyDocument))
	same(t, "trust after a restart", back, trust)
	same(t, "tags after a restart", len(got.Role.Tags), 1)
	attached := ok[iam.ListAttachedRolePoliciesOutput](t)(c.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: role}))
	same(t, "attached", len(attached.AttachedPolicies), 2)
	profile := ok[iam.GetInstanceProfileOutput](t)(c.GetInstanceProfile(ctx, &iam.GetInstanceProfileInput{InstanceProfileName: aws.String("host")}))
	same(t, "role of the profile", str(profile.InstanceProfile.Roles[0].RoleName), "web")
	if err := iam.NewRoleExistsWaiter(c).Wait(ctx, &iam.GetRoleInput{RoleName: role}, time.Minute); err != nil {
		t.Error(err)
	}
	versions := ok[iam.ListPolicyVersionsOutput](t)(c.ListPolicyVersions(ctx, &iam.ListPolicyVersionsInput{PolicyArn: policy.Policy.Arn}))
	same(t, "versions", len(versions.Versions), 2)
	_, err = c.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: policy.Policy.Arn})
	refused(t, err, "DeleteConflict")
	for i := range 3 {
		ok[iam.CreateRoleOutput](t)(c.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(fmt.Sprint("r", i)), AssumeRolePolicyDocument: aws.String(trust)}))
	}
	n := 0
	pages := iam.NewListRolesPaginator(c, &iam.ListRolesInput{MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Roles) > 2 {
			t.Errorf("a page of %d", len(page.Roles))
		}
		n += len(page.Roles)
	}
	same(t, "roles", n, 4)
}
