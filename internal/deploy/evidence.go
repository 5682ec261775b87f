package deploy

import "time"

// Evidence is what was seen of a deployment while it went on. Stopped tasks and service events
// vanish from AWS later, so it is gathered during the wait.
type Evidence struct {
	Service   string
	Container string // main container
	Image     string
	Desired   int
	Memory    int    // hard limit of the main container, MiB
	Port      int    // container port behind the load balancer; 0 = none
	Protocol  string // of the health check
	Path      string // health check path
	Matcher   string
	Grace     time.Duration

	Status       string // of the service deployment
	StatusReason string
	TimedOut     bool
	Waited       time.Duration

	Stopped []Task // of the new revision
	Running []Task // of the new revision
	Targets []TargetHealth
	Events  []ServiceEvent // since the deployment began, oldest first
}

// Cause is what a failed deployment died of.
type Cause string

// The causes Diagnose tells apart.
const (
	CauseImageMissing   Cause = "image-missing"
	CauseArchitecture   Cause = "wrong-architecture"
	CauseCommand        Cause = "command-not-found"
	CauseCrash          Cause = "crash"
	CauseExited         Cause = "exited" // code 0: the process simply ended
	CauseMemory         Cause = "out-of-memory"
	CauseHealthPath     Cause = "health-check-status"
	CauseHealthTimeout  Cause = "health-check-timeout"
	CausePort           Cause = "port-closed"
	CauseContainerCheck Cause = "container-health-check"
	CauseSecret         Cause = "secret-missing"
	CauseSecretDenied   Cause = "secret-denied"
	CauseRole           Cause = "role"
	CauseCapacity       Cause = "no-capacity"
	CauseNoInstances    Cause = "no-instances"
	CausePlacement      Cause = "placement"
	CauseNetwork        Cause = "network"
	CauseQuota          Cause = "quota"
	CauseThrottled      Cause = "throttled"
	CauseBounds         Cause = "deployment-bounds"
	CauseLogs           Cause = "log-driver"
	CauseVolume         Cause = "volume"
	CauseAlarm          Cause = "alarm"
	CauseStopped        Cause = "stopped-by-someone"
	CauseSuperseded     Cause = "superseded"
	CauseHost           Cause = "host-lost"
	CauseStep           Cause = "step-failed"
	CauseSmoke          Cause = "smoke-test"
	CauseSlow           Cause = "slow"
	CauseUnknown        Cause = "unknown"
)

// Diagnosis names the cause of a failed deployment.
type Diagnosis struct {
	Cause    Cause
	Sentence string   // the cause in one sentence
	Fix      string   // what to change, one sentence
	Groups   []Group  // stopped tasks by cause, the largest first
	Targets  []string // health of the targets that are not healthy, one line each
	Events   []string // the service events that matter
	Logs     []string // last log lines of one failed task
}

// Group is a number of tasks that stopped for the same reason.
type Group struct {
	Count   int
	Cause   Cause
	Reason  string // as AWS says it
	Example string // id of one of the tasks
}
