package elbv2

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"

	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// TrustStore is a bundle of authorities and lists of what they have revoked. Key: ARN.
type TrustStore struct {
	Name, ARN   string
	Bundle      []byte // PEM
	Revocations []Revocation
	LastID      int64 // of the last revocation that was added
	Tags        []elbv2api.Tag
}

// Revocation is a list of revoked certificates.
type Revocation struct {
	ID      int64
	Content []byte // as it was in S3: PEM or DER
	Entries int64
}

// Quotas of trust stores, and of files in bytes.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
const (
	mostTrustStores    = 20
	mostAuthorities    = 25
	mostRevokedEntries = 500_000
	mostRevocations    = 30
	largestTrustFile   = 64 << 20
)

func (s *Service) registerTrust(svc *wire.Service) {
	wire.Handle(svc, "CreateTrustStore", s.createTrustStore)
	wire.Handle(svc, "ModifyTrustStore", s.modifyTrustStore)
	wire.Handle(svc, "DeleteTrustStore", s.deleteTrustStore)
	wire.Handle(svc, "DescribeTrustStores", s.describeTrustStores)
	wire.Handle(svc, "DescribeTrustStoreAssociations", s.trustStoreAssociations)
	wire.Handle(svc, "AddTrustStoreRevocations", s.addRevocations)
	wire.Handle(svc, "RemoveTrustStoreRevocations", s.removeRevocations)
	wire.Handle(svc, "DescribeTrustStoreRevocations", s.describeRevocations)
	wire.Handle(svc, "GetTrustStoreCaCertificatesBundle", s.bundleLocation)
	wire.Handle(svc, "GetTrustStoreRevocationContent", s.revocationLocation)
	wire.Handle(svc, "DeleteSharedTrustStoreAssociation", s.deleteAssociation, wire.Partly("no trust store is shared with another account, so there is none to delete"))
}

func noTrustStore(arn string) error { return notFound("TrustStoreNotFound", "trust stores", arn) }

func noRevocation(id int64) error {
	return wire.Errorf("RevocationIdNotFound", "Revocation ID '%d' not found", id)
}

// Storage is S3: files of trust stores come from there, and logs go there.
type Storage interface {
	BucketExists(bucket string) (bool, error)
	// Read returns an object of at most limit bytes; an empty version is the newest.
	Read(bucket, key, version string, limit int64) ([]byte, error)
	Write(bucket, key string, body []byte) error
}

// StoreIn tells where S3 is. It is called before Run.
func (s *Service) StoreIn(storage Storage) { s.storage = storage }

func (s *Service) readFile(missing, bucket, key, version string) ([]byte, error) {
	if s.storage == nil {
		return nil, wire.Errorf(missing, "not supported: there is no S3 here")
	}
	body, err := s.storage.Read(bucket, key, version, largestTrustFile)
	if err != nil {
		return nil, wire.Errorf(missing, "The specified S3 object s3://%s/%s cannot be read: %v", bucket, key, err)
	}
	return body, nil
}

// authorities reads the certificates of a bundle.
func authorities(bundle []byte) ([]*x509.Certificate, error) {
	bad := func(format string, args ...any) ([]*x509.Certificate, error) {
		return nil, wire.Errorf("InvalidCaCertificatesBundle", "The CA certificate bundle is not valid: %s", fmt.Sprintf(format, args...))
	}
	var out []*x509.Certificate
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return bad("it holds a %s", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return bad("%v", err)
		}
		if c.BasicConstraintsValid && !c.IsCA {
			return bad("%s is not an authority", c.Subject)
		}
		out = append(out, c)
	}
	switch {
	case len(out) == 0:
		return bad("it holds no certificate in PEM")
	case len(out) > mostAuthorities:
		return bad("it holds more than %d certificates", mostAuthorities)
	}
	return out, nil
}

func revocationList(content []byte) (*x509.RevocationList, error) {
	der := content
	if block, _ := pem.Decode(content); block != nil {
		if block.Type != "X509 CRL" {
			return nil, wire.Errorf("InvalidRevocationContent", "The revocation file is not valid: it holds a %s", block.Type)
		}
		der = block.Bytes
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, wire.Errorf("InvalidRevocationContent", "The revocation file is not valid: %v", err)
	}
	return list, nil
}

