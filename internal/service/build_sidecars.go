package service

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
)

// Containers that slipway.yaml asks for by what they are for: they are sidecars like others in all
// that follows.
const (
	ConsulAgentName = "consul-agent"
	CollectorName   = "metrics-collector"
)

const (
	consulImage    = "public.ecr.aws/hashicorp/consul:1.20"
	collectorImage = "public.ecr.aws/aws-observability/aws-otel-collector:v0.43.1"
)

// metricsConfig is metrics.
type metricsConfig struct {
	Port        int      `yaml:"port" short:"true" jsonschema:"required,minimum=1,maximum=65535" jsonschema_description:"Port of the main container that Prometheus metrics are on"`
	Path        string   `yaml:"path" jsonschema:"pattern=^/" jsonschema_description:"Default: /metrics"`
	Interval    duration `yaml:"interval" jsonschema_description:"Between two looks, 5s to 10m; default: 1m"`
	Namespace   string   `yaml:"namespace" jsonschema:"pattern=^[A-Za-z0-9._/#:-]+$,maxLength=255" jsonschema_description:"CloudWatch namespace they are written to; default: Slipway/SERVICE"`
	RemoteWrite string   `yaml:"remote_write" jsonschema:"pattern=^https?://" jsonschema_description:"Prometheus remote-write URL they are sent to instead; one of Amazon Managed Prometheus is signed for"`
	Image       string   `yaml:"image" jsonschema_description:"Image of the collector; default: AWS Distro for OpenTelemetry"`
	CPU         cpuUnits `yaml:"cpu" jsonschema_description:"Default: 64"`
	Memory      mib      `yaml:"memory" jsonschema_description:"Hard limit; default: 256"`
}

// agents adds the sidecars; discovery and metrics need the task's containers to share an address.
func (b *builder) agents(s *settings, out *Spec) {
	add := func(at string, c *Container) {
		if c == nil {
			return
		}
		if slices.ContainsFunc(out.Containers, func(o Container) bool { return o.Name == c.Name }) {
			b.fault("sidecars."+c.Name, "%s is the name of the container that %s adds", c.Name, at)
		}
		if out.NetworkMode == "bridge" {
			b.fault(at, "%s needs network: awsvpc or host: in bridge mode a sidecar reaches the main container at no fixed address", at)
		}
		out.Containers = append(out.Containers, *c)
		if n := len(out.Containers); n > 10 {
			b.fault(at, "%d containers with that of %s: a task takes 10", n, at)
		}
	}
	if d := s.Discovery; d != nil && d.Kind == "consul" {
		add("discovery", b.consulAgent(d, s, out))
	}
	if s.Metrics != nil {
		add("metrics", b.collector(s.Metrics, out))
	}
}

// consulAgent is a Consul client agent that registers the service at its start and takes it out again
// before the service stops: it is stopped first, because it depends on the main container.
// https://developer.hashicorp.com/consul/docs/reference/agent/configuration-file
func (b *builder) consulAgent(c *discoveryConfig, s *settings, out *Spec) *Container {
	for key, set := range map[string]bool{"namespace": c.Namespace != "", "record": c.Record != "", "ttl": c.TTL != 0} {
		if set {
			b.fault("discovery."+key, "discovery.%s is for Cloud Map", key)
		}
	}
	if out.Kind == KindJob {
		b.fault("discovery", "a job cannot be found by other services: it ends")
	}
	if len(c.Servers) == 0 {
		b.fault("discovery", "discovery.servers is missing: what the Consul agent joins, such as consul.internal or provider=aws tag_key=consul tag_value=server")
	}
	main := out.Containers[0]
	if len(main.Ports) == 0 {
		b.fault("discovery", "Consul registers a port, but container %s has none", main.Name)
		return nil
	}
	port := main.Ports[0].Container
	check := fmt.Sprintf("tcp = \"127.0.0.1:%d\"", port)
	if s.Route != nil && slices.Contains([]string{"", "http"}, s.Route.Protocol) {
		check = fmt.Sprintf("http = %s", hclString(fmt.Sprintf("http://127.0.0.1:%d%s", port, or(s.Route.Health.Path, "/"))))
	}
	var tags []string
	for _, t := range c.Tags {
		tags = append(tags, hclString(t))
	}
	registration := fmt.Sprintf("service {\n  name = %s\n  port = %d\n  tags = [%s]\n  check {\n    %s\n    interval = \"10s\"\n    timeout = \"5s\"\n    deregister_critical_service_after = \"10m\"\n  }\n}",
		hclString(or(c.Name, out.Name)), port, strings.Join(tags, ", "), check)
	r := &Container{Name: ConsulAgentName, Image: or(c.Image, consulImage), Essential: true, CPU: 64, Memory: 128, StopTimeout: 30 * time.Second,
		Command:   []string{"agent", "-bind={{ GetPrivateIP }}", "-client=127.0.0.1"},
		DependsOn: []Dependency{{Container: main.Name, Condition: "START"}}}
	if c.Datacenter != "" {
		r.Command = append(r.Command, "-datacenter="+c.Datacenter)
	}
	for _, join := range c.Servers {
		r.Command = append(r.Command, "-retry-join="+join)
	}
	r.Command = append(r.Command, "-hcl=leave_on_terminate = true", "-hcl="+registration)
	if c.Config != "" {
		b.secretSource("discovery.config", c.Config)
		r.Secrets = map[string]string{"CONSUL_LOCAL_CONFIG": c.Config}
	}
	return r
}

