package deploy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Diagnose names the cause of what was seen. It is pure; call it at any time during the wait.
func Diagnose(ev Evidence) Diagnosis {
	d := Diagnosis{Groups: groups(ev.Stopped)}
	for _, t := range ev.Targets {
		if t.State == "unhealthy" || t.State == "unused" || t.State == "unavailable" {
			d.Targets = append(d.Targets, targetLine(t))
		}
	}
	for _, e := range ev.Events {
		if classifyEvent(e.Message) != "" || strings.Contains(e.Message, "unhealthy") || strings.Contains(e.Message, "unable to") {
			if !slices.Contains(d.Events, e.Message) {
				d.Events = append(d.Events, e.Message)
			}
		}
	}
	group := worst(d.Groups)
	var example *Task
	for i, t := range ev.Stopped {
		if t.failed() && (group == nil || t.ID == group.Example) {
			example = &ev.Stopped[i]
			break
		}
	}
	if example == nil && len(ev.Running) > 0 {
		example = &ev.Running[0]
	}
	if example != nil {
		for _, c := range example.Containers {
			if len(c.Logs) > 0 && (len(d.Logs) == 0 || c.Name == ev.Container) {
				d.Logs = c.Logs
			}
		}
	}
	d.explain(ev, group, example)
	return d
}

// groups puts tasks that stopped for the same reason together, the largest first.
func groups(stopped []Task) []Group {
	var out []Group
	for _, t := range stopped {
		cause, reason := classify(t)
		if cause == "" {
			continue
		}
		i := slices.IndexFunc(out, func(g Group) bool { return g.Cause == cause })
		if i < 0 {
			out = append(out, Group{Cause: cause, Reason: reason, Example: t.ID})
			i = len(out) - 1
		}
		out[i].Count++
	}
	slices.SortStableFunc(out, func(a, b Group) int { return b.Count - a.Count })
	return out
}

// worst is the group that explains the failure: the largest whose cause is known, and of those that
// only happened to the tasks (a host lost, a stop by hand) only if there is no other.
func worst(gs []Group) *Group {
	var fallback *Group
	for i := range gs {
		switch gs[i].Cause {
		case CauseUnknown, CauseHost, CauseStopped:
			if fallback == nil {
				fallback = &gs[i]
			}
		default:
			return &gs[i]
		}
	}
	return fallback
}

func (d *Diagnosis) explain(ev Evidence, g *Group, example *Task) {
	say := func(c Cause, fix, format string, args ...any) {
		d.Cause, d.Fix, d.Sentence = c, fix, fmt.Sprintf(format, args...)
	}
	if g != nil && g.Cause != CauseHealthPath && g.Cause != CauseUnknown {
		d.task(ev, *g, example)
		return
	}
	if g == nil {
		if c, message := placement(ev.Events); c != "" {
			d.noPlace(c, message)
			return
		}
	}
	alarm := strings.Contains(strings.ToLower(ev.StatusReason), "alarm") ||
		slices.ContainsFunc(ev.Events, func(e ServiceEvent) bool { return strings.Contains(e.Message, "alarm detected") })
	if c, reason := targets(ev); c != "" && (g != nil || !alarm) && (g != nil || ev.closing() || ev.Waited > 0) {
		d.health(ev, c, reason, g)
		return
	}
	switch {
	case alarm:
		say(CauseAlarm, "Look at the alarm in CloudWatch: it went off while the new version ran.", "an alarm went off during the deployment: %s", ev.StatusReason)
	case g != nil && g.Cause == CauseHealthPath:
		say(CauseHealthPath, fmt.Sprintf("Make %s answer %s, or correct route.health.", ev.Path, ev.Matcher), "%s: %s", stopped(g.Count), g.Reason)
	case g != nil:
		say(CauseUnknown, "The stopped reason is all that AWS says; the log lines below may say more.", "%s: %s", stopped(g.Count), g.Reason)
	case ev.Status == "STOPPED" || ev.Status == "STOP_REQUESTED":
		say(CauseStopped, "Deploy again, unless someone stopped it on purpose.", "the deployment was stopped%s", because(ev.StatusReason))
	case ev.TimedOut && len(ev.Running) < ev.Desired:
		say(CauseSlow, "See why tasks wait: slipway status.", "after %s only %d of %d tasks run", span(ev.Waited), len(ev.Running), ev.Desired)
	case ev.TimedOut:
		say(CauseSlow, "Lengthen deployment.timeout, or make the service healthy sooner (shorter health-check interval, fewer checks).",
			"not done after %s, although %d of %d tasks run", span(ev.Waited), len(ev.Running), ev.Desired)
	default:
		say(CauseUnknown, "Look at the service events: slipway status.", "AWS gives no reason%s", because(ev.StatusReason))
	}
}

