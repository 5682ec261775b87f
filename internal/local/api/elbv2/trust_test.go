package elbv2_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"github.com/slipway-ecs/slipway/internal/local/api/elbv2"
)

// buckets is S3 with one bucket, "files".
type buckets struct {
	mu      sync.Mutex
	objects map[string][]byte
}

func (b *buckets) BucketExists(name string) (bool, error) { return name == "files", nil }

func (b *buckets) Read(bucket, key, _ string, _ int64) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if body, ok := b.objects[bucket+"/"+key]; ok {
		return body, nil
	}
	return nil, errors.New("no such object")
}

func (b *buckets) Write(bucket, key string, body []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bucket != "files" {
		return errors.New("no such bucket")
	}
	b.objects[bucket+"/"+key] = body
	return nil
}

// with are the keys that have all the parts.
func (b *buckets) with(parts ...string) (keys []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for k := range b.objects {
		if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(k, p) }) {
			keys = append(keys, k)
		}
	}
	return keys
}

// lines are those of all the log files whose keys have the parts.
func (b *buckets) lines(t *testing.T, parts ...string) (out []string) {
	t.Helper()
	for _, k := range b.with(append(parts, ".log.gz")...) {
		b.mu.Lock()
		body := b.objects[k]
		b.mu.Unlock()
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.Split(strings.TrimSpace(string(text)), "\n")...)
	}
	return out
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der := must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	return &authority{must[*x509.Certificate](t)(x509.ParseCertificate(der)), key}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) issue(t *testing.T, name string, serial int64, from, to time.Duration, usage x509.ExtKeyUsage) tls.Certificate {
	t.Helper()
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name, Organization: []string{"o"}}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	return tls.Certificate{Certificate: [][]byte{must[[]byte](t)(x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key))}, PrivateKey: key}
}

func (a *authority) revoke(t *testing.T, serials ...int64) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now()})
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: must[[]byte](t)(x509.CreateRevocationList(rand.Reader, list, a.cert, a.key))})
}

// https asks an HTTPS listener with client certificates.
func https(at string, change func(*tls.Config), certificates ...tls.Certificate) (*http.Response, error) {
	cfg := &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // also such as the server's hints do not name
		if len(certificates) > 0 {
			return &certificates[0], nil
		}
		return &tls.Certificate{}, nil
	}}
	if change != nil {
		change(cfg)
	}
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
	resp, err := client.Get(at + "hello?x=1")
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	return resp, err
}

func (w *world) https(lb types.LoadBalancer, port int32, actions []types.Action, mutual *types.MutualAuthenticationAttributes) string {
	w.t.Helper()
	out := must[*elb.CreateListenerOutput](w.t)(w.CreateListener(w.t.Context(), &elb.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: &port, Protocol: types.ProtocolEnumHttps,
		DefaultActions: actions, MutualAuthentication: mutual, SslPolicy: aws.String("ELBSecurityPolicy-TLS13-1-2-2021-06"),
		Certificates: []types.Certificate{{CertificateArn: aws.String("arn:aws:acm:us-east-1:000000000000:certificate/c")}}}))
	return *out.Listeners[0].ListenerArn
}

// echo is a target that tells in its response the headers it got.
func (w *world) echo() types.TargetDescription {
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		for k, v := range r.Header {
			rw.Header()["Got-"+k] = v
		}
		rw.Header().Set("Server", "mine")
	}))
	w.t.Cleanup(srv.Close)
	u := must[*url.URL](w.t)(url.Parse(srv.URL))
	var port int32
	for _, c := range u.Port() {
		port = port*10 + int32(c-'0')
	}
	return types.TargetDescription{Id: aws.String(u.Hostname()), Port: &port}
}

