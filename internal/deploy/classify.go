package deploy

import (
	"regexp"
	"strings"
)

// rule tells one cause by the text AWS gives.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
type rule struct {
	cause Cause
	match *regexp.Regexp
}

func r(cause Cause, pattern string) rule { return rule{cause, regexp.MustCompile(`(?i)` + pattern)} }

// The order matters: the first that matches is taken.
var reasonRules = []rule{
	r(CauseMemory, `OutOfMemory`),
	r(CauseArchitecture, `exec format error|no matching manifest|does not contain descriptor matching platform|no match for platform|platform .*(not match|mismatch)|image is for \S+/\S+, this machine is`),
	r(CauseThrottled, `CannotPull.*(toomanyrequests|rate limit|\b429\b)|ThrottlingException|Rate exceeded`),
	r(CauseRole, `CannotPull.*(denied|not authorized|403 Forbidden|AccessDenied|no basic auth|unauthorized|\b401\b)`),
	r(CauseImageMissing, `CannotPull.*(not found|manifest unknown|does not exist|name unknown|\b404\b)`),
	r(CauseNetwork, `CannotPull.*(timeout|no such host|connection refused|deadline exceeded|network is unreachable|context canceled)`),
	r(CauseImageMissing, `CannotPull`),
	r(CauseSecret, `(secret|parameter|ssm|asm).*(ResourceNotFound|ParameterNotFound|invalid ssm parameters|can't find the specified|not found|does not exist)|invalid ssm parameters|ParameterNotFound|retrieved secret .* did not contain json key`),
	r(CauseRole, `unable to assume|assume(d)? (the )?role|sts:AssumeRole`),
	r(CauseSecretDenied, `(secret|parameter|ssm).*(AccessDenied|not authorized|no identity-based policy)|AccessDenied.*(GetSecretValue|GetParameters|kms:Decrypt)`),
	r(CauseNetwork, `(secret|ecr|registry auth).*(timeout|no such host|connection issue|deadline exceeded|i/o timeout)`),
	r(CauseLogs, `failed to (create|initialize|validate) (Cloudwatch log|logg(er|ing))|logging driver|log group does not exist|awslogs|logger args`),
	r(CauseVolume, `CannotCreateVolume|failed to (mount|create) .*(volume|efs|nfs)|EFS utils|mount(ing)? .*failed|mounting /\S*: |error while creating mount source path|mount\.nfs`),
	r(CauseRole, `AccessDenied|not authorized to perform`),
	r(CauseCommand, `executable file not found|no such file or directory|permission denied.*exec|exec: .*permission denied|not a directory.*exec`),
	r(CausePlacement, `port is already (allocated|in use)|address already in use.*bind|ports? .* in use`),
	r(CauseNetwork, `network interface|subnet|ENI|unused device index|Timeout waiting for network`),
	r(CauseContainerCheck, `failed container health checks`),
	r(CauseHost, `Host EC2|instance.*terminated|Container instance deregistration|Spot Task was interrupted|SpotInterruption|TerminationNotice`),
}

var commandLine = regexp.MustCompile(`(?i)exec format error`)

// classify says why a task stopped; empty for one that ECS itself took away for scaling.
func classify(t Task) (Cause, string) {
	if !t.failed() {
		return "", ""
	}
	texts := []string{t.StoppedReason}
	code, main := 0, false
	for _, c := range t.Containers {
		if c.Reason != "" {
			texts = append([]string{c.Reason}, texts...) // the container's own is the more exact
		}
		if c.ExitCode != nil && (!main || code == 0) {
			code, main = *c.ExitCode, true
		}
	}
	for _, text := range texts {
		for _, rule := range reasonRules {
			if rule.match.MatchString(text) {
				return rule.cause, text
			}
		}
	}
	reason := reasonLine(t)
	switch {
	case t.StopCode == "SpotInterruption" || t.StopCode == "TerminationNotice":
		return CauseHost, reason
	case strings.Contains(t.StoppedReason, "health checks"):
		return CauseHealthPath, reason // the targets say which kind
	case t.StopCode == "UserInitiated":
		return CauseStopped, reason
	case main && logged(t, commandLine):
		return CauseArchitecture, reason
	case main && (code == 126 || code == 127):
		return CauseCommand, reason
	case main && code != 0:
		return CauseCrash, reason
	case main && t.StopCode == "EssentialContainerExited":
		return CauseExited, reason
	}
	return CauseUnknown, reason
}

func logged(t Task, pattern *regexp.Regexp) bool {
	for _, c := range t.Containers {
		for _, line := range c.Logs {
			if pattern.MatchString(line) {
				return true
			}
		}
	}
	return false
}

// eventRules tell by a service event why no task was started.
var eventRules = []rule{
	r(CauseNoInstances, `No Container Instances were found`),
	r(CauseQuota, `limit on the number of|above your limit|capacity limit was exceeded|quota`),
	r(CausePlacement, `already using a port|missing an attribute|placement constraint|MemberOf|encountered error "?AGENT`),
	r(CauseCapacity, `insufficient (CPU|memory)|unable to place a task|Capacity is unavailable|RESOURCE:`),
	r(CauseThrottled, `operations are being throttled`),
	r(CauseBounds, `because of the service deployment configuration`),
	r(CauseRole, `unable to assume`),
	r(CauseNetwork, `network interface|subnet`),
}

func classifyEvent(message string) Cause {
	for _, rule := range eventRules {
		if rule.match.MatchString(message) {
			return rule.cause
		}
	}
	return ""
}

var tellingLine = regexp.MustCompile(`(?i)\b(panic|fatal|traceback|exception|error|failed|cannot|can't|refused|denied|missing|required|not found|no such)\b`)

// telling is the log line most likely to name the fault: the first of the last burst that sounds
// like one, else the last that is not empty.
func telling(lines []string) string {
	last := ""
	for _, line := range lines {
		if strings.TrimSpace(line) != "" {
			last = line
		}
	}
	for _, strong := range []string{"panic:", "fatal", "FATAL"} {
		for _, line := range lines {
			if strings.Contains(line, strong) {
				return short(line)
			}
		}
	}
	for i := len(lines) - 1; i >= 0; i-- {
		if tellingLine.MatchString(lines[i]) {
			return short(lines[i])
		}
	}
	return short(last)
}

func short(line string) string {
	line = strings.TrimSpace(line)
	if r := []rune(line); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return line
}