func (ev Evidence) closing() bool {
	return ev.TimedOut || ev.Status != "" && ev.Status != "PENDING" && ev.Status != "IN_PROGRESS"
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + strings.TrimRight(reason, ".")
}

func tasks(n int) string {
	if n == 1 {
		return "1 task"
	}
	return itoa(n) + " tasks"
}

func stopped(n int) string { return tasks(n) + " stopped" }

func were(n int) string {
	if n == 1 {
		return "1 task was"
	}
	return itoa(n) + " tasks were"
}

// task explains why tasks stopped.
func (d *Diagnosis) task(ev Evidence, g Group, example *Task) {
	d.Cause = g.Cause
	name := ev.Container
	detail := short(bare(firstLine(g.Reason)))
	switch g.Cause {
	case CauseMemory:
		d.Sentence = were(g.Count) + " killed for memory"
		if ev.Memory > 0 {
			d.Sentence += fmt.Sprintf(": the limit is %d MiB", ev.Memory)
		}
		d.Fix = fmt.Sprintf("Raise the memory of container %s, or find out what it holds.", name)
	case CauseImageMissing:
		d.Sentence = fmt.Sprintf("image %s is not in its registry", ev.Image)
		d.Fix = "Push the image (slipway build), or check the repository's name, and that a lifecycle policy has not taken it."
	case CauseArchitecture:
		d.Sentence = fmt.Sprintf("image %s is built for another processor than the instances have: %s", ev.Image, detail)
		d.Fix = "Build the image for the service's architecture, or set architecture to what the image is built for."
	case CauseCommand:
		d.Sentence = fmt.Sprintf("container %s cannot start its command: %s", name, detail)
		d.Fix = "Correct command or entryPoint: the file must be in the image, executable, and its interpreter too."
	case CauseSecret:
		d.Sentence = "a secret does not exist: " + detail
		d.Fix = "Create the secret or parameter, or correct its name under secrets."
	case CauseSecretDenied:
		d.Sentence = "the execution role may not read a secret: " + detail
		d.Fix = "Let the execution role read it (secretsmanager:GetSecretValue, ssm:GetParameters, kms:Decrypt)."
	case CauseRole:
		d.Sentence = "a role is missing or may not do what is needed: " + detail
		d.Fix = "Check that the task role and execution role exist, trust ecs-tasks.amazonaws.com and may pull the image."
	case CauseNetwork:
		d.Sentence = "tasks have no way to the network: " + detail
		d.Fix = "Check subnets, security groups, and the route to ECR, Secrets Manager and Logs (NAT or VPC endpoints)."
	case CauseLogs:
		d.Sentence = "the log driver does not start: " + detail
		d.Fix = "Check logs: the group must exist and the execution role may write to it."
	case CauseVolume:
		d.Sentence = "a volume cannot be mounted: " + detail
		d.Fix = "Check the file system's id, its mount targets and security group, and the access point."
	case CauseContainerCheck:
		d.Sentence = fmt.Sprintf("%s failed the container health check", tasks(g.Count))
		d.Fix = "Run the healthCheck command in the container by hand, or lengthen its start_period."
	case CauseThrottled:
		d.Sentence = "AWS or the registry throttles: " + detail
		d.Fix = "Try again later, or have the quota raised."
	case CausePlacement:
		d.Sentence = "a port is taken on the instance: " + detail
		d.Fix = "Use host port 0 (dynamic), or more instances."
	case CauseHost:
		d.Sentence = fmt.Sprintf("%s with the instance: %s", stopped(g.Count), detail)
		d.Fix = "Deploy again; if it happens again look at the Auto Scaling group's activities."
	case CauseStopped:
		d.Sentence = fmt.Sprintf("%s stopped by someone: %s", were(g.Count), detail)
		d.Fix = "Deploy again, unless it was on purpose."
	case CauseExited:
		d.Sentence = fmt.Sprintf("%s ended with code 0%s: a service must keep running%s", tasks(g.Count), lifetime(example), lastLine(d.Logs))
		d.Fix = "Keep the process in the foreground, or make it a job."
	default:
		d.Sentence = tasks(g.Count) + " exited" + exitCode(example) + lifetime(example) + lastLine(d.Logs)
		d.Fix = fmt.Sprintf("Run the image with the same environment to see container %s fail; its last log lines are below.", name)
		if len(d.Logs) == 0 {
			d.Fix = fmt.Sprintf("Container %s wrote nothing to its log: run the image with the same environment to see it fail.", name)
		}
	}
}