func TestMutualTLS(t *testing.T) {
	files := &buckets{objects: map[string][]byte{}}
	w := startWith(t, "", func(s *elbv2.Service) { s.StoreIn(files) })
	ctx := t.Context()
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	files.objects["files/ca.pem"], files.objects["files/no.pem"], files.objects["files/crl.pem"], files.objects["files/none.pem"] = ca.pem(), []byte("no"), ca.revoke(t, 7), ca.revoke(t)

	_, err := w.CreateTrustStore(ctx, &elb.CreateTrustStoreInput{Name: aws.String("clients"), CaCertificatesBundleS3Bucket: aws.String("files"), CaCertificatesBundleS3Key: aws.String("missing")})
	wantError(t, err, "CaCertificatesBundleNotFound")
	_, err = w.CreateTrustStore(ctx, &elb.CreateTrustStoreInput{Name: aws.String("clients"), CaCertificatesBundleS3Bucket: aws.String("files"), CaCertificatesBundleS3Key: aws.String("no.pem")})
	wantError(t, err, "InvalidCaCertificatesBundle")
	create := &elb.CreateTrustStoreInput{Name: aws.String("clients"), CaCertificatesBundleS3Bucket: aws.String("files"), CaCertificatesBundleS3Key: aws.String("ca.pem"), Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}
	store := must[*elb.CreateTrustStoreOutput](t)(w.CreateTrustStore(ctx, create)).TrustStores[0]
	if *store.NumberOfCaCertificates != 1 || store.Status != types.TrustStoreStatusActive {
		t.Errorf("trust store %+v", store)
	}
	_, err = w.CreateTrustStore(ctx, create)
	wantError(t, err, "DuplicateTrustStoreName")
	arn := store.TrustStoreArn
	if tags := must[*elb.DescribeTagsOutput](t)(w.DescribeTags(ctx, &elb.DescribeTagsInput{ResourceArns: []string{*arn}})); *tags.TagDescriptions[0].Tags[0].Value != "v" {
		t.Errorf("tags %+v", tags.TagDescriptions)
	}

	lb, tg := w.balancer("mtls"), w.group("app")
	app := w.echo()
	w.register(tg, app)
	_, err = w.CreateListener(ctx, &elb.CreateListenerInput{LoadBalancerArn: lb.LoadBalancerArn, Port: aws.Int32(18601), Protocol: types.ProtocolEnumHttps, DefaultActions: forward(tg),
		Certificates:         []types.Certificate{{CertificateArn: aws.String("arn:aws:acm:us-east-1:000000000000:certificate/c")}},
		MutualAuthentication: &types.MutualAuthenticationAttributes{Mode: aws.String("verify"), TrustStoreArn: aws.String(*arn + "0")}})
	wantError(t, err, "TrustStoreNotFound")
	l := w.https(lb, 18601, forward(tg), &types.MutualAuthenticationAttributes{Mode: aws.String("verify"), TrustStoreArn: arn})
	w.eventually("the target is healthy", func() bool { return slices.Equal(w.health(tg), []string{"healthy"}) })
	at := w.at(l)

	good := ca.issue(t, "me", 5, -time.Minute, time.Hour, x509.ExtKeyUsageClientAuth)
	late := ca.issue(t, "me", 6, -time.Hour, -time.Minute, x509.ExtKeyUsageClientAuth)
	gone := ca.issue(t, "me", 7, -time.Minute, time.Hour, x509.ExtKeyUsageClientAuth)
	resp := must[*http.Response](t)(https(at, nil, good))
	if got := resp.Header.Get("Got-X-Amzn-Mtls-Clientcert-Subject"); resp.StatusCode != 200 || got != "CN=me,O=o" || resp.Header.Get("Got-X-Amzn-Mtls-Clientcert-Serial-Number") != "5" ||
		resp.Header.Get("Got-X-Amzn-Mtls-Clientcert-Issuer") != "CN=root" || !strings.HasPrefix(resp.Header.Get("Got-X-Amzn-Mtls-Clientcert-Leaf"), "-----BEGIN%20CERTIFICATE-----%0A") ||
		!strings.HasPrefix(resp.Header.Get("Got-X-Amzn-Mtls-Clientcert-Validity"), "NotBefore=") {
		t.Errorf("status %d, headers %v", resp.StatusCode, resp.Header)
	}
	for what, certs := range map[string][]tls.Certificate{
		"none": nil, "another authority's": {other.issue(t, "me", 5, -time.Minute, time.Hour, x509.ExtKeyUsageClientAuth)}, "expired": {late},
		"not yet good": {ca.issue(t, "me", 8, time.Hour, 2*time.Hour, x509.ExtKeyUsageClientAuth)}, "a server's": {ca.issue(t, "me", 9, -time.Minute, time.Hour, x509.ExtKeyUsageServerAuth)},
	} {
		if _, err := https(at, nil, certs...); err == nil {
			t.Errorf("a client with a certificate that is %s got in", what)
		}
	}
	if _, err := https(at, nil, gone); err != nil {
		t.Errorf("not revoked yet: %v", err)
	}

	added := must[*elb.AddTrustStoreRevocationsOutput](t)(w.AddTrustStoreRevocations(ctx, &elb.AddTrustStoreRevocationsInput{TrustStoreArn: arn, RevocationContents: []types.RevocationContent{
		{S3Bucket: aws.String("files"), S3Key: aws.String("crl.pem")}, {S3Bucket: aws.String("files"), S3Key: aws.String("none.pem"), RevocationType: types.RevocationTypeCrl}}}))
	if r := added.TrustStoreRevocations; len(r) != 2 || *r[0].RevocationId != 1 || *r[0].NumberOfRevokedEntries != 1 || *r[1].NumberOfRevokedEntries != 0 {
		t.Errorf("revocations %+v", r)
	}
	w.eventually("the revoked certificate is refused", func() bool { _, err := https(at, nil, gone); return err != nil })
	if _, err := https(at, nil, good); err != nil {
		t.Errorf("only one certificate is revoked: %v", err)
	}
	_, err = w.AddTrustStoreRevocations(ctx, &elb.AddTrustStoreRevocationsInput{TrustStoreArn: arn, RevocationContents: []types.RevocationContent{{S3Bucket: aws.String("files"), S3Key: aws.String("ca.pem")}}})
	wantError(t, err, "InvalidRevocationContent")
	_, err = w.AddTrustStoreRevocations(ctx, &elb.AddTrustStoreRevocationsInput{TrustStoreArn: arn, RevocationContents: []types.RevocationContent{{S3Bucket: aws.String("files"), S3Key: aws.String("x")}}})
	wantError(t, err, "RevocationContentNotFound")
	if d := must[*elb.DescribeTrustStoresOutput](t)(w.DescribeTrustStores(ctx, &elb.DescribeTrustStoresInput{Names: []string{"clients"}})); *d.TrustStores[0].TotalRevokedEntries != 1 {
		t.Errorf("trust stores %+v", d.TrustStores)
	}
	fetch := func(location *string) string {
		u := must[*url.URL](t)(url.Parse(*location))
		code, body := get(w.url + u.RequestURI())
		if code != 200 {
			t.Errorf("%s answers %d", *location, code)
		}
		return body
	}
	if got := fetch(must[*elb.GetTrustStoreCaCertificatesBundleOutput](t)(w.GetTrustStoreCaCertificatesBundle(ctx, &elb.GetTrustStoreCaCertificatesBundleInput{TrustStoreArn: arn})).Location); got != string(ca.pem()) {
		t.Errorf("bundle %q", got)
	}
	if got := fetch(must[*elb.GetTrustStoreRevocationContentOutput](t)(w.GetTrustStoreRevocationContent(ctx, &elb.GetTrustStoreRevocationContentInput{TrustStoreArn: arn, RevocationId: aws.Int64(1)})).Location); got != string(files.objects["files/crl.pem"]) {
		t.Errorf("revocation %q", got)
	}
	if code, _ := get(w.url + elbv2.FilesPath + "?arn=" + *arn + "&file=bundle&X-Amz-Expires=99999999999&X-Amz-Signature=0"); code != 403 {
		t.Errorf("an address nobody gave out answers %d", code)
	}
	must[*elb.RemoveTrustStoreRevocationsOutput](t)(w.RemoveTrustStoreRevocations(ctx, &elb.RemoveTrustStoreRevocationsInput{TrustStoreArn: arn, RevocationIds: []int64{1}}))
	w.eventually("the certificate is good again", func() bool { _, err := https(at, nil, gone); return err == nil })
	_, err = w.DescribeTrustStoreRevocations(ctx, &elb.DescribeTrustStoreRevocationsInput{TrustStoreArn: arn, RevocationIds: []int64{1}})
	wantError(t, err, "RevocationIdNotFound")
	if d := must[*elb.DescribeTrustStoreRevocationsOutput](t)(w.DescribeTrustStoreRevocations(ctx, &elb.DescribeTrustStoreRevocationsInput{TrustStoreArn: arn})); len(d.TrustStoreRevocations) != 1 || *d.TrustStoreRevocations[0].RevocationId != 2 {
		t.Errorf("revocations %+v", d.TrustStoreRevocations)
	}

	// Expired ones let in, other authorities trusted.
	must[*elb.ModifyListenerOutput](t)(w.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: &l, MutualAuthentication: &types.MutualAuthenticationAttributes{Mode: aws.String("verify"), TrustStoreArn: arn,
		IgnoreClientCertificateExpiry: aws.Bool(true), AdvertiseTrustStoreCaNames: types.AdvertiseTrustStoreCaNamesEnumOn}}))
	var told [][]byte
	w.eventually("an expired certificate is good", func() bool {
		_, err := https(at, func(c *tls.Config) {
			c.GetClientCertificate = func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				told = i.AcceptableCAs
				return &late, nil
			}
		})
		return err == nil
	})
	if len(told) != 1 || !bytes.Equal(told[0], ca.cert.RawSubject) {
		t.Errorf("advertised %q", told)
	}
	files.objects["files/ca.pem"] = other.pem()
	must[*elb.ModifyTrustStoreOutput](t)(w.ModifyTrustStore(ctx, &elb.ModifyTrustStoreInput{TrustStoreArn: arn, CaCertificatesBundleS3Bucket: aws.String("files"), CaCertificatesBundleS3Key: aws.String("ca.pem")}))
	w.eventually("the authority is no longer trusted", func() bool { _, err := https(at, nil, good); return err != nil })

	_, err = w.DeleteTrustStore(ctx, &elb.DeleteTrustStoreInput{TrustStoreArn: arn})
	wantError(t, err, "TrustStoreInUse")
	if d := must[*elb.DescribeTrustStoreAssociationsOutput](t)(w.DescribeTrustStoreAssociations(ctx, &elb.DescribeTrustStoreAssociationsInput{TrustStoreArn: arn})); len(d.TrustStoreAssociations) != 1 || *d.TrustStoreAssociations[0].ResourceArn != l {
		t.Errorf("associations %+v", d.TrustStoreAssociations)
	}
	_, err = w.DeleteSharedTrustStoreAssociation(ctx, &elb.DeleteSharedTrustStoreAssociationInput{TrustStoreArn: arn, ResourceArn: &l})
	wantError(t, err, "DeleteAssociationSameAccount")

	// Passed through, the target is to judge.
	must[*elb.ModifyListenerOutput](t)(w.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: &l, MutualAuthentication: &types.MutualAuthenticationAttributes{Mode: aws.String("passthrough")}}))
	w.eventually("certificates are passed on", func() bool {
		resp, err := https(at, nil, late)
		return err == nil && strings.HasPrefix(resp.Header.Get("Got-X-Amzn-Mtls-Clientcert"), "-----BEGIN%20CERTIFICATE-----")
	})
	must[*elb.DeleteTrustStoreOutput](t)(w.DeleteTrustStore(ctx, &elb.DeleteTrustStoreInput{TrustStoreArn: arn}))
	_, err = w.DescribeTrustStores(ctx, &elb.DescribeTrustStoresInput{TrustStoreArns: []string{*arn}})
	wantError(t, err, "TrustStoreNotFound")
}

