package scaling

import "math"

// Managed scaling of an ECS capacity provider: the metric CapacityProviderReservation is M ÷ N × 100,
// where N is the instances there are and M the instances needed
// (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster-auto-scaling.html).

// Room is what a task needs or an instance has: CPU units, MiB, GPUs, task ENIs.
type Room struct{ CPU, Memory, GPU, ENI int }

// Waiting is a number of tasks with identical needs that wait in PROVISIONING. One of Exclusive tasks
// fits on an instance (a fixed host port, distinctInstance).
type Waiting struct {
	Tasks     int
	Needs     Room
	Exclusive bool
}

// fits is how many tasks with these needs an empty instance holds.
func (w Waiting) fits(instance Room) int {
	n := math.MaxInt
	for _, d := range [][2]int{{instance.CPU, w.Needs.CPU}, {instance.Memory, w.Needs.Memory}, {instance.GPU, w.Needs.GPU}, {instance.ENI, w.Needs.ENI}} {
		if d[1] > 0 {
			n = min(n, d[0]/d[1])
		}
	}
	if w.Exclusive {
		n = min(n, 1)
	}
	return n
}

// Managed is the managed scaling of one capacity provider.
type Managed struct {
	MinStep, MaxStep int // instances; bounds of one step out
}

// Needed is M: with tasks waiting, the instances there are and the most that any one group of waiting
// tasks needs beside them, within the steps; with none, the instances that have a task that is no
// daemon. Groups that no instance can hold are left out: more instances would not help them.
func (m Managed) Needed(there, busy int, groups []Waiting, instance Room) int {
	more := 0
	for _, g := range groups {
		if per := g.fits(instance); per > 0 && g.Tasks > 0 {
			more = max(more, (g.Tasks-1)/per+1)
		}
	}
	if more == 0 {
		return min(busy, there)
	}
	return there + min(max(more, m.MinStep, 1), max(m.MaxStep, 1))
}

// Reservation is the value of CapacityProviderReservation, in percent. Where there is no instance it
// is 200 if one is needed and 100 if none is.
func Reservation(needed, there int) float64 {
	switch {
	case there > 0:
		return 100 * float64(needed) / float64(there)
	case needed > 0:
		return 200
	}
	return 100
}

// InStep bounds one step in of target tracking on a group: at least one instance, and less than half
// of them where there is more than one.
func InStep(now, wanted int) int {
	if wanted >= now {
		return now
	}
	return max(wanted, now-max(1, (now-1)/2))
}
