package elbv2

import (
	"context"
	"crypto/tls"
	"slices"

	"github.com/slipway-ecs/slipway/internal/local/balancer"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// securityPolicy is a security policy: which versions and ciphers of TLS a listener speaks.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html
type securityPolicy struct {
	name        string
	least, most uint16
	ciphers     []string
}

// The ciphers in the order of preference that all policies share.
var (
	ciphers13   = []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
	ciphersFIPS = ciphers13[:2]
	ciphersAll  = []string{
		"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-RSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA",
		"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA384", "ECDHE-RSA-AES256-SHA", "ECDHE-ECDSA-AES256-SHA",
		"AES128-GCM-SHA256", "AES128-SHA256", "AES128-SHA", "AES256-GCM-SHA384", "AES256-SHA256", "AES256-SHA",
	}
	forwardSecret = ciphersAll[:12]
	onlySHA2      = without(ciphersAll, "ECDHE-ECDSA-AES128-SHA", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA", "ECDHE-ECDSA-AES256-SHA", "AES128-SHA", "AES256-SHA")
	forwardSHA2   = onlySHA2[:8]
	restricted    = []string{"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"}
)

func without(all []string, some ...string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(c string) bool { return slices.Contains(some, c) })
}

const defaultPolicy = "ELBSecurityPolicy-2016-08"

var securityPolicies = []securityPolicy{
	{defaultPolicy, tls.VersionTLS10, tls.VersionTLS12, ciphersAll},
	{"ELBSecurityPolicy-TLS13-1-2-2021-06", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphers13, forwardSHA2)},
	{"ELBSecurityPolicy-TLS13-1-2-Res-2021-06", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphers13, restricted)},
	{"ELBSecurityPolicy-TLS13-1-2-Res-PQ-2025-09", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphers13, restricted)},
	{"ELBSecurityPolicy-TLS13-1-2-Ext1-2021-06", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphers13, onlySHA2)},
	{"ELBSecurityPolicy-TLS13-1-2-Ext2-2021-06", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphers13, ciphersAll)},
	{"ELBSecurityPolicy-TLS13-1-1-2021-06", tls.VersionTLS11, tls.VersionTLS13, slices.Concat(ciphers13, ciphersAll)},
	{"ELBSecurityPolicy-TLS13-1-0-2021-06", tls.VersionTLS10, tls.VersionTLS13, slices.Concat(ciphers13, ciphersAll)},
	{"ELBSecurityPolicy-TLS13-1-3-2021-06", tls.VersionTLS13, tls.VersionTLS13, ciphers13},
	{"ELBSecurityPolicy-TLS13-1-3-FIPS-2023-04", tls.VersionTLS13, tls.VersionTLS13, ciphersFIPS},
	{"ELBSecurityPolicy-TLS13-1-2-Res-FIPS-2023-04", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphersFIPS, restricted)},
	{"ELBSecurityPolicy-TLS13-1-2-FIPS-2023-04", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphersFIPS, forwardSHA2)},
	{"ELBSecurityPolicy-TLS13-1-2-Ext0-FIPS-2023-04", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphersFIPS, forwardSecret)},
	{"ELBSecurityPolicy-TLS13-1-2-Ext1-FIPS-2023-04", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphersFIPS, onlySHA2)},
	{"ELBSecurityPolicy-TLS13-1-2-Ext2-FIPS-2023-04", tls.VersionTLS12, tls.VersionTLS13, slices.Concat(ciphersFIPS, ciphersAll)},
	{"ELBSecurityPolicy-TLS13-1-1-FIPS-2023-04", tls.VersionTLS11, tls.VersionTLS13, slices.Concat(ciphersFIPS, ciphersAll)},
	{"ELBSecurityPolicy-TLS13-1-0-FIPS-2023-04", tls.VersionTLS10, tls.VersionTLS13, slices.Concat(ciphersFIPS, ciphersAll)},
	{"ELBSecurityPolicy-TLS-1-2-2017-01", tls.VersionTLS12, tls.VersionTLS12, onlySHA2},
	{"ELBSecurityPolicy-TLS-1-1-2017-01", tls.VersionTLS11, tls.VersionTLS12, ciphersAll},
	{"ELBSecurityPolicy-TLS-1-2-Ext-2018-06", tls.VersionTLS12, tls.VersionTLS12, ciphersAll},
	{"ELBSecurityPolicy-FS-2018-06", tls.VersionTLS10, tls.VersionTLS12, forwardSecret},
	{"ELBSecurityPolicy-2015-05", tls.VersionTLS10, tls.VersionTLS12, ciphersAll},
	{"ELBSecurityPolicy-TLS-1-0-2015-04", tls.VersionTLS10, tls.VersionTLS12, slices.Concat(ciphersAll, []string{"DES-CBC3-SHA"})},
	{"ELBSecurityPolicy-FS-1-2-Res-2019-08", tls.VersionTLS12, tls.VersionTLS12, forwardSHA2},
	{"ELBSecurityPolicy-FS-1-1-2019-08", tls.VersionTLS11, tls.VersionTLS12, forwardSecret},
	{"ELBSecurityPolicy-FS-1-2-2019-08", tls.VersionTLS12, tls.VersionTLS12, forwardSecret},
	{"ELBSecurityPolicy-FS-1-2-Res-2020-10", tls.VersionTLS12, tls.VersionTLS12, restricted},
}

