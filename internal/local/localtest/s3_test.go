package localtest_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

func pathStyle(o *s3.Options) { o.UsePathStyle = true; o.RetryMaxAttempts = 1 }

// answerOf is what a plain HTTP client gets.
func answerOf(t *testing.T, method, url, body string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestS3IsSignedFor(t *testing.T) {
	a := localtest.Start(t, auth)
	ctx := t.Context()
	f, err := os.ReadFile(a.Local.KeyFile())
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(f))
	cfg := with(a.Config, words[3], words[6], "")
	c := s3.NewFromConfig(cfg, pathStyle)
	ok[s3.CreateBucketOutput](t)(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("box")}))
	const key = "a folder/ä+*~.txt"
	ok[s3.PutObjectOutput](t)(c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("box"), Key: aws.String(key), Body: strings.NewReader("mine")}))
	in := &s3.GetObjectInput{Bucket: aws.String("box"), Key: aws.String(key)}
	_, err = s3.NewFromConfig(with(a.Config, words[3], "wrong", ""), pathStyle).GetObject(ctx, in)
	refused(t, err, "SignatureDoesNotMatch")
	_, err = s3.NewFromConfig(a.Config, pathStyle).GetObject(ctx, in)
	refused(t, err, "InvalidAccessKeyId")

	link, err := s3.NewPresignClient(c).PresignGetObject(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if status, text := answerOf(t, http.MethodGet, link.URL, ""); status != 200 || text != "mine" {
		t.Errorf("a presigned link gives %d %s", status, text)
	}
	if status, text := answerOf(t, http.MethodGet, strings.Replace(link.URL, "a%20folder", "b%20folder", 1), ""); status != 403 || !strings.Contains(text, "<Code>SignatureDoesNotMatch</Code>") {
		t.Errorf("a link that was changed gives %d %s", status, text)
	}
	if status, text := answerOf(t, http.MethodGet, a.Endpoint+"/box/x", ""); status != 403 || !strings.Contains(text, "<Code>AccessDenied</Code>") {
		t.Errorf("without a signature: %d %s", status, text)
	}
	up, err := s3.NewPresignClient(c).PresignPutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("box"), Key: aws.String("up")})
	if err != nil {
		t.Fatal(err)
	}
	if status, text := answerOf(t, http.MethodPut, up.URL, "sent"); status != 200 {
		t.Errorf("a presigned upload gives %d %s", status, text)
	}

	// The CLI signs its own way, and sends large files in parts.
	if _, err := exec.LookPath("aws"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("the AWS CLI is not installed")
		}
		t.Skip("the AWS CLI is not installed")
	}
	large := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(large, bytes.Repeat([]byte("0123456789abcdef"), 9<<20/16), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"s3", "cp", large, "s3://box/large"}, {"s3", "cp", "s3://box/large", large + "2"}, {"s3", "ls", "s3://box/"}, {"s3", "rm", "s3://box/large"}} {
		cmd := exec.CommandContext(ctx, "aws", args...)
		cmd.Env = append(a.Env(), "AWS_ACCESS_KEY_ID="+words[3], "AWS_SECRET_ACCESS_KEY="+words[6])
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	one, _ := os.ReadFile(large)
	if two, err := os.ReadFile(large + "2"); err != nil || !bytes.Equal(one, two) {
		t.Errorf("what comes back is not what went: %d and %d bytes (%v)", len(one), len(two), err)
	}
}

func TestS3IsHeldAgainstPolicies(t *testing.T) {
	a := localtest.Start(t, enforce)
	ctx := t.Context()
	root := s3.NewFromConfig(a.Config, pathStyle)
	ok[s3.CreateBucketOutput](t)(root.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("box")}))
	ann := s3.NewFromConfig(user(t, a.Config, "ann", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::box/ann/*"},
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::box","Condition":{"StringLike":{"s3:prefix":"ann/*"}}}]}`), pathStyle)
	put := func(c *s3.Client, key string) error {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("box"), Key: &key, Body: strings.NewReader("x")})
		return err
	}
	list := func(prefix string) error {
		_, err := ann.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String("box"), Prefix: &prefix})
		return err
	}
	copied := func(from, to string) error {
		_, err := ann.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String("box"), Key: &to, CopySource: aws.String("box/" + from)})
		return err
	}
	refused(t, put(root, "bob/1"), "")
	for _, c := range []struct {
		what string
		err  error
		want string
	}{
		{"her own", put(ann, "ann/1"), ""}, {"another's", put(ann, "bob/2"), "AccessDenied"},
		{"lists her own", list("ann/"), ""}, {"lists all", list(""), "AccessDenied"},
		{"copies her own", copied("ann/1", "ann/2"), ""}, {"copies another's", copied("bob/1", "ann/3"), "AccessDenied"},
	} {
		if got := code(c.err); got != c.want {
			t.Errorf("%s: %q, want %q (%v)", c.what, got, c.want, c.err)
		}
	}
	_, err := ann.ListBuckets(ctx, nil)
	refused(t, err, "AccessDenied")
	ok[s3.PutBucketPolicyOutput](t)(root.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: aws.String("box"), Policy: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/ann"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::box/bob/*"},
		{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::box/ann/closed"}]}`)}))
	refused(t, put(ann, "bob/2"), "")
	refused(t, put(ann, "ann/closed"), "AccessDenied")
}

func TestS3HasFaults(t *testing.T) {
	a := localtest.Start(t)
	ctx := t.Context()
	c := s3.NewFromConfig(a.Config, pathStyle)
	ok[s3.CreateBucketOutput](t)(c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("box")}))
	fault := func(kind, op string) {
		t.Helper()
		if status, text := answerOf(t, http.MethodPost, a.Endpoint+"/_slipway/faults", `{"service":"s3","operation":"`+op+`","kind":"`+kind+`","count":1}`); status != 201 {
			t.Fatal(status, text)
		}
	}
	put := func(key string) error {
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("box"), Key: &key, Body: strings.NewReader("x")})
		return err
	}
	fault("throttle", "PutObject")
	refused(t, put("one"), "SlowDown")
	refused(t, put("one"), "")
	fault("lost", "PutObject")
	if put("two") == nil {
		t.Error("an answer that was to be lost has come")
	}
	if _, err := c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("box"), Key: aws.String("two")}); err != nil {
		t.Errorf("what was written is not there: %v", err)
	}
	if status, text := answerOf(t, http.MethodGet, a.Endpoint+"/_slipway/status", ""); status != 200 || strings.Contains(text, "missing") {
		t.Error(status, text)
	}
	_, err := c.GetObjectTorrent(ctx, &s3.GetObjectTorrentInput{Bucket: aws.String("box"), Key: aws.String("one")})
	refused(t, err, "NotImplemented")
	if _, text := answerOf(t, http.MethodGet, a.Endpoint+"/_slipway/status", ""); !strings.Contains(text, `"s3:GetObjectTorrent":1`) {
		t.Errorf("status = %s", text)
	}
}