func (t *TrustStore) api() elbv2api.TrustStore {
	roots, _ := authorities(t.Bundle) // checked when it was stored
	var revoked int64
	for _, r := range t.Revocations {
		revoked += r.Entries
	}
	return elbv2api.TrustStore{Name: &t.Name, TrustStoreArn: &t.ARN, Status: wire.Ptr("ACTIVE"), NumberOfCaCertificates: wire.Int32(len(roots)), TotalRevokedEntries: &revoked}
}

// clients is the trust store as the data plane uses it.
func (t *TrustStore) clients() *balancer.Clients {
	out := &balancer.Clients{Verify: true}
	out.Roots, _ = authorities(t.Bundle) // checked when it was stored
	for _, r := range t.Revocations {
		if list, err := revocationList(r.Content); err == nil { // likewise
			out.Revoked = append(out.Revoked, list)
		}
	}
	return out
}

var validTrustName = regexp.MustCompile(`^([a-zA-Z0-9]+-)*[a-zA-Z0-9]+$`)

func (s *Service) createTrustStore(ctx context.Context, in *elbv2api.CreateTrustStoreInput) (*elbv2api.CreateTrustStoreOutput, error) {
	name := wire.Value(in.Name)
	if len(name) > 32 || !validTrustName.MatchString(name) {
		return nil, invalid("The trust store name '%s' must be 1 to 32 alphanumeric characters or hyphens and must not begin or end with a hyphen", name)
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	bundle, err := s.readFile("CaCertificatesBundleNotFound", wire.Value(in.CaCertificatesBundleS3Bucket), wire.Value(in.CaCertificatesBundleS3Key), wire.Value(in.CaCertificatesBundleS3ObjectVersion))
	if err != nil {
		return nil, err
	}
	if _, err := authorities(bundle); err != nil {
		return nil, err
	}
	t := &TrustStore{Name: name, ARN: arnPrefix(wire.Caller(ctx)) + "truststore/" + name + "/" + newID(), Bundle: bundle, Tags: in.Tags}
	return &elbv2api.CreateTrustStoreOutput{TrustStores: []elbv2api.TrustStore{t.api()}}, s.db.Update(func(tx *state.Tx) error {
		for _, old := range s.trust.All(tx) {
			if old.Name == name {
				return wire.Errorf("DuplicateTrustStoreName", "A trust store with the name '%s' already exists", name)
			}
		}
		if s.trust.Len(tx) >= mostTrustStores {
			return wire.Errorf("TooManyTrustStores", "The maximum number of trust stores is %d", mostTrustStores)
		}
		s.trust.Put(tx, t.ARN, t)
		return nil
	})
}

func (s *Service) changeTrust(arn *string, f func(tx *state.Tx, t *TrustStore) error) error {
	return s.db.Update(func(tx *state.Tx) error {
		old, ok := s.trust.Get(tx, wire.Value(arn))
		if !ok {
			return noTrustStore(wire.Value(arn))
		}
		t := *old
		if err := f(tx, &t); err != nil {
			return err
		}
		s.trust.Put(tx, t.ARN, &t)
		return nil
	})
}

func (s *Service) trustStore(arn *string) (t *TrustStore, err error) {
	err = s.db.View(func(tx *state.Tx) error {
		var ok bool
		if t, ok = s.trust.Get(tx, wire.Value(arn)); !ok {
			return noTrustStore(wire.Value(arn))
		}
		return nil
	})
	return t, err
}

func (s *Service) modifyTrustStore(_ context.Context, in *elbv2api.ModifyTrustStoreInput) (*elbv2api.ModifyTrustStoreOutput, error) {
	if _, err := s.trustStore(in.TrustStoreArn); err != nil {
		return nil, err
	}
	bundle, err := s.readFile("CaCertificatesBundleNotFound", wire.Value(in.CaCertificatesBundleS3Bucket), wire.Value(in.CaCertificatesBundleS3Key), wire.Value(in.CaCertificatesBundleS3ObjectVersion))
	if err != nil {
		return nil, err
	}
	if _, err := authorities(bundle); err != nil {
		return nil, err
	}
	out := &elbv2api.ModifyTrustStoreOutput{}
	return out, s.changeTrust(in.TrustStoreArn, func(_ *state.Tx, t *TrustStore) error {
		t.Bundle = bundle
		out.TrustStores = []elbv2api.TrustStore{t.api()}
		return nil
	})
}

// trusting are the listeners that use a trust store.
func (s *Service) trusting(tx *state.Tx, arn string) []string {
	out := []string{}
	for l, rec := range s.listeners.All(tx) {
		if m := rec.API.MutualAuthentication; m != nil && wire.Value(m.TrustStoreArn) == arn {
			out = append(out, l)
		}
	}
	return out
}

func (s *Service) deleteTrustStore(_ context.Context, in *elbv2api.DeleteTrustStoreInput) (*elbv2api.DeleteTrustStoreOutput, error) {
	return &elbv2api.DeleteTrustStoreOutput{}, s.db.Update(func(tx *state.Tx) error {
		arn := wire.Value(in.TrustStoreArn)
		if _, ok := s.trust.Get(tx, arn); !ok {
			return noTrustStore(arn)
		}
		if len(s.trusting(tx, arn)) > 0 {
			return wire.Errorf("TrustStoreInUse", "Trust store '%s' is currently in use by a listener", arn)
		}
		s.trust.Delete(tx, arn)
		return nil
	})
}

func (s *Service) describeTrustStores(_ context.Context, in *elbv2api.DescribeTrustStoresInput) (*elbv2api.DescribeTrustStoresOutput, error) {
	out := &elbv2api.DescribeTrustStoresOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		found := map[string]bool{}
		var all []elbv2api.TrustStore
		for arn, t := range s.trust.All(tx) {
			if len(in.TrustStoreArns) > 0 && !slices.Contains(in.TrustStoreArns, arn) || len(in.Names) > 0 && !slices.Contains(in.Names, t.Name) {
				continue
			}
			found[arn], found[t.Name] = true, true
			all = append(all, t.api())
		}
		for _, id := range append(slices.Clone(in.TrustStoreArns), in.Names...) {
			if !found[id] {
				return noTrustStore(id)
			}
		}
		out.TrustStores, out.NextMarker = page(all, func(t elbv2api.TrustStore) string { return *t.TrustStoreArn }, in.Marker, in.PageSize)
		return nil
	})
}

