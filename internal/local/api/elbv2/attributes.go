package elbv2

import (
	"context"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/elbv2api"
)

// balancerDefaults are the attributes of a new load balancer.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html
func balancerDefaults(kind string) map[string]string {
	out := map[string]string{"deletion_protection.enabled": "false", "access_logs.s3.enabled": "false", "access_logs.s3.bucket": "", "access_logs.s3.prefix": "",
		"ipv6.deny_all_igw_traffic": "false", "zonal_shift.config.enabled": "false", "load_balancing.cross_zone.enabled": "false"}
	if kind == "network" {
		out["dns_record.client_routing_policy"] = "any_availability_zone"
		out["secondary_ips.auto_assigned.per_subnet"] = "0"
		return out
	}
	maps.Copy(out, map[string]string{"load_balancing.cross_zone.enabled": "true", "idle_timeout.timeout_seconds": "60", "client_keep_alive.seconds": "3600",
		"connection_logs.s3.enabled": "false", "connection_logs.s3.bucket": "", "connection_logs.s3.prefix": "",
		"routing.http2.enabled": "true", "routing.http.drop_invalid_header_fields.enabled": "false", "routing.http.desync_mitigation_mode": "defensive",
		"routing.http.xff_header_processing.mode": "append", "routing.http.preserve_host_header.enabled": "false", "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
		"routing.http.xff_client_port.enabled": "false", "waf.fail_open.enabled": "false"})
	return out
}

// attributes are a load balancer's, with the defaults of those it was made before.
func (lb *LoadBalancer) attributes() map[string]string {
	out := balancerDefaults(wire.Value(lb.API.Type))
	maps.Copy(out, lb.Attributes)
	return out
}

func (s *Service) balancerAttributes(_ context.Context, in *elbv2api.DescribeLoadBalancerAttributesInput) (*elbv2api.DescribeLoadBalancerAttributesOutput, error) {
	out := &elbv2api.DescribeLoadBalancerAttributesOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		lb, ok := s.balancers.Get(tx, wire.Value(in.LoadBalancerArn))
		if !ok {
			return notFound("LoadBalancerNotFound", "load balancers", wire.Value(in.LoadBalancerArn))
		}
		out.Attributes = shownAttributes(lb.attributes())
		return nil
	})
}

func shownAttributes(all map[string]string) (out []elbv2api.LoadBalancerAttribute) {
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, elbv2api.LoadBalancerAttribute{Key: wire.Ptr(k), Value: wire.Ptr(all[k])})
	}
	return out
}