func TestHeadersAndPolicies(t *testing.T) {
	w := start(t, "")
	ctx := t.Context()
	lb, tg := w.balancer("headers"), w.group("app")
	w.register(tg, w.echo())
	l := w.https(lb, 18603, forward(tg), nil)
	w.eventually("the target is healthy", func() bool { return slices.Equal(w.health(tg), []string{"healthy"}) })
	at := w.at(l)
	set := func(k, v string) error {
		_, err := w.ModifyListenerAttributes(ctx, &elb.ModifyListenerAttributesInput{ListenerArn: &l, Attributes: []types.ListenerAttribute{{Key: &k, Value: &v}}})
		return err
	}
	wantError(t, set("routing.http.response.x_frame_options.header_value", "PERHAPS"), "ValidationError")
	wantError(t, set("tcp.idle_timeout.seconds", "60"), "InvalidConfigurationRequest")
	wantError(t, set("routing.http.request.x_amzn_tls_version.header_name", "no spaces"), "ValidationError")
	for k, v := range map[string]string{"routing.http.response.strict_transport_security.header_value": "max-age=60", "routing.http.response.x_frame_options.header_value": "DENY",
		"routing.http.request.x_amzn_tls_version.header_name": "My-Version", "routing.http.response.server.enabled": "false"} {
		if err := set(k, v); err != nil {
			t.Fatal(err)
		}
	}
	must[*elb.ModifyLoadBalancerAttributesOutput](t)(w.ModifyLoadBalancerAttributes(ctx, &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn,
		Attributes: []types.LoadBalancerAttribute{{Key: aws.String("routing.http.x_amzn_tls_version_and_cipher_suite.enabled"), Value: aws.String("true")}}}))
	w.eventually("the headers are as they were told to be", func() bool {
		resp, err := https(at, nil)
		return err == nil && resp.Header.Get("Strict-Transport-Security") == "max-age=60" && resp.Header.Get("X-Frame-Options") == "DENY" && resp.Header.Get("Server") == "mine" &&
			resp.Header.Get("Got-My-Version") == "TLSv1.3" && resp.Header.Get("Got-X-Amzn-Tls-Cipher-Suite") == "TLS_AES_128_GCM_SHA256"
	})
	must[*elb.ModifyListenerOutput](t)(w.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: &l, DefaultActions: []types.Action{{Type: types.ActionTypeEnumFixedResponse, FixedResponseConfig: &types.FixedResponseActionConfig{StatusCode: aws.String("404")}}}}))
	w.eventually("the balancer does not say what it is", func() bool {
		resp, err := https(at, nil)
		return err == nil && resp.StatusCode == 404 && resp.Header.Get("Server") == "" && resp.Header.Get("X-Frame-Options") == "DENY"
	})

	_, err := w.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: &l, SslPolicy: aws.String("ELBSecurityPolicy-None")})
	wantError(t, err, "SSLPolicyNotFound")
	must[*elb.ModifyListenerOutput](t)(w.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: &l, SslPolicy: aws.String("ELBSecurityPolicy-TLS13-1-3-2021-06")}))
	w.eventually("TLS 1.2 is not spoken", func() bool {
		_, err := https(at, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
		return err != nil
	})
	must[*elb.ModifyListenerOutput](t)(w.ModifyListener(ctx, &elb.ModifyListenerInput{ListenerArn: &l, SslPolicy: aws.String("ELBSecurityPolicy-FS-1-2-Res-2020-10")}))
	w.eventually("TLS 1.2 is spoken with few ciphers", func() bool {
		resp, err := https(at, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 })
		return err == nil && resp.TLS.Version == tls.VersionTLS12
	})
	if _, err := https(at, func(c *tls.Config) {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	}); err == nil {
		t.Error("a cipher that is not in the policy was taken")
	}
	p := must[*elb.DescribeSSLPoliciesOutput](t)(w.DescribeSSLPolicies(ctx, &elb.DescribeSSLPoliciesInput{Names: []string{"ELBSecurityPolicy-TLS13-1-2-2021-06"}})).SslPolicies[0]
	if len(p.Ciphers) != 11 || *p.Ciphers[10].Name != "ECDHE-RSA-AES256-SHA384" || *p.Ciphers[10].Priority != 11 || !slices.Equal(p.SslProtocols, []string{"TLSv1.2", "TLSv1.3"}) {
		t.Errorf("policy %+v", p)
	}
}