func (s *Service) trustStoreAssociations(_ context.Context, in *elbv2api.DescribeTrustStoreAssociationsInput) (*elbv2api.DescribeTrustStoreAssociationsOutput, error) {
	out := &elbv2api.DescribeTrustStoreAssociationsOutput{TrustStoreAssociations: []elbv2api.TrustStoreAssociation{}}
	return out, s.db.View(func(tx *state.Tx) error {
		if _, ok := s.trust.Get(tx, wire.Value(in.TrustStoreArn)); !ok {
			return noTrustStore(wire.Value(in.TrustStoreArn))
		}
		listeners, next := page(s.trusting(tx, *in.TrustStoreArn), func(l string) string { return l }, in.Marker, in.PageSize)
		for _, l := range listeners {
			out.TrustStoreAssociations = append(out.TrustStoreAssociations, elbv2api.TrustStoreAssociation{ResourceArn: wire.Ptr(l)})
		}
		out.NextMarker = next
		return nil
	})
}

func (s *Service) deleteAssociation(_ context.Context, in *elbv2api.DeleteSharedTrustStoreAssociationInput) (*elbv2api.DeleteSharedTrustStoreAssociationOutput, error) {
	return nil, s.db.View(func(tx *state.Tx) error {
		arn := wire.Value(in.TrustStoreArn)
		if _, ok := s.trust.Get(tx, arn); !ok {
			return noTrustStore(arn)
		}
		if slices.Contains(s.trusting(tx, arn), wire.Value(in.ResourceArn)) {
			return wire.Errorf("DeleteAssociationSameAccount", "The specified association cannot be deleted: it is within the same account")
		}
		return wire.Errorf("AssociationNotFound", "The association of '%s' with '%s' does not exist", arn, wire.Value(in.ResourceArn))
	})
}

