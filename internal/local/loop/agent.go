package loop

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// Agent is what tasks are offered as by the agent of a container instance: metadata, the keys of their
// role, and, unlike there, the way to this AWS.
type Agent struct {
	AWS     http.Handler // this AWS
	Address string       // host:port it knows itself by
	// Credentials are keys of a role for a task.
	Credentials func(ctx context.Context, role, session string) (key, secret, token string, expires time.Time, err error)
}

// agent serves one task inside its network.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4.html
type agent struct {
	d    *driver
	base string // http://169.254.170.2
	role string // of the task; "": it has none
	key  string // the path of the credentials: only the task knows it
	web  *http.Server
}

// serveAgent begins to serve the task if its runtime can; otherwise it does without.
func (d *driver) serveAgent(rt runtime.Task, t *state.Task) {
	l, ok := rt.(runtime.Listener)
	if d.l.cfg.Agent == nil || !ok {
		return
	}
	at, err := l.Listen()
	if err != nil {
		d.l.cfg.Log.Warn("a task has no metadata endpoint", "task", d.arn, "err", err)
		return
	}
	host := at.Addr().String()
	if h, port, err := net.SplitHostPort(host); err == nil && port == "80" {
		host = h
	}
	a := &agent{d: d, base: "http://" + host, key: uuid(), role: wire.Value(d.def.TaskRoleArn)}
	if t.Overrides != nil && wire.Value(t.Overrides.TaskRoleArn) != "" {
		a.role = *t.Overrides.TaskRoleArn
	}
	a.web = &http.Server{Handler: a, ReadHeaderTimeout: 10 * time.Second}
	d.agent = a
	go func() { _ = a.web.Serve(at) }() // it ends when the task does
}