func (s *Service) modifyBalancerAttributes(ctx context.Context, in *elbv2api.ModifyLoadBalancerAttributesInput) (*elbv2api.ModifyLoadBalancerAttributesOutput, error) {
	var was, is map[string]string
	// What is checked outside of the transaction is S3's: it has transactions of its own.
	err := s.db.View(func(tx *state.Tx) error {
		lb, ok := s.balancers.Get(tx, wire.Value(in.LoadBalancerArn))
		if !ok {
			return notFound("LoadBalancerNotFound", "load balancers", wire.Value(in.LoadBalancerArn))
		}
		was = lb.attributes()
		var err error
		is, err = changedAttributes(lb, in.Attributes)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.checkLogs(is); err != nil {
		return nil, err
	}
	if err := s.testLogs(wire.Caller(ctx).Account, was, is); err != nil {
		return nil, err
	}
	out := &elbv2api.ModifyLoadBalancerAttributesOutput{}
	return out, s.modifyBalancer(in.LoadBalancerArn, func(_ *state.Tx, lb *LoadBalancer) error {
		all, err := changedAttributes(lb, in.Attributes)
		lb.Attributes, out.Attributes = all, shownAttributes(all)
		return err
	})
}

func changedAttributes(lb *LoadBalancer, changes []elbv2api.LoadBalancerAttribute) (map[string]string, error) {
	all := lb.attributes()
	for _, a := range changes {
		key, value := wire.Value(a.Key), wire.Value(a.Value)
		if _, ok := all[key]; !ok {
			return nil, wire.Errorf("InvalidConfigurationRequest", "Load balancer attribute key '%s' is not recognized", key)
		}
		if err := checkBalancerAttribute(wire.Value(lb.API.Type), key, value, all[key]); err != nil {
			return nil, err
		}
		all[key] = value
	}
	return all, nil
}

func checkBalancerAttribute(kind, key, value, was string) error {
	switch {
	case key == "idle_timeout.timeout_seconds":
		return between(key, value, 1, 4000)
	case key == "client_keep_alive.seconds":
		return between(key, value, 60, 604800)
	case key == "routing.http.xff_header_processing.mode":
		return oneOf(key, value, "append", "preserve", "remove")
	case key == "routing.http.desync_mitigation_mode":
		return oneOf(key, value, "monitor", "defensive", "strictest")
	case key == "dns_record.client_routing_policy":
		return oneOf(key, value, "availability_zone_affinity", "partial_availability_zone_affinity", "any_availability_zone")
	case key == "secondary_ips.auto_assigned.per_subnet":
		return between(key, value, atoi(was), 7) // it can only grow
	case key == "load_balancing.cross_zone.enabled" && kind == "application" && value != "true":
		return wire.Errorf("InvalidConfigurationRequest", "Cross-zone load balancing cannot be turned off for an Application Load Balancer")
	case strings.HasSuffix(key, ".enabled"), key == "ipv6.deny_all_igw_traffic":
		return oneOf(key, value, "true", "false")
	}
	return nil
}

// The attributes of listeners that name other headers for what the balancer tells targets of TLS, and
// those that put headers into responses.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/header-modification.html
var (
	renames = map[string]string{
		"routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name": "X-Amzn-Mtls-Clientcert-Serial-Number",
		"routing.http.request.x_amzn_mtls_clientcert_issuer.header_name":        "X-Amzn-Mtls-Clientcert-Issuer",
		"routing.http.request.x_amzn_mtls_clientcert_subject.header_name":       "X-Amzn-Mtls-Clientcert-Subject",
		"routing.http.request.x_amzn_mtls_clientcert_validity.header_name":      "X-Amzn-Mtls-Clientcert-Validity",
		"routing.http.request.x_amzn_mtls_clientcert_leaf.header_name":          "X-Amzn-Mtls-Clientcert-Leaf",
		"routing.http.request.x_amzn_mtls_clientcert.header_name":               "X-Amzn-Mtls-Clientcert",
		"routing.http.request.x_amzn_tls_version.header_name":                   "X-Amzn-Tls-Version",
		"routing.http.request.x_amzn_tls_cipher_suite.header_name":              "X-Amzn-Tls-Cipher-Suite",
	}
	inserts = map[string]string{
		"routing.http.response.strict_transport_security.header_value":        "Strict-Transport-Security",
		"routing.http.response.access_control_allow_origin.header_value":      "Access-Control-Allow-Origin",
		"routing.http.response.access_control_allow_methods.header_value":     "Access-Control-Allow-Methods",
		"routing.http.response.access_control_allow_headers.header_value":     "Access-Control-Allow-Headers",
		"routing.http.response.access_control_allow_credentials.header_value": "Access-Control-Allow-Credentials",
		"routing.http.response.access_control_expose_headers.header_value":    "Access-Control-Expose-Headers",
		"routing.http.response.access_control_max_age.header_value":           "Access-Control-Max-Age",
		"routing.http.response.content_security_policy.header_value":          "Content-Security-Policy",
		"routing.http.response.x_content_type_options.header_value":           "X-Content-Type-Options",
		"routing.http.response.x_frame_options.header_value":                  "X-Frame-Options",
	}
)

const (
	serverHeader   = "routing.http.response.server.enabled"
	tcpIdleTimeout = "tcp.idle_timeout.seconds"
)

// listenerDefaults are the attributes of a new listener.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_ListenerAttribute.html
func listenerDefaults(protocol string) map[string]string {
	out := map[string]string{}
	switch protocol {
	case "HTTP", "HTTPS":
		out[serverHeader] = "true"
		for key := range inserts {
			out[key] = ""
		}
		if protocol == "HTTPS" {
			maps.Copy(out, renames)
		}
	case "TCP":
		out[tcpIdleTimeout] = "350"
	}
	return out
}

func (l *Listener) attributes() map[string]string {
	out := listenerDefaults(wire.Value(l.API.Protocol))
	for k, v := range l.Attributes {
		if _, ok := out[k]; ok { // its protocol may have changed
			out[k] = v
		}
	}
	return out
}

var (
	headerName  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,127}$`)
	headerValue = regexp.MustCompile(`^[\t\x20-\x7e]*$`)
)

func checkListenerAttribute(key, value string) error {
	switch key {
	case serverHeader:
		return oneOf(key, value, "true", "false")
	case tcpIdleTimeout:
		return between(key, value, 60, 6000)
	}
	if _, ok := renames[key]; ok {
		if !headerName.MatchString(value) {
			return invalid("'%s' must be a header name of letters, digits, hyphens and underscores, not '%s'", key, value)
		}
		return nil
	}
	switch header := inserts[key]; {
	case value == "": // none is put in
		return nil
	case header == "X-Content-Type-Options":
		return oneOf(key, value, "nosniff")
	case header == "X-Frame-Options":
		if !strings.HasPrefix(value, "ALLOW-FROM ") {
			return oneOf(key, value, "DENY", "SAMEORIGIN")
		}
	case header == "Access-Control-Allow-Credentials":
		return oneOf(key, value, "true")
	case header == "Access-Control-Max-Age":
		return between(key, value, 0, 86400)
	case header == "Access-Control-Allow-Methods" && value != "*":
		for m := range strings.SplitSeq(value, ",") {
			if err := oneOf(key, strings.TrimSpace(m), "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"); err != nil {
				return err
			}
		}
	}
	if len(value) > 1024 || !headerValue.MatchString(value) {
		return invalid("'%s' must be at most 1024 printable characters", key)
	}
	return nil
}

func (s *Service) listenerAttributes(_ context.Context, in *elbv2api.DescribeListenerAttributesInput) (*elbv2api.DescribeListenerAttributesOutput, error) {
	out := &elbv2api.DescribeListenerAttributesOutput{}
	return out, s.db.View(func(tx *state.Tx) error {
		l, ok := s.listeners.Get(tx, wire.Value(in.ListenerArn))
		if !ok {
			return noListener(wire.Value(in.ListenerArn))
		}
		out.Attributes = l.shownAttributes()
		return nil
	})
}

func (l *Listener) shownAttributes() []elbv2api.ListenerAttribute {
	out := []elbv2api.ListenerAttribute{}
	all := l.attributes()
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, elbv2api.ListenerAttribute{Key: wire.Ptr(k), Value: wire.Ptr(all[k])})
	}
	return out
}

func (s *Service) modifyListenerAttributes(_ context.Context, in *elbv2api.ModifyListenerAttributesInput) (*elbv2api.ModifyListenerAttributesOutput, error) {
	out := &elbv2api.ModifyListenerAttributesOutput{}
	return out, s.changeListener(in.ListenerArn, func(_ *state.Tx, l *Listener) error {
		all := l.attributes()
		for _, a := range in.Attributes {
			key, value := wire.Value(a.Key), wire.Value(a.Value)
			if _, ok := all[key]; !ok {
				return wire.Errorf("InvalidConfigurationRequest", "Listener attribute key '%s' is not recognized or not supported for %s listeners", key, wire.Value(l.API.Protocol))
			}
			if err := checkListenerAttribute(key, value); err != nil {
				return err
			}
			all[key] = value
		}
		l.Attributes = all
		out.Attributes = l.shownAttributes()
		return nil
	})
}

// headers are what a listener's attributes make of the headers.
func (l *Listener) headers() (request, response map[string]string, hideServer bool) {
	all := l.attributes()
	request, response = map[string]string{}, map[string]string{}
	for key, header := range renames {
		if v := all[key]; v != "" && v != header {
			request[header] = v
		}
	}
	for key, header := range inserts {
		if v := all[key]; v != "" {
			response[header] = v
		}
	}
	return request, response, all[serverHeader] == "false"
}
