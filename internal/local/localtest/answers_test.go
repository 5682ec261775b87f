package localtest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestAnswersAreHeldAgainstTheModels: what is wrong is seen, in each protocol.
func TestAnswersAreHeldAgainstTheModels(t *testing.T) {
	if !installed.load(t) {
		t.Skip("botocore is not installed")
	}
	json := func(target string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-Amz-Target", target) }
	}
	form := func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }
	rest := func(service, method, target string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/"+service+"/aws4_request, SignedHeaders=host, Signature=0")
			r.Method = method
			r.URL, _ = url.Parse(target)
		}
	}
	for _, c := range []struct {
		what, kind, body, request string
		status                    int
		ask                       func(*http.Request)
		want                      string
	}{
		{"good", "application/x-amz-json-1.1", `{"clusterArns":["a"]}`, "{}", 200, json("AmazonEC2ContainerServiceV20141113.ListClusters"), ""},
		{"unknown member", "application/x-amz-json-1.1", `{"clusterArns":["a"],"more":1}`, "{}", 200, json("AmazonEC2ContainerServiceV20141113.ListClusters"), "ecs ListClusters: ListClusters.more is not in the model"},
		{"wrong type", "application/x-amz-json-1.1", `{"clusterArns":[1]}`, "{}", 200, json("AmazonEC2ContainerServiceV20141113.ListClusters"), "ecs ListClusters: ListClusters.clusterArns[] is json.Number, not a string"},
		{"null", "application/x-amz-json-1.1", `{"nextToken":null}`, "{}", 200, json("AmazonEC2ContainerServiceV20141113.ListClusters"), "ecs ListClusters: ListClusters.nextToken is null"},
		{"required", "application/x-amz-json-1.0", `{}`, "{}", 200, json("AmazonSQS.GetQueueUrl"), ""},
		{"enum", "application/x-amz-json-1.1", `{"service":{"schedulingStrategy":"SOMETIMES"}}`, "{}", 200, json("AmazonEC2ContainerServiceV20141113.CreateService"), `ecs CreateService: CreateService.service.schedulingStrategy is "SOMETIMES", which the model does not have`},
		{"no exception", "application/x-amz-json-1.1", `{"__type":"Cluster","message":"x"}`, "{}", 400, json("AmazonEC2ContainerServiceV20141113.CreateService"), "ecs CreateService: the error Cluster is no exception of the model"},
		{"good XML", "text/xml", `<DescribeLoadBalancersResponse><DescribeLoadBalancersResult><LoadBalancers><member><CreatedTime>2026-01-01T00:00:00Z</CreatedTime></member></LoadBalancers></DescribeLoadBalancersResult></DescribeLoadBalancersResponse>`, "Action=DescribeLoadBalancers&Version=2015-12-01", 200, form, ""},
		{"unknown in XML", "text/xml", `<DescribeLoadBalancersResponse><DescribeLoadBalancersResult><Balancers/></DescribeLoadBalancersResult></DescribeLoadBalancersResponse>`, "Action=DescribeLoadBalancers&Version=2015-12-01", 200, form, "elbv2 DescribeLoadBalancers: DescribeLoadBalancers.Balancers is not in the model"},
		{"no time", "text/xml", `<DescribeLoadBalancersResponse><DescribeLoadBalancersResult><LoadBalancers><member><CreatedTime>now</CreatedTime></member></LoadBalancers></DescribeLoadBalancersResult></DescribeLoadBalancersResponse>`, "Action=DescribeLoadBalancers&Version=2015-12-01", 200, form, `elbv2 DescribeLoadBalancers: DescribeLoadBalancers.LoadBalancers[].CreatedTime is "now", not a timestamp`},
		{"EC2", "text/xml", `<DescribeVpcsResponse><requestId>r</requestId><vpcSet><item><isDefault>yes</isDefault></item></vpcSet></DescribeVpcsResponse>`, "Action=DescribeVpcs&Version=2016-11-15", 200, form, `ec2 DescribeVpcs: DescribeVpcs.Vpcs[].IsDefault is "yes", not a boolean`},
		{"good REST", "application/json", `{"Schedules":[{"Name":"a"}]}`, "", 200, rest("scheduler", "GET", "/schedules?MaxResults=3"), ""},
		{"unknown by path", "application/json", `{"Nom":"a"}`, "", 200, rest("scheduler", "GET", "/schedules/a"), "scheduler GetSchedule: GetSchedule.Nom is not in the model"},
		{"nothing", "application/json", ``, "", 200, rest("scheduler", "POST", "/schedules/a"), "scheduler CreateSchedule: there is no body"},
		{"S3's list", "application/xml", `<ListBucketResult><Name>b</Name><Contents><Key>k</Key></Contents></ListBucketResult>`, "", 200, rest("s3", "GET", "/b?list-type=2"), ""},
		{"an object", "application/xml", `<Anything/>`, "", 200, rest("s3", "GET", "/b/k/l"), ""},
		{"by its query", "application/xml", `<VersioningConfiguration><Status>ON</Status></VersioningConfiguration>`, "", 200, rest("s3", "GET", "/b?versioning"), `s3 GetBucketVersioning: GetBucketVersioning.Status is "ON", which the model does not have`},
		{"a payload", "application/xml", `<ServerSideEncryptionConfiguration/>`, "", 200, rest("s3", "GET", "/b?encryption"), ""},
		{"an error that says nothing", "application/xml", `<Error><Code>NoSuchKey</Code></Error>`, "", 404, rest("s3", "GET", "/b/k"), "s3 GetObject: an error without code or message: <Error><Code>NoSuchKey</Code></Error>"},
	} {
		t.Run(c.what, func(t *testing.T) {
			a := &answers{models: &installed, next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.kind)
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body)) // a recorder takes everything
			})}
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(c.request))
			c.ask(r)
			w := httptest.NewRecorder()
			a.ServeHTTP(w, r)
			if w.Body.String() != c.body || w.Code != c.status {
				t.Errorf("the client got %d %s", w.Code, w.Body)
			}
			if got := strings.Join(a.verdict(), "\n"); got != c.want {
				t.Errorf("wrong: %q\nwant:  %q", got, c.want)
			}
		})
	}
}