// env is what a container is told of it.
func (a *agent) env(t *state.Task, container string) []string {
	id := t.ID + "-" + strconv.Itoa(containerIndex(t, container))
	kind := "AWS_ECS_EC2"
	if t.LaunchType == "FARGATE" {
		kind = "AWS_ECS_FARGATE"
	}
	env := []string{"AWS_EXECUTION_ENV=" + kind, "ECS_CONTAINER_METADATA_URI_V4=" + a.base + "/v4/" + id, "ECS_CONTAINER_METADATA_URI=" + a.base + "/v3/" + id, "AWS_ENDPOINT_URL=" + a.base}
	if a.role != "" {
		if path := "/v2/credentials/" + a.key; strings.HasPrefix(a.base, "http://169.254.170.2") {
			env = append(env, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="+path)
		} else {
			env = append(env, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+a.base+path)
		}
	}
	return env
}

func (a *agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasPrefix(r.URL.Path, "/v4/"), strings.HasPrefix(r.URL.Path, "/v3/"):
		a.metadata(w, r)
	case strings.HasPrefix(r.URL.Path, "/v2/credentials/"):
		a.credentials(w, r)
	default: // everything else is for AWS, which knows itself by another name
		r.Host = a.d.l.cfg.Agent.Address
		a.d.l.cfg.Agent.AWS.ServeHTTP(w, r)
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the task may have gone
}

// credentials are keys of the task's role.
//
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
func (a *agent) credentials(w http.ResponseWriter, r *http.Request) {
	asked := strings.TrimPrefix(r.URL.Path, "/v2/credentials/")
	if a.role == "" || subtle.ConstantTimeCompare([]byte(asked), []byte(a.key)) != 1 {
		http.Error(w, `{"code":"InvalidIdInRequest","message":"CredentialsV2Request: ID not found","HTTPErrorCode":400}`, http.StatusBadRequest)
		return
	}
	key, secret, token, expires, err := a.d.l.cfg.Agent.Credentials(r.Context(), a.role, lastPart(a.d.arn))
	if err != nil {
		a.d.l.cfg.Log.Warn("a task has no credentials", "task", a.d.arn, "role", a.role, "err", err)
		http.Error(w, `{"code":"NoCredentials","message":"the role cannot be assumed"}`, http.StatusInternalServerError)
		return
	}
	answer(w, map[string]string{"RoleArn": a.role, "AccessKeyId": key, "SecretAccessKey": secret, "Token": token, "Expiration": expires.UTC().Format(time.RFC3339)})
}

// metadata answers /v4/ID, /v4/ID/task, /v4/ID/stats and /v4/ID/task/stats.
func (a *agent) metadata(w http.ResponseWriter, r *http.Request) {
	id, what, _ := strings.Cut(r.URL.Path[len("/v4/"):], "/")
	t := a.d.read()
	k := -1
	if t != nil && strings.HasPrefix(id, t.ID+"-") {
		k, _ = strconv.Atoi(strings.TrimPrefix(id, t.ID+"-"))
	}
	if k < 0 || k >= len(t.Containers) {
		http.Error(w, "V4 container metadata handler: unable to get container ID", http.StatusNotFound)
		return
	}
	switch what {
	case "":
		answer(w, a.container(t, &t.Containers[k]))
	case "task", "taskWithTags":
		answer(w, a.task(t, what == "taskWithTags"))
	case "stats":
		answer(w, a.stats(r.Context(), &t.Containers[k]))
	case "task/stats":
		all := map[string]any{}
		for k := range t.Containers {
			all[t.Containers[k].RuntimeID] = a.stats(r.Context(), &t.Containers[k])
		}
		answer(w, all)
	default:
		http.NotFound(w, r)
	}
}

func (a *agent) container(t *state.Task, c *state.TaskContainer) map[string]any {
	family, revision, _ := strings.Cut(lastPart(t.TaskDefinition), ":")
	mode := wire.Value(a.d.def.NetworkMode)
	if mode == "" {
		mode = "bridge"
	}
	network := map[string]any{"NetworkMode": mode, "IPv4Addresses": []string{}}
	if t.ENI != nil {
		network["IPv4Addresses"], network["MACAddress"], network["PrivateDNSName"], network["AttachmentIndex"] = []string{t.ENI.PrivateIP}, t.ENI.MAC, hostname(t.ENI.PrivateIP), 0
	}
	out := map[string]any{
		"DockerId": c.RuntimeID, "Name": c.Name, "DockerName": "ecs-" + family + "-" + revision + "-" + c.Name, "Image": c.Image, "ImageID": c.ImageDigest, "DesiredStatus": t.DesiredStatus, "KnownStatus": c.LastStatus,
		"ContainerARN": c.ARN, "Type": "NORMAL", "Networks": []any{network}, "Limits": map[string]int{"CPU": c.CPU, "Memory": c.Memory}, "CreatedAt": t.CreatedAt.UTC().Format(time.RFC3339Nano),
		"Labels": map[string]string{"com.amazonaws.ecs.cluster": t.ClusterARN, "com.amazonaws.ecs.container-name": c.Name, "com.amazonaws.ecs.task-arn": t.ARN, "com.amazonaws.ecs.task-definition-family": family, "com.amazonaws.ecs.task-definition-version": revision},
	}
	if !t.StartedAt.IsZero() {
		out["StartedAt"] = t.StartedAt.UTC().Format(time.RFC3339Nano)
	}
	if c.ExitCode != nil {
		out["ExitCode"] = *c.ExitCode
	}
	if c.Health != "" && c.Health != "UNKNOWN" {
		out["Health"] = map[string]string{"status": c.Health}
	}
	var ports []map[string]any
	for _, b := range c.Bindings {
		ports = append(ports, map[string]any{"ContainerPort": b.ContainerPort, "HostPort": b.HostPort, "Protocol": b.Protocol})
	}
	if ports != nil {
		out["Ports"] = ports
	}
	if u := a.d.definition(c.Name); u != nil && u.LogConfiguration != nil {
		out["LogDriver"], out["LogOptions"] = wire.Value(u.LogConfiguration.LogDriver), u.LogConfiguration.Options
	}
	return out
}

func (a *agent) task(t *state.Task, tags bool) map[string]any {
	family, revision, _ := strings.Cut(lastPart(t.TaskDefinition), ":")
	containers := []any{}
	for k := range t.Containers {
		containers = append(containers, a.container(t, &t.Containers[k]))
	}
	out := map[string]any{
		"Cluster": t.ClusterARN, "TaskARN": t.ARN, "Family": family, "Revision": revision, "DesiredStatus": t.DesiredStatus, "KnownStatus": t.LastStatus, "LaunchType": t.LaunchType, "AvailabilityZone": t.AZ,
		"Limits": map[string]float64{"CPU": float64(t.CPU) / 1024, "Memory": float64(t.Memory)}, "Containers": containers,
	}
	if _, name, ok := strings.Cut(t.ServiceKey, "/"); ok {
		out["ServiceName"] = name
	}
	for name, at := range map[string]time.Time{"PullStartedAt": t.PullStartedAt, "PullStoppedAt": t.PullStoppedAt, "ExecutionStoppedAt": t.ExecutionStoppedAt} {
		if !at.IsZero() {
			out[name] = at.UTC().Format(time.RFC3339Nano)
		}
	}
	if tags {
		all := map[string]string{}
		for _, x := range t.Tags {
			all[wire.Value(x.Key)] = wire.Value(x.Value)
		}
		out["TaskTags"] = all
	}
	return out
}

// stats are a container's, in the words of Docker's; null while it does not run.
func (a *agent) stats(ctx context.Context, c *state.TaskContainer) any {
	running, ok := a.d.container(c.Name)
	if !ok {
		return nil
	}
	s, err := running.Stats(ctx)
	if err != nil {
		return nil
	}
	return map[string]any{
		"id": c.RuntimeID, "name": c.Name, "read": time.Now().UTC().Format(time.RFC3339Nano), "cpu_stats": map[string]any{"cpu_usage": map[string]any{"total_usage": s.CPU.Nanoseconds()}},
		"memory_stats": map[string]any{"usage": s.Memory, "max_usage": s.PeakMemory, "limit": int64(c.Memory) << 20},
	}
}
