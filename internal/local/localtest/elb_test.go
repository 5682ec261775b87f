package localtest_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/localtest"
)

// TestBalancerAndS3 has the AWS CLI set up what of a load balancer is in S3: its logs and its trust
// stores.
func TestBalancerAndS3(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the AWS CLI")
	}
	a := localtest.Start(t, localtest.Speed(300))
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Must(t, "s3api", "create-bucket", "--bucket", "files")
	a.Must(t, "s3api", "put-object", "--bucket", "files", "--key", "ca.pem", "--body", bundle)

	store := a.Must(t, "elbv2", "create-trust-store", "--name", "clients", "--ca-certificates-bundle-s3-bucket", "files", "--ca-certificates-bundle-s3-key", "ca.pem", "--query", "TrustStores[0]")
	if store["NumberOfCaCertificates"] != 1.0 || store["Status"] != "ACTIVE" {
		t.Errorf("trust store %v", store)
	}
	arn := store["TrustStoreArn"].(string)
	location := a.Must(t, "elbv2", "get-trust-store-ca-certificates-bundle", "--trust-store-arn", arn)["Location"].(string)
	if body := fetch(t, location); !strings.HasPrefix(string(body), "-----BEGIN CERTIFICATE-----") {
		t.Errorf("bundle %q", body)
	}
	if _, failure := a.CLI(t, "elbv2", "get-trust-store-revocation-content", "--trust-store-arn", arn, "--revocation-id", "1"); !strings.Contains(failure, "(RevocationIdNotFound)") {
		t.Errorf("said %s", failure)
	}

	var subnets []string
	for _, s := range a.Must(t, "ec2", "describe-subnets")["Subnets"].([]any)[:2] {
		subnets = append(subnets, s.(map[string]any)["SubnetId"].(string))
	}
	lb := a.Must(t, append([]string{"elbv2", "create-load-balancer", "--name", "web", "--query", "LoadBalancers[0]", "--subnets"}, subnets...)...)
	lbARN := lb["LoadBalancerArn"].(string)
	a.Must(t, "elbv2", "modify-load-balancer-attributes", "--load-balancer-arn", lbARN, "--attributes", "Key=access_logs.s3.enabled,Value=true", "Key=access_logs.s3.bucket,Value=files", "Key=access_logs.s3.prefix,Value=logs")
	listener := a.Must(t, "elbv2", "create-listener", "--load-balancer-arn", lbARN, "--protocol", "HTTP", "--port", "18611", "--default-actions", "Type=fixed-response,FixedResponseConfig={StatusCode=418}", "--query", "Listeners[0]")
	a.Must(t, "elbv2", "modify-listener-attributes", "--listener-arn", listener["ListenerArn"].(string), "--attributes", "Key=routing.http.response.x_frame_options.header_value,Value=DENY")
	localtest.Eventually(t, "the listener has the header", func() bool {
		resp, err := http.Get("http://" + lb["DNSName"].(string) + ":18611/tea")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == 418 && resp.Header.Get("X-Frame-Options") == "DENY"
	})
	var file string
	localtest.Eventually(t, "a log file is in the bucket", func() bool {
		list := a.Must(t, "s3api", "list-objects-v2", "--bucket", "files", "--prefix", "logs/AWSLogs/000000000000/elasticloadbalancing/")
		contents, _ := list["Contents"].([]any)
		for _, o := range contents {
			file = o.(map[string]any)["Key"].(string)
		}
		return file != ""
	})
	out := filepath.Join(dir, "log.gz")
	a.Must(t, "s3api", "get-object", "--bucket", "files", "--key", file, out)
	packed, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil || !strings.HasPrefix(string(text), "http ") || !strings.Contains(string(text), " 418 - ") || !strings.Contains(string(text), ":18611/tea HTTP/1.1\"") {
		t.Errorf("log %q, %v", text, err)
	}
	a.Must(t, "elbv2", "delete-trust-store", "--trust-store-arn", arn)
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s: %s, %v", url, resp.Status, body, err)
	}
	return body
}