var wrapping = regexp.MustCompile(`^(\w+Error|unable to pull secrets or registry auth|execution resource retrieval failed|service call has been retried \d+ time\(s\)|Error response from daemon|failed to create task for container): ?`)

// bare takes off what AWS wraps a reason in.
func bare(reason string) string {
	for {
		inner := wrapping.ReplaceAllString(reason, "")
		if inner == reason || inner == "" {
			return strings.TrimRight(strings.TrimSpace(reason), ":. ")
		}
		reason = inner
	}
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func exitCode(t *Task) string {
	if t == nil {
		return ""
	}
	for _, c := range t.Containers {
		if c.ExitCode == nil || *c.ExitCode == 0 {
			continue
		}
		s := fmt.Sprintf(" with code %d", *c.ExitCode)
		switch *c.ExitCode {
		case 137:
			s += " (killed)"
		case 139:
			s += " (segmentation fault)"
		case 143:
			s += " (terminated)"
		}
		return s
	}
	return ""
}

// lifetime is how long after its start a task ended.
func lifetime(t *Task) string {
	switch {
	case t == nil || t.StoppedAt.Before(t.StartedAt):
		return ""
	case t.StartedAt.IsZero():
		return " while starting"
	}
	return " within " + span(t.StoppedAt.Sub(t.StartedAt)) + " of starting"
}

// span is a duration in whole seconds or minutes, rounded up.
func span(d time.Duration) string {
	if d <= 2*time.Minute {
		return itoa(int(max((d+time.Second-1)/time.Second, 1))) + " s"
	}
	return itoa(int((d+time.Minute-1)/time.Minute)) + " min"
}

func lastLine(logs []string) string {
	if line := telling(logs); line != "" {
		return ": " + line
	}
	return ""
}

// placement finds the newest event that says why no task is placed, if nothing was started since.
func placement(events []ServiceEvent) (Cause, string) {
	for _, e := range slices.Backward(events) {
		if strings.Contains(e.Message, "has started") || strings.Contains(e.Message, "steady state") {
			return "", ""
		}
		if c := classifyEvent(e.Message); c != "" {
			return c, e.Message
		}
	}
	return "", ""
}

func (d *Diagnosis) noPlace(c Cause, message string) {
	d.Cause = c
	what := strings.TrimSuffix(strings.TrimSpace(message[strings.IndexByte(message, ')')+1:]), ".")
	what, _, _ = strings.Cut(what, ". For more information")
	if _, closest, ok := strings.Cut(what, "The closest matching "); ok {
		what = "the closest, " + strings.Trim(strings.Replace(closest, ") ", " ", 1), "(")
	}
	switch c {
	case CauseNoInstances:
		d.Sentence = "the cluster has no container instances"
		d.Fix = "Raise the size of the cluster's Auto Scaling group, and check that its instances register (cluster name, role, network)."
	case CauseCapacity:
		d.Sentence = "no instance has room for the task: " + what
		d.Fix = "Lower the service's cpu or memory, or add instances to the cluster."
	case CausePlacement:
		d.Sentence = "no instance is allowed to take the task: " + what
		d.Fix = "Check placement constraints and fixed host ports."
	case CauseQuota:
		d.Sentence = "a quota of the account is reached: " + what
		d.Fix = "Have the quota raised in Service Quotas, or stop something."
	case CauseThrottled:
		d.Sentence = "ECS is throttled and tries again later: " + what
		d.Fix = "Wait, or deploy fewer services at once."
	case CauseBounds:
		d.Sentence = "minimum healthy and maximum leave no task that may start or stop: " + what
		d.Fix = "Raise deployment.maximum above 100 or lower deployment.minimum_healthy."
	default:
		d.Sentence = what
		d.Fix = "Check the roles and the network of the service."
	}
}

// targets says what the load balancer finds wrong with the new tasks.
func targets(ev Evidence) (Cause, string) {
	for _, t := range ev.Targets {
		if c, why := targetCause(t.Reason, t.Description); c != "" && t.State == "unhealthy" {
			return c, why
		}
	}
	for _, e := range slices.Backward(ev.Events) {
		if i := strings.Index(e.Message, "due to (reason "); i >= 0 && strings.Contains(e.Message, "unhealthy") {
			why := strings.TrimRight(e.Message[i+len("due to (reason "):], ").")
			if strings.Contains(why, "codes") && !strings.HasSuffix(why, "]") {
				why += "]"
			}
			return targetCause("", why)
		}
	}
	return "", ""
}

func targetCause(code, description string) (Cause, string) {
	switch text := code + " " + description; {
	case strings.Contains(text, "ResponseCodeMismatch"), strings.Contains(text, "with these codes"):
		return CauseHealthPath, description
	case strings.Contains(text, "Target.Timeout"), strings.Contains(text, "timed out"):
		return CauseHealthTimeout, description
	case strings.Contains(text, "FailedHealthChecks"), strings.Contains(text, "Health checks failed"):
		return CausePort, description
	}
	return "", ""
}

func (d *Diagnosis) health(ev Evidence, c Cause, reason string, g *Group) {
	d.Cause = c
	check := strings.TrimSpace("health check " + ev.Path)
	switch c {
	case CauseHealthPath:
		codes := ""
		if i := strings.IndexByte(reason, '['); i >= 0 {
			codes = strings.Trim(reason[i:], "[]")
		}
		if codes == "" {
			codes = reason
		}
		d.Sentence = fmt.Sprintf("the %s on port %d answers %s, wanted %s", check, ev.Port, codes, ev.Matcher)
		d.Fix = "Make the path answer as wanted, or correct route.health.path or matcher."
	case CauseHealthTimeout:
		d.Sentence = fmt.Sprintf("the %s on port %d does not answer in time", check, ev.Port)
		d.Fix = "Make it answer faster, lengthen route.health.timeout, or check that the security group lets the load balancer in."
	default:
		d.Sentence = fmt.Sprintf("nothing answers the %s on container port %d", check, ev.Port)
		d.Fix = "Set route.port to the port the process listens on (on 0.0.0.0, not 127.0.0.1), or lengthen route.grace_period if it starts slowly."
	}
	if g != nil {
		d.Sentence += "; " + were(g.Count) + " replaced for it"
	}
	if ev.Grace == 0 && ev.Path != "" && g != nil {
		d.Fix += " There is no grace period: a slow start counts as unhealthy."
	}
}