// hclString quotes a text for HCL, in which ${ begins an expression.
func hclString(s string) string { return strings.ReplaceAll(strconv.Quote(s), "${", "$${") }

// collector is an OpenTelemetry collector that scrapes the main container and passes on what it finds.
// https://aws-otel.github.io/docs/getting-started/prometheus-remote-write-exporter
// https://aws-otel.github.io/docs/setup/ecs/config-through-ssm (AOT_CONFIG_CONTENT)
func (b *builder) collector(c *metricsConfig, out *Spec) *Container {
	if out.Kind == KindJob {
		b.fault("metrics", "a job is not scraped: it ends")
	}
	interval := time.Duration(c.Interval)
	if interval == 0 {
		interval = time.Minute
	}
	b.within("metrics.interval", interval, 5*time.Second, 10*time.Minute)
	if c.Namespace != "" && c.RemoteWrite != "" {
		b.fault("metrics.namespace", "metrics.namespace is CloudWatch's, but metrics.remote_write sends them elsewhere")
	}
	type m = yaml.MapSlice
	pair := func(k string, v any) yaml.MapItem { return yaml.MapItem{Key: k, Value: v} }
	scrape := m{pair("job_name", out.Name), pair("scrape_interval", short(interval)), pair("metrics_path", or(c.Path, "/metrics")),
		pair("static_configs", []any{m{pair("targets", []string{fmt.Sprintf("127.0.0.1:%d", c.Port)}), pair("labels", m{pair("service", out.Name), pair("environment", out.Environment)})}})}
	config := m{pair("receivers", m{pair("prometheus", m{pair("config", m{pair("scrape_configs", []any{scrape})})})}),
		pair("processors", m{pair("batch", m{pair("timeout", "10s")})})}
	service := m{}
	exporter, settings := "awsemf", m{pair("namespace", b.namespace(c, out)), pair("log_group_name", b.metricsGroup(out)), pair("dimension_rollup_option", "NoDimensionRollup"),
		pair("resource_to_telemetry_conversion", m{pair("enabled", true)})}
	if c.RemoteWrite != "" {
		exporter, settings = "prometheusremotewrite", m{pair("endpoint", c.RemoteWrite), pair("resource_to_telemetry_conversion", m{pair("enabled", true)})}
		if region := managedPrometheus(c.RemoteWrite); region != "" {
			settings = append(settings, pair("auth", m{pair("authenticator", "sigv4auth")}))
			config = append(config, pair("extensions", m{pair("sigv4auth", m{pair("region", region), pair("service", "aps")})}))
			service = append(service, pair("extensions", []string{"sigv4auth"}))
		}
	}
	config = append(config, pair("exporters", m{pair(exporter, settings)}))
	service = append(service, pair("pipelines", m{pair("metrics", m{pair("receivers", []string{"prometheus"}), pair("processors", []string{"batch"}), pair("exporters", []string{exporter})})}))
	text, err := yaml.Marshal(append(config, pair("service", service)))
	if err != nil {
		b.fault("metrics", "metrics: %v", err)
		return nil
	}
	r := &Container{Name: CollectorName, Image: or(c.Image, collectorImage), CPU: 64, Memory: 256, StopTimeout: 30 * time.Second,
		Env: map[string]string{"AOT_CONFIG_CONTENT": string(text)}, DependsOn: []Dependency{{Container: out.Containers[0].Name, Condition: "START"}}}
	if c.CPU > 0 {
		r.CPU = int(c.CPU)
	}
	if c.Memory > 0 {
		r.Memory = int(c.Memory)
	}
	return r
}

func (b *builder) namespace(c *metricsConfig, out *Spec) string {
	return or(c.Namespace, "Slipway/"+out.Name)
}

func (b *builder) metricsGroup(out *Spec) string {
	return "/slipway/" + out.Environment + "/" + out.Name + "/metrics"
}

// managedPrometheus is the region of a workspace of Amazon Managed Service for Prometheus; empty for
// another server.
func managedPrometheus(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	parts := strings.Split(u.Hostname(), ".")
	if len(parts) < 4 || parts[0] != "aps-workspaces" {
		return ""
	}
	return parts[1]
}

// metricsRole lets the collector write: it has the task's role. A role that is somebody's must allow it
// already.
func (b *builder) metricsRole(s *settings, out *Spec) {
	c := s.Metrics
	if c == nil || out.TaskRole.ARN != "" {
		return
	}
	switch {
	case c.RemoteWrite == "":
		group := "arn:*:logs:*:*:log-group:" + b.metricsGroup(out)
		out.TaskRole.Statements = append(out.TaskRole.Statements, Statement{Effect: "Allow", Actions: []string{
			"logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"}, Resources: []string{group, group + ":*"}})
	case managedPrometheus(c.RemoteWrite) != "":
		_, rest, _ := strings.Cut(c.RemoteWrite, "/workspaces/")
		id, _, _ := strings.Cut(rest, "/")
		out.TaskRole.Statements = append(out.TaskRole.Statements, Statement{Effect: "Allow", Actions: []string{"aps:RemoteWrite"},
			Resources: []string{"arn:*:aps:" + managedPrometheus(c.RemoteWrite) + ":*:workspace/" + or(id, "*")}})
	}
}
