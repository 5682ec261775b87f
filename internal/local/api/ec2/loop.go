package ec2

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/capacity"
	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/ecsapi"
)

// How long things take: enough to be seen, little enough to wait for.
const (
	bootTime      = 2 * time.Second
	shutdownTime  = 2 * time.Second
	forgottenTime = time.Hour // a terminated instance is visible for about an hour
)

// Run moves instances through their states until ctx ends: a pending instance boots and joins the
// cluster its user data names, as the ECS agent would; a terminated one leaves it.
func (s *Service) Run(ctx context.Context) error {
	w := s.db.Watch(TableInstances)
	defer w.Stop()
	for {
		next, err := s.step()
		if err != nil {
			return fmt.Errorf("moving instances: %w", err)
		}
		var timer <-chan time.Time
		if next > 0 {
			timer = s.clock.After(next)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.C:
			w.Drain()
		case <-timer:
		}
	}
}

// step makes every move that is due and returns when the next one is; 0 if none is.
func (s *Service) step() (time.Duration, error) {
	var next time.Duration
	now := s.now()
	var due, reclaimed []string
	_ = s.db.View(func(tx *state.Tx) error {
		for id, i := range s.instances.All(tx) {
			if !i.InterruptAt.IsZero() && (i.State == "running" || i.State == "pending") {
				if left := i.InterruptAt.Sub(now); left <= 0 {
					reclaimed = append(reclaimed, id)
				} else if next == 0 || left < next {
					next = left
				}
			}
			wait, moves := map[string]time.Duration{"pending": bootTime, "stopping": shutdownTime, "shutting-down": shutdownTime, "terminated": forgottenTime}[i.State]
			if !moves {
				continue
			}
			left := wait - now.Sub(i.StateAt)
			if left <= 0 {
				due = append(due, id)
			} else if next == 0 || left < next {
				next = left
			}
		}
		return nil
	})
	if len(due)+len(reclaimed) == 0 {
		return next, nil
	}
	return time.Millisecond, s.db.Update(func(tx *state.Tx) error {
		for _, id := range reclaimed {
			s.Terminate(tx, id, "Server.SpotInstanceTermination: Instance was terminated because of a Spot interruption.")
		}
		for _, id := range due {
			s.move(tx, id)
		}
		return nil
	})
}

func (s *Service) move(tx *state.Tx, id string) {
	i, ok := s.instances.Get(tx, id)
	if !ok {
		return
	}
	to := map[string]string{"pending": "running", "stopping": "stopped", "shutting-down": "terminated"}[i.State]
	switch {
	case to == "" && i.State == "terminated":
		s.instances.Delete(tx, id)
		return
	case to == "running":
		s.join(tx, i)
	case to == "terminated":
		s.leave(tx, i)
	}
	s.instances.Modify(tx, id, func(i *Instance) { i.State, i.StateAt = to, s.now() })
}

var (
	// A setting stands at the start of a line, of a command, or of what echo writes.
	shellSetting = regexp.MustCompile(`(?m)(?:^|[;&|])[ \t]*(?:echo[ \t]+(?:-e[ \t]+)?)?["']?(ECS_[A-Z_]+)[ \t]*=[ \t]*`)
	// Bottlerocket is configured with TOML.
	tomlCluster = regexp.MustCompile(`(?ms)^\s*\[settings\.ecs\][^\[]*?^\s*cluster\s*=\s*"([^"]+)"`)
)

// agentConfig reads the ECS agent's settings out of user data that writes /etc/ecs/ecs.config
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-agent-config.html).
func agentConfig(userData string) map[string]string {
	text, err := base64.StdEncoding.DecodeString(userData)
	if err != nil {
		text = []byte(userData)
	}
	settings := map[string]string{}
	if m := tomlCluster.FindSubmatch(text); m != nil {
		settings["ECS_CLUSTER"] = string(m[1])
	}
	for _, m := range shellSetting.FindAllSubmatchIndex(text, -1) {
		settings[string(text[m[2]:m[3]])] = settingValue(string(text[m[1]:]))
	}
	return settings
}

// settingValue is the value that text begins with: a JSON object, or what comes before a quote, a
// space or the end of the command.
func settingValue(text string) string {
	text, _, _ = strings.Cut(text, "\n")
	text = strings.TrimLeft(text, `"'`)
	if strings.HasPrefix(text, "{") {
		var object json.RawMessage
		if json.NewDecoder(strings.NewReader(strings.ReplaceAll(text, `\"`, `"`))).Decode(&object) == nil {
			return string(object)
		}
	}
	if i := strings.IndexAny(text, "\"'> \t;&|\r"); i >= 0 {
		text = text[:i]
	}
	return text
}

