package deploy

import (
	"strings"
	"testing"
	"time"
)

func code(n int) *int { return &n }

func died(n int, stopCode, reason string, c TaskContainer) []Task {
	start := time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)
	var out []Task
	for i := range n {
		c.Name = "app"
		out = append(out, Task{ID: stopCode + itoa(i), LastStatus: "STOPPED", StopCode: stopCode, StoppedReason: reason, Containers: []TaskContainer{c},
			CreatedAt: start, StartedAt: start, StoppedAt: start.Add(1200 * time.Millisecond)})
	}
	return out
}

func TestDiagnose(t *testing.T) {
	const essential = "Essential container in task exited"
	up := []Task{{ID: "r", LastStatus: "RUNNING", Containers: []TaskContainer{{Name: "app"}}}}
	// The texts are those of the ECS developer guide's pages "Stopped tasks error messages" and
	// "Amazon ECS service event messages", with ids made short.
	for name, c := range map[string]struct {
		ev    Evidence
		cause Cause
		says  string // part of the sentence
	}{
		"crash": {Evidence{Stopped: died(4, "EssentialContainerExited", essential, TaskContainer{ExitCode: code(1), Logs: []string{"listening", "panic: no database", "goroutine 1"}})},
			CauseCrash, "4 tasks exited with code 1 within 2 s of starting: panic: no database"},
		"a crash before it counts as running": {Evidence{Stopped: []Task{{ID: "t", LastStatus: "STOPPED", StopCode: "EssentialContainerExited", StoppedReason: essential, StoppedAt: time.Now(), Containers: []TaskContainer{{Name: "app", ExitCode: code(2)}}}}},
			CauseCrash, "1 task exited with code 2 while starting"},
		"one crash without logs": {Evidence{Stopped: died(1, "EssentialContainerExited", essential, TaskContainer{ExitCode: code(139)})},
			CauseCrash, "1 task exited with code 139 (segmentation fault) within 2 s of starting"},
		"exits with 0": {Evidence{Stopped: died(3, "EssentialContainerExited", essential, TaskContainer{ExitCode: code(0), Logs: []string{"done"}})},
			CauseExited, "3 tasks ended with code 0 within 2 s of starting: a service must keep running: done"},
		"memory": {Evidence{Memory: 64, Stopped: died(4, "EssentialContainerExited", essential, TaskContainer{ExitCode: code(137), Reason: "OutOfMemoryError: Container killed due to memory usage"})},
			CauseMemory, "4 tasks were killed for memory: the limit is 64 MiB"},
		"image missing": {Evidence{Image: "reg/app@sha256:0", Stopped: died(3, "TaskFailedToStart", "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref reg/app@sha256:0: not found", TaskContainer{})},
			CauseImageMissing, "image reg/app@sha256:0 is not in its registry"},
		"pull denied": {Evidence{Stopped: died(3, "TaskFailedToStart", "CannotPullContainerError: pull access denied for app, repository does not exist or may require authorization", TaskContainer{})},
			CauseRole, "a role is missing"},
		"wrong architecture by manifest": {Evidence{Image: "reg/app", Stopped: died(3, "TaskFailedToStart", "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/arm64'", TaskContainer{})},
			CauseArchitecture, "another processor"},
		"wrong architecture at start": {Evidence{Image: "reg/app", Stopped: died(3, "EssentialContainerExited", essential, TaskContainer{ExitCode: code(1), Logs: []string{"exec /app: exec format error"}})},
			CauseArchitecture, "another processor"},
		"command": {Evidence{Container: "app", Stopped: died(3, "TaskFailedToStart", "CannotStartContainerError: Error response from daemon: failed to create task for container: exec: \"/sevrer\": stat /sevrer: no such file or directory", TaskContainer{})},
			CauseCommand, "container app cannot start its command"},
		"secret missing": {Evidence{Stopped: died(3, "TaskFailedToStart", "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secret from asm: service call has been retried 1 time(s): ResourceNotFoundException: Secrets Manager can't find the specified secret.", TaskContainer{})},
			CauseSecret, "a secret does not exist"},
		"parameter missing": {Evidence{Stopped: died(3, "TaskFailedToStart", "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve secrets from ssm: invalid ssm parameters: /app/key", TaskContainer{})},
			CauseSecret, "/app/key"},
		"secret denied": {Evidence{Stopped: died(3, "TaskFailedToStart", "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve secret from asm: AccessDeniedException: User: arn:aws:sts::1:assumed-role/x is not authorized to perform: secretsmanager:GetSecretValue", TaskContainer{})},
			CauseSecretDenied, "may not read a secret"},
		"role": {Evidence{Stopped: died(3, "TaskFailedToStart", "ECS was unable to assume the role 'arn:aws:iam::1:role/x' that was provided for this task.", TaskContainer{})},
			CauseRole, "arn:aws:iam::1:role/x"},
		"log group": {Evidence{Stopped: died(3, "TaskFailedToStart", "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist.", TaskContainer{})},
			CauseLogs, "the log driver does not start"},
		"volume": {Evidence{Stopped: died(3, "TaskFailedToStart", "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: mount.nfs4: Connection timed out", TaskContainer{})},
			CauseVolume, "a volume cannot be mounted"},
		"no instances": {Evidence{Desired: 2, Waited: time.Minute, Events: []ServiceEvent{{Message: "(service app) was unable to place a task because no container instance met all of its requirements. Reason: No Container Instances were found in your cluster."}}},
			CauseNoInstances, "the cluster has no container instances"},
		"no room": {Evidence{Events: []ServiceEvent{{Message: "(service app) was unable to place a task because no container instance met all of its requirements. The closest matching (container-instance 1a) has insufficient memory available."}}},
			CauseCapacity, "insufficient memory available"},
		"fixed port taken": {Evidence{Events: []ServiceEvent{{Message: "(service app) was unable to place a task because no container instance met all of its requirements. The closest matching container-instance is already using a port required by your task."}}},
			CausePlacement, "already using a port"},
		"quota": {Evidence{Events: []ServiceEvent{{Message: "(service app) was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run concurrently"}}},
			CauseQuota, "a quota of the account is reached"},
		"bounds": {Evidence{Events: []ServiceEvent{{Message: "(service app) was unable to stop or start tasks during a deployment because of the service deployment configuration. Update the minimumHealthyPercent or maximumPercent value and try again."}}},
			CauseBounds, "leave no task that may start or stop"},
		"health path": {Evidence{Port: 8080, Path: "/healthz", Matcher: "200", TimedOut: true, Running: up, Targets: []TargetHealth{{ID: "i-1", Port: 32768, State: "unhealthy", Reason: "Target.ResponseCodeMismatch", Description: "Health checks failed with these codes: [404]"}}},
			CauseHealthPath, "the health check /healthz on port 8080 answers 404, wanted 200"},
		"health path by stopped tasks": {Evidence{Port: 8080, Path: "/healthz", Matcher: "200", Stopped: died(3, "ServiceSchedulerInitiated", "Task failed ELB health checks in (target-group arn:x)", TaskContainer{ExitCode: code(143)}),
			Events: []ServiceEvent{{Message: "(service app) (port 32768) is unhealthy in (target-group arn:x) due to (reason Health checks failed with these codes: [500])."}}},
			CauseHealthPath, "answers 500, wanted 200; 3 tasks were replaced for it"},
		"health time-out": {Evidence{Port: 8080, Path: "/", Status: "ROLLBACK_SUCCESSFUL", Running: up, Targets: []TargetHealth{{State: "unhealthy", Reason: "Target.Timeout", Description: "Request timed out"}}},
			CauseHealthTimeout, "does not answer in time"},
		"port": {Evidence{Port: 9090, Path: "/", Status: "ROLLBACK_SUCCESSFUL", Running: up, Targets: []TargetHealth{{State: "unhealthy", Reason: "Target.FailedHealthChecks", Description: "Health checks failed"}}},
			CausePort, "nothing answers the health check / on container port 9090"},
		"container check": {Evidence{Stopped: died(2, "ServiceSchedulerInitiated", "Task failed container health checks", TaskContainer{ExitCode: code(137)})},
			CauseContainerCheck, "2 tasks failed the container health check"},
		"host": {Evidence{Stopped: died(1, "TerminationNotice", "Host EC2 (instance i-1) terminated.", TaskContainer{})},
			CauseHost, "1 task stopped with the instance"},
		"a crash beside a lost host": {Evidence{Stopped: append(died(3, "TerminationNotice", "Host EC2 (instance i-1) terminated.", TaskContainer{}), died(2, "EssentialContainerExited", essential, TaskContainer{ExitCode: code(2)})...)},
			CauseCrash, "2 tasks exited with code 2"},
		"stopped by someone": {Evidence{Stopped: died(1, "UserInitiated", "Task stopped by user", TaskContainer{ExitCode: code(143)})},
			CauseStopped, "1 task was stopped by someone"},
		"alarm":   {Evidence{Status: "ROLLBACK_SUCCESSFUL", StatusReason: "Service deployment rolled back because an alarm was detected: app-5xx", Running: up}, CauseAlarm, "app-5xx"},
		"slow":    {Evidence{TimedOut: true, Waited: 10 * time.Minute, Desired: 1, Running: up}, CauseSlow, "not done after 10 min, although 1 of 1 tasks run"},
		"unknown": {Evidence{Status: "ROLLBACK_SUCCESSFUL", StatusReason: "Something new."}, CauseUnknown, "Something new"},
	} {
		t.Run(name, func(t *testing.T) {
			d := Diagnose(c.ev)
			if d.Cause != c.cause || !strings.Contains(d.Sentence, c.says) {
				t.Errorf("cause %s, sentence %q; wanted %s, %q", d.Cause, d.Sentence, c.cause, c.says)
			}
			if d.Fix == "" {
				t.Error("no fix")
			}
			if strings.Contains(d.Sentence, "\n") {
				t.Errorf("more than one line: %q", d.Sentence)
			}
		})
	}
}

// A healthy wait is not taken for a failure.
func TestDiagnoseWaits(t *testing.T) {
	ev := Evidence{Status: "IN_PROGRESS", Desired: 2, Running: []Task{{LastStatus: "PENDING"}}, Targets: []TargetHealth{{State: "initial", Reason: "Elb.RegistrationInProgress"}},
		Stopped: died(1, "ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/1)", TaskContainer{})}
	if d := Diagnose(ev); d.Cause != CauseUnknown {
		t.Errorf("cause %s: %s", d.Cause, d.Sentence)
	}
}
