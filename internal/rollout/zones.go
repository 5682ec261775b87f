package rollout

import (
	"maps"
	"slices"
)

// Rebalance looks at how many tasks of a service are in each Availability Zone it may use, those
// without a task included. If the fullest has at least two more than the emptiest, to is the zone
// where one more task shall start; when it is healthy, scale-in takes one from the fullest.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-rebalancing.html
func Rebalance(tasks map[string]int) (to string, ok bool) {
	most := 0
	for _, z := range slices.Sorted(maps.Keys(tasks)) {
		if !ok || tasks[z] < tasks[to] {
			to, ok = z, true
		}
		most = max(most, tasks[z])
	}
	return to, ok && most-tasks[to] >= 2
}