func (s *Service) join(tx *state.Tx, i *Instance) {
	settings := agentConfig(i.UserData)
	if i.Warm && settings["ECS_WARM_POOLS_CHECK"] == "true" {
		return // https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using-warm-pool.html
	}
	again := false
	var known []string
	for arn, ci := range s.ecs.InstancesByEC2.Get(tx, i.ID) {
		if ci.Status != "INACTIVE" {
			known = append(known, arn)
		}
	}
	for _, arn := range known { // it was stopped, or warm: the agent comes back under its old name
		again = true
		s.ecs.ContainerInstances.Modify(tx, arn, func(c *state.ContainerInstance) { c.AgentConnected, c.Version = true, c.Version+1 })
	}
	if again {
		return
	}
	name := cmp.Or(settings["ECS_CLUSTER"], "default") // as the agent does
	cluster, ok := s.ecs.Clusters.Get(tx, name)
	if !ok || cluster.Status != "ACTIVE" {
		if settings["ECS_CLUSTER"] == "" {
			return // nobody asked for it to join
		}
		s.log.Warn("an instance names a cluster that does not exist", "instance", i.ID, "cluster", name)
		return
	}
	t, ok := capacity.TypeByName(i.Type)
	if !ok {
		return
	}
	id := strings.ReplaceAll(newID("x")[2:]+newID("y")[2:], "-", "")[:32]
	arn := fmt.Sprintf("arn:aws:ecs:%s:%s:container-instance/%s/%s", s.region, s.account, name, id)
	attr := func(k, v string) ecsapi.Attribute {
		a := ecsapi.Attribute{Name: wire.Ptr(k)}
		if v != "" {
			a.Value = wire.Ptr(v)
		}
		return a
	}
	ci := &state.ContainerInstance{ARN: arn, ID: id, ClusterName: name, EC2InstanceID: i.ID, Status: "ACTIVE", AgentConnected: true, AZ: i.AZ, InstanceType: i.Type, PrivateIP: i.PrivateIP,
		CPU: t.RegisteredCPU(), Memory: t.RegisteredMemory(), GPU: t.GPUs, ENIs: t.TaskENIs(settings["ECS_ENABLE_TASK_ENI_TRUNKING"] == "true"), AgentVersion: "1.99.0", RegisteredAt: s.now(), Version: 1,
		ReservedPorts: []state.ReservedPort{{Port: 22, Protocol: "tcp"}, {Port: 2375, Protocol: "tcp"}, {Port: 2376, Protocol: "tcp"}, {Port: 51678, Protocol: "tcp"}, {Port: 51679, Protocol: "tcp"}},
		Attributes: []ecsapi.Attribute{
			attr("ecs.availability-zone", i.AZ), attr("ecs.instance-type", i.Type), attr("ecs.ami-id", i.ImageID), attr("ecs.os-type", "linux"), attr("ecs.os-family", "LINUX"), attr("ecs.cpu-architecture", archAPI(t)),
			attr("ecs.vpc-id", s.net(tx).VPC), attr("ecs.subnet-id", i.SubnetID), attr("ecs.capability.task-eni", ""), attr("ecs.capability.execution-role-awslogs", ""), attr("ecs.capability.execution-role-ecr-pull", ""),
			attr("ecs.capability.secrets.ssm.environment-variables", ""), attr("ecs.capability.secrets.asm.environment-variables", ""), attr("ecs.capability.container-health-check", ""),
			attr("ecs.capability.container-ordering", ""), attr("ecs.capability.efs", ""), attr("ecs.capability.firelens.fluentbit", ""), attr("ecs.capability.task-cpu-mem-limit", ""), attr("com.amazonaws.ecs.capability.task-iam-role", ""),
			attr("com.amazonaws.ecs.capability.docker-remote-api.1.44", ""), attr("com.amazonaws.ecs.capability.logging-driver.awslogs", ""), attr("com.amazonaws.ecs.capability.logging-driver.json-file", ""),
		}}
	var custom map[string]string
	if text := settings["ECS_INSTANCE_ATTRIBUTES"]; text != "" {
		if err := json.Unmarshal([]byte(text), &custom); err != nil {
			s.log.Warn("ECS_INSTANCE_ATTRIBUTES of an instance is not an object of strings", "instance", i.ID, "error", err)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(custom)) {
		ci.Attributes = append(ci.Attributes, attr(k, custom[k]))
	}
	for _, t := range i.Tags {
		if wire.Value(t.Key) == "aws:autoscaling:groupName" {
			ci.CapacityProvider = s.providerOf(tx, cluster, wire.Value(t.Value))
		}
	}
	s.ecs.ContainerInstances.Put(tx, arn, ci)
}

// providerOf is the capacity provider of the cluster whose group has the name.
func (s *Service) providerOf(tx *state.Tx, c *state.Cluster, group string) string {
	for _, name := range c.CapacityProviders {
		p, ok := s.ecs.CapacityProviders.Get(tx, name)
		if !ok || p.API.AutoScalingGroupProvider == nil {
			continue
		}
		arn := wire.Value(p.API.AutoScalingGroupProvider.AutoScalingGroupArn)
		if arn == group || strings.HasSuffix(arn, ":autoScalingGroupName/"+group) {
			return name
		}
	}
	return ""
}

// leave takes the container instance away with its machine: the tasks on it die with the host.
func (s *Service) leave(tx *state.Tx, i *Instance) {
	var arns []string
	for arn := range s.ecs.InstancesByEC2.Get(tx, i.ID) {
		arns = append(arns, arn)
	}
	for _, arn := range arns {
		var tasks []string
		for key, t := range s.ecs.TasksByInstance.Get(tx, arn) {
			if t.DesiredStatus != "STOPPED" {
				tasks = append(tasks, key)
			}
		}
		for _, key := range tasks {
			s.ecs.Tasks.Modify(tx, key, func(t *state.Task) {
				t.DesiredStatus, t.StopCode = "STOPPED", "TerminationNotice"
				t.StoppedReason = fmt.Sprintf("Host EC2 (instance %s) stopped/terminated.", i.ID)
				t.StoppingAt, t.Version = s.now(), t.Version+1
			})
		}
		s.ecs.ContainerInstances.Modify(tx, arn, func(c *state.ContainerInstance) {
			c.Status, c.AgentConnected, c.Version = "INACTIVE", false, c.Version+1
		})
	}
}
