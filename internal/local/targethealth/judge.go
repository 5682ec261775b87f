package targethealth

// Health is a target's state with AWS's reason code and description.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
type Health struct{ State, Reason, Description string }

// What a target can be without a check having said so.
var (
	Registering  = Health{"initial", "Elb.RegistrationInProgress", "Target registration is in progress"}
	Checking     = Health{"initial", "Elb.InitialHealthChecking", "Initial health checks in progress"}
	NotInUse     = Health{"unused", "Target.NotInUse", "Target group is not configured to receive traffic from the load balancer"}
	Unregistered = Health{"unused", "Target.NotRegistered", "Target is not registered to the target group"}
	Draining     = Health{"draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"}
	Unchecked    = Health{"unavailable", "Target.HealthCheckDisabled", "Health checks are disabled for the target group"}
	healthy      = Health{State: "healthy"}
)

// Failure is why a check failed: a reason code and its description.
type Failure struct{ Reason, Description string }

// judge turns the outcomes of checks into a state: a new target is healthy after one pass, later
// changes take as many outcomes in a row as the thresholds say.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
type judge struct {
	health         Health
	passed, failed int // in a row
}

// observe takes the outcome of a check (nil: it passed). A failure that does not count is one of
// the extra checks of a new target.
func (j *judge) observe(c *Check, f *Failure, counts bool) {
	if f == nil {
		j.passed, j.failed = j.passed+1, 0
		if j.health.State == "initial" || j.passed >= c.HealthyThreshold {
			j.health = healthy
		}
		return
	}
	j.passed = 0
	if counts {
		j.failed++
	}
	switch {
	case j.failed >= c.UnhealthyThreshold, j.health.State == "unhealthy":
		j.health = Health{"unhealthy", f.Reason, f.Description}
	case j.health.State == "initial":
		j.health = Checking
	}
}
