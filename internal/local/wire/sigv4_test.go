package wire_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/ec2api"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
	"github.com/slipway-ecs/slipway/internal/local/wire/stsapi"
)

func TestSignatures(t *testing.T) {
	s := wire.NewServer(wire.WithKeys(func(id string) (string, bool) { return "the+secret/of", id == "AKIDGOOD" }))
	s.Fallback("/v2/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("registry")) }))
	wire.Handle(s.Service("ecs"), "CreateCluster", func(context.Context, *ecsapi.CreateClusterInput) (*ecsapi.CreateClusterOutput, error) {
		return nil, nil
	})
	wire.Handle(s.Service("ec2"), "DescribeVpcs", func(context.Context, *ec2api.DescribeVpcsInput) (*ec2api.DescribeVpcsOutput, error) { return nil, nil })
	wire.Handle(s.Service("sts"), "GetCallerIdentity", func(context.Context, *stsapi.GetCallerIdentityInput) (*stsapi.GetCallerIdentityOutput, error) {
		return nil, nil
	})
	wire.Handle(s.Service("cloudwatch"), "PutMetricData", func(context.Context, *cloudwatchapi.PutMetricDataInput) (*cloudwatchapi.PutMetricDataOutput, error) {
		return nil, nil
	})
	cfg := start(t, s)
	calls := func(key, secret string) map[string]error {
		cfg.Credentials = credentials.NewStaticCredentialsProvider(key, secret, "")
		out := map[string]error{}
		_, out["json"] = ecs.NewFromConfig(cfg).CreateCluster(t.Context(), &ecs.CreateClusterInput{ClusterName: aws.String("x y/ü")})
		_, out["ec2"] = ec2.NewFromConfig(cfg).DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{VpcIds: []string{"a"}})
		_, out["query"] = sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
		data := make([]cwtypes.MetricDatum, 300)
		for i := range data {
			data[i].MetricName = aws.String(strings.Repeat("m", 50))
		}
		_, out["cbor"] = cloudwatch.NewFromConfig(cfg).PutMetricData(t.Context(), &cloudwatch.PutMetricDataInput{Namespace: aws.String("n"), MetricData: data})
		return out
	}
	for protocol, err := range calls("AKIDGOOD", "the+secret/of") {
		if err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
	}
	bad := calls("AKIDGOOD", "another")
	wantCode(t, bad["json"], "InvalidSignatureException", "does not match")
	wantCode(t, bad["query"], "SignatureDoesNotMatch", "does not match")
	wantCode(t, bad["ec2"], "SignatureDoesNotMatch", "does not match")
	wantCode(t, bad["cbor"], "InvalidSignatureException", "does not match")
	unknown := calls("AKIDNONE", "the+secret/of")
	wantCode(t, unknown["json"], "UnrecognizedClientException", "security token")
	wantCode(t, unknown["query"], "InvalidClientTokenId", "security token")
	wantCode(t, unknown["ec2"], "AuthFailure", "security token")

	// Presigned, as EKS and Vault send GetCallerIdentity.
	cfg.Credentials = credentials.NewStaticCredentialsProvider("AKIDGOOD", "the+secret/of", "")
	req, err := sts.NewPresignClient(sts.NewFromConfig(cfg)).PresignGetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	get := func(url string) int {
		r, err := http.NewRequestWithContext(t.Context(), req.Method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range req.SignedHeader {
			r.Header[k] = v
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if code := get(req.URL); code != 200 {
		t.Errorf("presigned: %d", code)
	}
	if code := get(strings.Replace(req.URL, "GetCallerIdentity", "AssumeRole", 1)); code != 403 {
		t.Errorf("presigned for another operation: %d, want 403", code)
	}

	w := post(t, s, map[string]string{"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.CreateCluster"}, "{}")
	if !strings.Contains(w.Body.String(), "MissingAuthenticationTokenException") {
		t.Errorf("unsigned: %d %s", w.Code, w.Body)
	}
	w = post(t, s, map[string]string{"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.CreateCluster", "X-Amz-Date": "20200101T000000Z",
		"Authorization": "AWS4-HMAC-SHA256 Credential=AKIDGOOD/20200101/us-east-1/ecs/aws4_request, SignedHeaders=host, Signature=00"}, "{}")
	if !strings.Contains(w.Body.String(), "expired") {
		t.Errorf("old: %d %s", w.Code, w.Body)
	}
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://localhost/v2/", nil))
	if rec.Body.String() != "registry" {
		t.Errorf("the registry has its own way to sign in: %s", rec.Body)
	}
}