func (s *Service) addRevocations(_ context.Context, in *elbv2api.AddTrustStoreRevocationsInput) (*elbv2api.AddTrustStoreRevocationsOutput, error) {
	if _, err := s.trustStore(in.TrustStoreArn); err != nil {
		return nil, err
	}
	if len(in.RevocationContents) == 0 {
		return nil, invalid("At least one revocation content must be specified")
	}
	var fresh []Revocation
	for _, c := range in.RevocationContents {
		if kind := wire.Value(c.RevocationType); kind != "" && kind != "CRL" {
			return nil, invalid("'RevocationType' must be one of 'CRL', not '%s'", kind)
		}
		content, err := s.readFile("RevocationContentNotFound", wire.Value(c.S3Bucket), wire.Value(c.S3Key), wire.Value(c.S3ObjectVersion))
		if err != nil {
			return nil, err
		}
		list, err := revocationList(content)
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, Revocation{Content: content, Entries: int64(len(list.RevokedCertificateEntries))})
	}
	out := &elbv2api.AddTrustStoreRevocationsOutput{}
	return out, s.changeTrust(in.TrustStoreArn, func(_ *state.Tx, t *TrustStore) error {
		t.Revocations = slices.Clone(t.Revocations)
		var total int64
		for _, r := range fresh {
			t.LastID++
			r.ID = t.LastID
			t.Revocations = append(t.Revocations, r)
			out.TrustStoreRevocations = append(out.TrustStoreRevocations, elbv2api.TrustStoreRevocation{TrustStoreArn: &t.ARN, RevocationId: wire.Ptr(r.ID), RevocationType: wire.Ptr("CRL"), NumberOfRevokedEntries: wire.Ptr(r.Entries)})
		}
		for _, r := range t.Revocations {
			total += r.Entries
		}
		if total > mostRevokedEntries || len(t.Revocations) > mostRevocations {
			return wire.Errorf("TooManyTrustStoreRevocationEntries", "A trust store has at most %d revocation files and %d revoked entries", mostRevocations, mostRevokedEntries)
		}
		return nil
	})
}

func (s *Service) removeRevocations(_ context.Context, in *elbv2api.RemoveTrustStoreRevocationsInput) (*elbv2api.RemoveTrustStoreRevocationsOutput, error) {
	return &elbv2api.RemoveTrustStoreRevocationsOutput{}, s.changeTrust(in.TrustStoreArn, func(_ *state.Tx, t *TrustStore) error {
		t.Revocations = slices.Clone(t.Revocations)
		for _, id := range in.RevocationIds {
			i := slices.IndexFunc(t.Revocations, func(r Revocation) bool { return r.ID == id })
			if i < 0 {
				return noRevocation(id)
			}
			t.Revocations = slices.Delete(t.Revocations, i, i+1)
		}
		return nil
	})
}

func (s *Service) describeRevocations(_ context.Context, in *elbv2api.DescribeTrustStoreRevocationsInput) (*elbv2api.DescribeTrustStoreRevocationsOutput, error) {
	t, err := s.trustStore(in.TrustStoreArn)
	if err != nil {
		return nil, err
	}
	for _, id := range in.RevocationIds {
		if !slices.ContainsFunc(t.Revocations, func(r Revocation) bool { return r.ID == id }) {
			return nil, noRevocation(id)
		}
	}
	out := &elbv2api.DescribeTrustStoreRevocationsOutput{TrustStoreRevocations: []elbv2api.DescribeTrustStoreRevocation{}}
	shown := slices.DeleteFunc(slices.Clone(t.Revocations), func(r Revocation) bool {
		return len(in.RevocationIds) > 0 && !slices.Contains(in.RevocationIds, r.ID)
	})
	shown, out.NextMarker = page(shown, func(r Revocation) string { return fmt.Sprintf("%019d", r.ID) }, in.Marker, in.PageSize)
	for _, r := range shown {
		out.TrustStoreRevocations = append(out.TrustStoreRevocations, elbv2api.DescribeTrustStoreRevocation{TrustStoreArn: &t.ARN, RevocationId: wire.Ptr(r.ID), RevocationType: wire.Ptr("CRL"), NumberOfRevokedEntries: wire.Ptr(r.Entries)})
	}
	return out, nil
}

func (s *Service) bundleLocation(_ context.Context, in *elbv2api.GetTrustStoreCaCertificatesBundleInput) (*elbv2api.GetTrustStoreCaCertificatesBundleOutput, error) {
	t, err := s.trustStore(in.TrustStoreArn)
	if err != nil {
		return nil, err
	}
	return &elbv2api.GetTrustStoreCaCertificatesBundleOutput{Location: wire.Ptr(s.files.sign(t.ARN, "bundle"))}, nil
}