func policyOf(name string) (securityPolicy, error) {
	for _, p := range securityPolicies {
		if p.name == name {
			return p, nil
		}
	}
	return securityPolicy{}, wire.Errorf("SSLPolicyNotFound", "SSL policy '%s' not found", name)
}

// security is the policy as the data plane speaks it. Ciphers Go has no code for are left out.
func (p securityPolicy) security() balancer.Security {
	out := balancer.Security{Least: p.least, Most: p.most, Ciphers: []uint16{}}
	for _, c := range p.ciphers {
		if id, ok := balancer.CipherNames[c]; ok {
			out.Ciphers = append(out.Ciphers, id)
		}
	}
	return out
}

func sslPolicies(_ context.Context, in *elbv2api.DescribeSSLPoliciesInput) (*elbv2api.DescribeSSLPoliciesOutput, error) {
	out := &elbv2api.DescribeSSLPoliciesOutput{SslPolicies: []elbv2api.SslPolicy{}}
	for _, name := range in.Names {
		if _, err := policyOf(name); err != nil {
			return nil, err
		}
	}
	var all []elbv2api.SslPolicy
	for _, p := range securityPolicies {
		if len(in.Names) > 0 && !slices.Contains(in.Names, p.name) {
			continue
		}
		shown := elbv2api.SslPolicy{Name: wire.Ptr(p.name), SupportedLoadBalancerTypes: []string{"application", "network"}}
		for _, v := range []struct {
			version uint16
			name    string
		}{{tls.VersionTLS10, "TLSv1"}, {tls.VersionTLS11, "TLSv1.1"}, {tls.VersionTLS12, "TLSv1.2"}, {tls.VersionTLS13, "TLSv1.3"}} {
			if v.version >= p.least && v.version <= p.most {
				shown.SslProtocols = append(shown.SslProtocols, v.name)
			}
		}
		for i, c := range p.ciphers {
			shown.Ciphers = append(shown.Ciphers, elbv2api.Cipher{Name: wire.Ptr(c), Priority: wire.Int32(i + 1)})
		}
		all = append(all, shown)
	}
	slices.SortFunc(all, func(a, b elbv2api.SslPolicy) int {
		if *a.Name < *b.Name {
			return -1
		}
		return 1
	})
	out.SslPolicies, out.NextMarker = page(all, func(p elbv2api.SslPolicy) string { return *p.Name }, in.Marker, in.PageSize)
	return out, nil
}
