package state

import "time"

// The Elastic Load Balancing records. The API writes what was asked; TargetHealth has one writer,
// the target-health loop. Targets are written by the API and by the ECS service loop.

// Target is a registration in a target group. Key: target group ARN + "/" + id + ":" + port.
type Target struct {
	TargetGroupARN string
	ID             string // i-…, an IP address or a load balancer ARN
	Port           int
	AZ             string
	RegisteredAt   time.Time
	// DrainingSince is when it was deregistered; the record goes when the delay has passed.
	DrainingSince time.Time
	// Addr is the real address behind it, where the ECS task behind it is known; otherwise it is
	// looked up among the tasks (container instance and host port, or ENI address).
	Addr string
}

// TargetHealth is the health of a target. Key: as Target.
type TargetHealth struct {
	State       string // initial, healthy, unhealthy, unused, draining, unavailable
	Reason      string
	Description string
	Since       time.Time
}

// TargetKey is the key of Target and TargetHealth records.
func TargetKey(targetGroupARN, id string, port int) string {
	return targetGroupARN + "/" + id + ":" + itoa(port)
}
