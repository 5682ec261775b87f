package balancer

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// newTLS is how a listener speaks TLS.
func newTLS(lb *LoadBalancer, ln *Listener) *tls.Config {
	out := &tls.Config{Certificates: ln.Certificates, MinVersion: tls.VersionTLS12, MaxVersion: ln.Security.Most, CipherSuites: ln.Security.Ciphers}
	if ln.Security.Least != 0 {
		out.MinVersion = ln.Security.Least
	}
	if ln.Protocol == "HTTPS" {
		out.NextProtos = []string{"h2", "http/1.1"}
		if lb.NoHTTP2 {
			out.NextProtos = []string{"http/1.1"}
		}
	}
	if c := ln.Clients; c != nil {
		out.ClientAuth = tls.RequestClientCert // who has none is refused by verify, so that the log can say why
		if c.Advertise {
			out.ClientCAs = x509.NewCertPool()
			for _, root := range c.Roots {
				out.ClientCAs.AddCert(root)
			}
		}
	}
	return out
}

// tlsFor is the configuration for one connection, whose handshake is watched if anybody asks.
func (rt *route) tlsFor(c *client) *tls.Config {
	if c == nil || rt.ln.Clients == nil && rt.lb.ConnectionLog == nil {
		return rt.tls
	}
	cfg := rt.tls.Clone()
	began := time.Now()
	cfg.VerifyConnection = func(cs tls.ConnectionState) error {
		c.shaken.Store(int64(time.Since(began)))
		if len(cs.PeerCertificates) > 0 {
			c.leaf.Store(cs.PeerCertificates[0])
		}
		if rt.ln.Clients == nil || !rt.ln.Clients.Verify {
			return nil
		}
		err := rt.ln.Clients.verify(cs.PeerCertificates, time.Now())
		var refused *refusedClient
		if errors.As(err, &refused) {
			c.failed.Store(refused.code)
		}
		return err
	}
	return cfg
}

// refusedClient is why a client's certificate is not good; code is what the connection log says.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-connection-logs.html
type refusedClient struct{ code, why string }

func (e *refusedClient) Error() string { return e.code + ": " + e.why }

// Bounds of a client's certificates.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/mutual-authentication.html
const (
	mostChain           = 4
	mostCertificateSize = 16 << 10 // bytes
)

// verify tells why the first certificate does not prove who the client is; nil if it does.
func (c *Clients) verify(chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return &refusedClient{"ClientCertRejected", "the client showed no certificate"}
	}
	if len(chain) > mostChain {
		return &refusedClient{"ClientCertMaxChainDepthExceeded", fmt.Sprintf("the chain has %d certificates", len(chain))}
	}
	leaf := chain[0]
	for _, cert := range chain {
		if len(cert.Raw) > mostCertificateSize {
			return &refusedClient{"ClientCertMaxSizeExceeded", "a certificate is too large"}
		}
	}
	switch {
	case now.Before(leaf.NotBefore):
		return &refusedClient{"ClientCertNotYetValid", "not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339)}
	case now.After(leaf.NotAfter) && !c.IgnoreExpiry:
		return &refusedClient{"ClientCertExpired", "not valid after " + leaf.NotAfter.UTC().Format(time.RFC3339)}
	case now.After(leaf.NotAfter):
		now = leaf.NotAfter
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, root := range c.Roots {
		options.Roots.AddCert(root)
	}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	chains, err := leaf.Verify(options)
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return &refusedClient{"ClientCertPurposeInvalid", err.Error()}
	case errors.As(err, &invalid):
		return &refusedClient{"ClientCertInvalid", err.Error()}
	case err != nil:
		return &refusedClient{"ClientCertUntrusted", err.Error()}
	}
	for _, cert := range chains[0][:len(chains[0])-1] {
		if c.revoked(cert, chains[0]) {
			return &refusedClient{"ClientCertCrlHit", "certificate " + serial(cert) + " is revoked"}
		}
	}
	return nil
}