func (s *Service) revocationLocation(_ context.Context, in *elbv2api.GetTrustStoreRevocationContentInput) (*elbv2api.GetTrustStoreRevocationContentOutput, error) {
	t, err := s.trustStore(in.TrustStoreArn)
	if err != nil {
		return nil, err
	}
	id := wire.Value(in.RevocationId)
	if !slices.ContainsFunc(t.Revocations, func(r Revocation) bool { return r.ID == id }) {
		return nil, noRevocation(id)
	}
	return &elbv2api.GetTrustStoreRevocationContentOutput{Location: wire.Ptr(s.files.sign(t.ARN, strconv.FormatInt(id, 10)))}, nil
}

// ServeHTTP answers the locations that GetTrustStoreCaCertificatesBundle and
// GetTrustStoreRevocationContent give out.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arn, file, ok := s.files.open(r)
	if !ok {
		http.Error(w, "the address is not one that was given out, or has expired", http.StatusForbidden)
		return
	}
	t, err := s.trustStore(&arn)
	if err != nil {
		http.Error(w, "the trust store was deleted", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if file == "bundle" {
		_, _ = w.Write(t.Bundle) // the client may be gone
		return
	}
	for _, rev := range t.Revocations {
		if strconv.FormatInt(rev.ID, 10) == file {
			_, _ = w.Write(rev.Content) // the client may be gone
			return
		}
	}
	http.Error(w, "the revocation was removed", http.StatusNotFound)
}

// checkMutual checks how a listener authenticates its clients and writes it as AWS echoes it.
func (s *Service) checkMutual(tx *state.Tx, protocol string, m *elbv2api.MutualAuthenticationAttributes) (*elbv2api.MutualAuthenticationAttributes, error) {
	if protocol != "HTTPS" {
		if m != nil && wire.Value(m.Mode) != "" && *m.Mode != "off" {
			return nil, wire.Errorf("InvalidConfigurationRequest", "Mutual authentication is supported by HTTPS listeners only")
		}
		return nil, nil
	}
	if m == nil {
		m = &elbv2api.MutualAuthenticationAttributes{}
	}
	out := *m
	out.Mode = or(out.Mode, wire.Ptr("off"))
	if err := oneOf("Mode", *out.Mode, "off", "passthrough", "verify"); err != nil {
		return nil, err
	}
	if out.AdvertiseTrustStoreCaNames != nil {
		if err := oneOf("AdvertiseTrustStoreCaNames", *out.AdvertiseTrustStoreCaNames, "on", "off"); err != nil {
			return nil, err
		}
	}
	if *out.Mode != "verify" {
		if out.TrustStoreArn != nil || wire.Value(out.IgnoreClientCertificateExpiry) || wire.Value(out.AdvertiseTrustStoreCaNames) == "on" {
			return nil, invalid("A trust store, IgnoreClientCertificateExpiry and AdvertiseTrustStoreCaNames can be specified with the mode 'verify' only")
		}
		return &elbv2api.MutualAuthenticationAttributes{Mode: out.Mode}, nil
	}
	if out.TrustStoreArn == nil {
		return nil, invalid("A trust store ARN must be specified with the mode 'verify'")
	}
	if _, ok := s.trust.Get(tx, *out.TrustStoreArn); !ok {
		return nil, noTrustStore(*out.TrustStoreArn)
	}
	out.IgnoreClientCertificateExpiry = or(out.IgnoreClientCertificateExpiry, wire.Ptr(false))
	out.AdvertiseTrustStoreCaNames = or(out.AdvertiseTrustStoreCaNames, wire.Ptr("off"))
	return &out, nil
}

// clientsOf is what a listener's data plane does with clients' certificates; nil: nothing.
func (s *Service) clientsOf(tx *state.Tx, l *Listener) *balancer.Clients {
	m := l.API.MutualAuthentication
	if m == nil || wire.Value(m.Mode) == "off" {
		return nil
	}
	if wire.Value(m.Mode) != "verify" {
		return &balancer.Clients{}
	}
	t, ok := s.trust.Get(tx, wire.Value(m.TrustStoreArn))
	if !ok { // it cannot be deleted while it is used
		return &balancer.Clients{Verify: true}
	}
	s.trusted.mu.Lock()
	defer s.trusted.mu.Unlock()
	c := s.trusted.of(t)
	out := *c
	out.IgnoreExpiry, out.Advertise = wire.Value(m.IgnoreClientCertificateExpiry), wire.Value(m.AdvertiseTrustStoreCaNames) == "on"
	return &out
}