func TestLogsInS3(t *testing.T) {
	files := &buckets{objects: map[string][]byte{}}
	w := startAt(t, "", 300, func(s *elbv2.Service) { s.StoreIn(files) })
	ctx := t.Context()
	lb, tg := w.balancer("logged"), w.group("app")
	app := w.app("hello")
	w.register(tg, app)
	l := w.https(lb, 18605, forward(tg), nil)
	_, err := w.rule(l, 10, "/old", []types.Action{{Type: types.ActionTypeEnumRedirect, RedirectConfig: &types.RedirectActionConfig{StatusCode: types.RedirectActionStatusCodeEnumHttp301, Path: aws.String("/new")}}})
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("the target is healthy", func() bool { return slices.Equal(w.health(tg), []string{"healthy"}) })
	modify := func(pairs ...string) error {
		var attrs []types.LoadBalancerAttribute
		for i := 0; i < len(pairs); i += 2 {
			attrs = append(attrs, types.LoadBalancerAttribute{Key: &pairs[i], Value: &pairs[i+1]})
		}
		_, err := w.ModifyLoadBalancerAttributes(ctx, &elb.ModifyLoadBalancerAttributesInput{LoadBalancerArn: lb.LoadBalancerArn, Attributes: attrs})
		return err
	}
	wantError(t, modify("access_logs.s3.enabled", "true"), "InvalidConfigurationRequest")
	wantError(t, modify("access_logs.s3.enabled", "true", "access_logs.s3.bucket", "other"), "InvalidConfigurationRequest")
	wantError(t, modify("access_logs.s3.prefix", "my/AWSLogs"), "InvalidConfigurationRequest")
	wantError(t, modify("load_balancing.cross_zone.enabled", "false"), "InvalidConfigurationRequest")
	if err := modify("access_logs.s3.enabled", "true", "access_logs.s3.bucket", "files", "access_logs.s3.prefix", "web", "connection_logs.s3.enabled", "true", "connection_logs.s3.bucket", "files"); err != nil {
		t.Fatal(err)
	}
	if len(files.with("files/web/AWSLogs/000000000000/ELBAccessLogTestFile")) != 1 || len(files.with("files/AWSLogs/000000000000/ELBConnectionLogTestFile")) != 1 {
		t.Errorf("test files: %v", files.with())
	}
	at := w.at(l)
	id := strings.SplitN(*lb.LoadBalancerArn, "loadbalancer/", 2)[1]
	var line []string
	w.eventually("a request is in the access log", func() bool {
		if _, err := https(at, nil); err != nil {
			t.Fatal(err)
		}
		for _, text := range files.lines(t, "files/web/AWSLogs/000000000000/elasticloadbalancing/us-east-1/", "000000000000_elasticloadbalancing_us-east-1_"+strings.ReplaceAll(id, "/", ".")) {
			line = strings.Split(text, " ")
			return true
		}
		return false
	})
	// type time elb client target 3 times 2 statuses 2 sizes "request (3)" "agent" cipher protocol group "trace" "domain" "cert" priority created "actions" …
	if len(line) != 35 || line[0] != "https" || line[2] != id || line[4] != *app.Id+":"+itoa(*app.Port) || line[8] != "200" || line[9] != "200" || line[12] != `"GET` || !strings.HasSuffix(line[13], "/hello?x=1") ||
		line[14] != `HTTP/1.1"` || line[16] != "TLS_AES_128_GCM_SHA256" || line[17] != "TLSv1.3" || line[18] != tg || !strings.HasPrefix(line[19], `"Root=1-`) || line[21] != `"arn:aws:acm:us-east-1:000000000000:certificate/c"` ||
		line[22] != "0" || line[24] != `"forward"` || !strings.HasPrefix(line[31], "TID_") {
		t.Errorf("%d fields: %q", len(line), line)
	}
	w.eventually("its connection is in the connection log", func() bool {
		for _, text := range files.lines(t, "files/AWSLogs/", "/conn_log.000000000000_elasticloadbalancing_us-east-1_") {
			if f := strings.Split(text, " "); f[len(f)-1] == line[31] {
				if len(f) != 12 || f[3] != "18605" || f[4] != "TLSv1.3" || f[5] != "TLS_AES_128_GCM_SHA256" || f[10] != "Success" {
					t.Errorf("connection log %q", f)
				}
				return true
			}
		}
		return false
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.eventually("a redirect is in the access log", func() bool {
		resp, err := client.Get(at + "old")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return slices.ContainsFunc(files.lines(t, "files/web/AWSLogs/"), func(s string) bool {
			return strings.Contains(s, " 301 - ") && strings.Contains(s, ` 10 `) && strings.Contains(s, `"redirect" "https://`) && strings.Contains(s, "/new")
		})
	})
	// What has not been published is when the service ends.
	if _, err := https(at+"last/", nil); err != nil {
		t.Fatal(err)
	}
	w.end()
	if !slices.ContainsFunc(files.lines(t, "files/web/AWSLogs/"), func(s string) bool { return strings.Contains(s, "/last/hello") }) {
		t.Error("the last lines are lost")
	}
}