// revoked tells whether a list that the certificate's issuer has signed names it.
func (c *Clients) revoked(cert *x509.Certificate, chain []*x509.Certificate) bool {
	for _, list := range c.Revoked {
		if !bytes.Equal(list.RawIssuer, cert.RawIssuer) {
			continue
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(cert.SerialNumber) != 0 {
				continue
			}
			for _, issuer := range chain {
				if bytes.Equal(issuer.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(issuer) == nil {
					return true
				}
			}
		}
	}
	return false
}

func serial(c *x509.Certificate) string { return fmt.Sprintf("%X", c.SerialNumber) }

func validity(c *x509.Certificate) string {
	return "NotBefore=" + c.NotBefore.UTC().Format(time.RFC3339) + ";NotAfter=" + c.NotAfter.UTC().Format(time.RFC3339)
}

// The headers about TLS that targets get.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/mutual-authentication.html#mtls-http-headers
const (
	headerSerial   = "X-Amzn-Mtls-Clientcert-Serial-Number"
	headerIssuer   = "X-Amzn-Mtls-Clientcert-Issuer"
	headerSubject  = "X-Amzn-Mtls-Clientcert-Subject"
	headerValidity = "X-Amzn-Mtls-Clientcert-Validity"
	headerLeaf     = "X-Amzn-Mtls-Clientcert-Leaf"
	headerChain    = "X-Amzn-Mtls-Clientcert"
	headerVersion  = "X-Amzn-Tls-Version"
	headerCipher   = "X-Amzn-Tls-Cipher-Suite"
)

// tellTLS tells the target what the balancer knows of the client by TLS. What the client itself says
// of it goes no further, under none of the names.
func (rt *route) tellTLS(cs *tls.ConnectionState, h http.Header) {
	name := func(header string) string {
		if other := rt.ln.RequestHeaders[header]; other != "" {
			return other
		}
		return header
	}
	set := func(header, value string) { h[http.CanonicalHeaderKey(name(header))] = []string{value} }
	if rt.lb.TLSHeaders {
		h.Del(name(headerVersion))
		h.Del(name(headerCipher))
		if cs != nil {
			set(headerVersion, versionName(cs.Version))
			set(headerCipher, cipherName(cs.CipherSuite))
		}
	}
	c := rt.ln.Clients
	if c == nil {
		return
	}
	for _, header := range []string{headerSerial, headerIssuer, headerSubject, headerValidity, headerLeaf, headerChain} {
		h.Del(header)
		h.Del(name(header))
	}
	if cs == nil || len(cs.PeerCertificates) == 0 {
		return
	}
	if !c.Verify {
		var text []byte
		for _, cert := range cs.PeerCertificates {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
		}
		set(headerChain, escapePEM(text))
		return
	}
	leaf := cs.PeerCertificates[0]
	set(headerSerial, serial(leaf))
	set(headerIssuer, leaf.Issuer.String())
	set(headerSubject, leaf.Subject.String())
	set(headerValidity, validity(leaf))
	set(headerLeaf, escapePEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})))
}

// escapePEM is PEM in URL encoding; +, = and / stay as they are.
func escapePEM(text []byte) string {
	return strings.NewReplacer("+", "%20", "%2B", "+", "%3D", "=", "%2F", "/").Replace(url.QueryEscape(string(text)))
}

func versionName(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "TLSv1"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return "-"
}

// CipherNames are the cipher suites Go speaks by the names AWS has for them, which are OpenSSL's.
var CipherNames = map[string]uint16{
	"TLS_AES_128_GCM_SHA256": tls.TLS_AES_128_GCM_SHA256, "TLS_AES_256_GCM_SHA384": tls.TLS_AES_256_GCM_SHA384, "TLS_CHACHA20_POLY1305_SHA256": tls.TLS_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256": tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES128-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, "ECDHE-RSA-AES128-SHA256": tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256,
	"ECDHE-ECDSA-AES128-SHA": tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, "ECDHE-RSA-AES128-SHA": tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384": tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-AES256-SHA": tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, "ECDHE-RSA-AES256-SHA": tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256": tls.TLS_RSA_WITH_AES_128_GCM_SHA256, "AES128-SHA256": tls.TLS_RSA_WITH_AES_128_CBC_SHA256, "AES128-SHA": tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-GCM-SHA384": tls.TLS_RSA_WITH_AES_256_GCM_SHA384, "AES256-SHA": tls.TLS_RSA_WITH_AES_256_CBC_SHA, "DES-CBC3-SHA": tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305": tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

var cipherNames = func() map[uint16]string {
	out := map[uint16]string{}
	for name, id := range CipherNames {
		out[id] = name
	}
	return out
}()

func cipherName(id uint16) string {
	if n, ok := cipherNames[id]; ok {
		return n
	}
	return tls.CipherSuiteName(id)
}
