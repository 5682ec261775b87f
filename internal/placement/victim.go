package placement

import (
	"cmp"
	"slices"
	"time"
)

// Candidate is a task that may be stopped on scale-in.
type Candidate struct {
	TaskID    string
	Instance  *Instance
	StartedAt time.Time // zero: not running yet
}

// PickVictim returns the index of the task to stop next, or -1 without candidates.
//
// With spread the task comes from the value with the most tasks of the group, so that what is left
// is balanced; with binpack from the host that ends with the most free room, so that hosts become
// empty. Ties fall on the newest task, as in AWS's default termination order for services.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-strategies.html
func PickVictim(r *Request, candidates []Candidate) (int, error) {
	c, err := compile(r)
	if err != nil {
		return -1, err
	}
	if len(candidates) == 0 {
		return -1, nil
	}
	left := make([]int, len(candidates))
	for k := range left {
		left[k] = k
	}
	for _, s := range c.strategies {
		if len(left) == 1 {
			break
		}
		switch s.kind {
		case 's':
			n := map[string]int{}
			for _, k := range left {
				n[s.value(candidates[k].Instance)]++
			}
			left = keepMax(left, func(k int) int { return n[s.value(candidates[k].Instance)] })
		case 'b':
			left = keepMax(left, func(k int) int { return s.left(candidates[k].Instance) })
		case 'r':
			left = keepMax(left, func(k int) int {
				return int(mix(c.random(candidates[k].Instance)^uint64(k)) >> 1)
			})
		}
	}
	return slices.MaxFunc(left, func(a, b int) int {
		x, y := candidates[a], candidates[b]
		// Not running yet counts as newest of all.
		if d := cmp.Compare(b2i(x.StartedAt.IsZero()), b2i(y.StartedAt.IsZero())); d != 0 {
			return d
		}
		if d := x.StartedAt.Compare(y.StartedAt); d != 0 {
			return d
		}
		return cmp.Compare(x.TaskID, y.TaskID)
	}), nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func keepMax(in []int, score func(int) int) []int {
	best, out := 0, []int(nil)
	for _, k := range in {
		switch s := score(k); {
		case out == nil || s > best:
			best, out = s, append(out[:0], k)
		case s == best:
			out = append(out, k)
		}
	}
	return out
}
