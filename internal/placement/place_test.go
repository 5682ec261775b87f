package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func fleet(n int) []*Instance {
	var out []*Instance
	for k := range n {
		out = append(out, &Instance{
			ID: fmt.Sprintf("ci-%04d", k), EC2ID: fmt.Sprintf("i-%04d", k), AZ: fmt.Sprintf("us-east-1%c", 'a'+k%3),
			Type: "m5.large", Status: "ACTIVE", AgentConnected: true, Registered: Resources{2048, 7680, 0, 2},
		})
	}
	return out
}

func TestFiltersExplain(t *testing.T) {
	set := func(f func(*Instance)) *Instance { i := fleet(1)[0]; f(i); return i }
	req := Request{
		Resources: Resources{1024, 1024, 1, 1}, Ports: []Port{{80, "tcp"}}, Group: "service:web", Attributes: []string{"ecs.os-type=linux"},
		Constraints: []Constraint{{Type: "distinctInstance"}, {"memberOf", "attribute:ecs.instance-type =~ m5.*"}},
	}
	good := func(i *Instance) {
		i.Registered.GPU = 1
		i.Attributes = map[string]string{"ecs.os-type": "linux"}
	}
	for want, f := range map[Reason]func(*Instance){
		Inactive:    func(i *Instance) { i.Status = "DRAINING" },
		Agent:       func(i *Instance) { i.AgentConnected = false },
		MissingAttr: func(i *Instance) { i.Attributes = map[string]string{"ecs.os-type": "windows"} },
		NotDistinct: func(i *Instance) { i.Groups = map[string]int{"service:web": 1} },
		NotMember:   func(i *Instance) { i.Type = "t3.small" },
		NoCPU:       func(i *Instance) { i.Used.CPU = 1025 },
		NoMemory:    func(i *Instance) { i.Used.Memory = 7000 },
		PortInUse:   func(i *Instance) { i.Ports = map[Port]int{{80, "tcp"}: 1} },
		NoGPU:       func(i *Instance) { i.Used.GPU = 1 },
		NoENI:       func(i *Instance) { i.Used.ENI = 2 },
		"":          func(i *Instance) { i.Ports = map[Port]int{{80, "udp"}: 1}; i.Used.CPU = 1024 },
	} {
		i := set(func(i *Instance) { good(i); f(i) })
		got, refusals, err := Place(&req, []*Instance{i})
		switch {
		case err != nil:
			t.Fatal(err)
		case want == "" && got != i:
			t.Errorf("refused: %v", refusals)
		case want != "" && (len(refusals) != 1 || refusals[0].Reason != want || refusals[0].Detail == ""):
			t.Errorf("got %v %v, want %s", got, refusals, want)
		}
	}
}

func TestClosestIsTheOneThatLacksLeast(t *testing.T) {
	got, ok := Closest([]Refusal{{"a", Inactive, ""}, {"c", NoCPU, ""}, {"b", NoCPU, ""}, {"d", NotMember, ""}})
	if !ok || got.InstanceID != "b" {
		t.Errorf("closest = %v", got)
	}
}

// The behaviours of https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-strategies.html
func TestStrategies(t *testing.T) {
	place := func(n int, instances []*Instance, s ...Strategy) map[string]int {
		b, err := NewBatch(&Request{Resources: Resources{CPU: 256, Memory: 512}, Group: "g", Strategies: s, Seed: 7}, instances)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for range n {
			if i := b.Next(); i != nil {
				got[i.ID]++
			}
		}
		return got
	}
	az := Strategy{"spread", "attribute:ecs.availability-zone"}
	if got := place(6, fleet(6)); len(got) != 6 {
		t.Errorf("default does not spread over instances: %v", got)
	}
	zones := fleet(7)[:4] // a b c a
	if got := place(6, zones, az); got["ci-0001"] != 2 || got["ci-0002"] != 2 {
		t.Errorf("spread over zones: %v", got)
	}
	if got := place(8, fleet(5), Strategy{"binpack", "cpu"}); len(got) != 1 {
		t.Errorf("binpack uses %d instances, want 1: %v", len(got), got)
	}
	if got := place(9, fleet(9), az, Strategy{"binpack", "memory"}); len(got) != 3 {
		t.Errorf("spread then binpack uses %d instances, want one a zone: %v", len(got), got)
	}
	fullB := fleet(3)
	fullB[1].Used.CPU = 2048
	if got := place(4, fullB, az); got["ci-0000"] != 2 || got["ci-0002"] != 2 {
		t.Errorf("a full zone is passed over: %v", got)
	}
	random := place(200, fleet(50), Strategy{Type: "random"})
	if len(random) < 40 || !equal(random, place(200, fleet(50), Strategy{Type: "random"})) {
		t.Errorf("random: %d instances used, or not repeatable", len(random))
	}
	rack := fleet(4)
	for k, i := range rack {
		i.AZ, i.Attributes = "a", map[string]string{"rack": fmt.Sprint(k / 2)}
	}
	if got := place(2, rack, Strategy{"binpack", "cpu"}, Strategy{"spread", "attribute:rack"}); got["ci-0000"] != 2 {
		t.Errorf("a spread behind a binpack only breaks ties: %v", got)
	}
}

func equal(a, b map[string]int) bool {
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return len(a) == len(b)
}

func TestVictims(t *testing.T) {
	f := fleet(3)
	f[0].Used.Memory, f[1].Used.Memory, f[2].Used.Memory = 4000, 1000, 2000
	at := func(m int) time.Time { return time.Unix(int64(m)*60, 0) }
	tasks := []Candidate{{"t0", f[0], at(1)}, {"t1", f[1], at(2)}, {"t2", f[2], at(3)}, {"t3", f[0], at(4)}, {"t4", f[0], at(0)}}
	pick := func(s ...Strategy) string {
		k, err := PickVictim(&Request{Group: "g", Strategies: s}, tasks)
		if err != nil {
			t.Fatal(err)
		}
		return tasks[k].TaskID
	}
	if got := pick(); got != "t3" {
		t.Errorf("default takes %s, want t3: the newest of the fullest zone", got)
	}
	if got := pick(Strategy{"binpack", "memory"}); got != "t1" {
		t.Errorf("binpack takes %s, want t1: its host ends with the most free memory", got)
	}
}

func TestNeverOvercommits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		instances := fleet(rapid.IntRange(0, 12).Draw(t, "instances"))
		for _, i := range instances {
			i.Registered = Resources{rapid.IntRange(0, 4096).Draw(t, "cpu"), rapid.IntRange(0, 8192).Draw(t, "mem"), rapid.IntRange(0, 2).Draw(t, "gpu"), rapid.IntRange(0, 4).Draw(t, "eni")}
			i.Status = rapid.SampledFrom([]string{"ACTIVE", "ACTIVE", "DRAINING"}).Draw(t, "status")
		}
		strategies := []Strategy{{"spread", "host"}, {"spread", "attribute:ecs.availability-zone"}, {"binpack", "cpu"}, {"binpack", "memory"}, {"random", ""}}
		for range rapid.IntRange(1, 4).Draw(t, "services") {
			req := Request{
				Resources:  Resources{rapid.IntRange(0, 1024).Draw(t, "c"), rapid.IntRange(0, 2048).Draw(t, "m"), rapid.IntRange(0, 1).Draw(t, "g"), rapid.IntRange(0, 1).Draw(t, "e")},
				Group:      rapid.SampledFrom([]string{"a", "b"}).Draw(t, "group"),
				Strategies: rapid.SliceOfN(rapid.SampledFrom(strategies), 0, 4).Draw(t, "strategies"),
			}
			if rapid.Bool().Draw(t, "port") {
				req.Ports = []Port{{8080, ""}}
			}
			distinct := rapid.Bool().Draw(t, "distinct")
			if distinct {
				req.Constraints = []Constraint{{Type: "distinctInstance"}}
			}
			b, err := NewBatch(&req, instances)
			if err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(0, 20).Draw(t, "tasks") {
				one, refusals, _ := Place(&req, instances)
				i := b.Next()
				if i == nil {
					if one != nil || len(refusals) != len(instances) {
						t.Fatalf("batch found none, single look %v, refusals %v", one, refusals)
					}
					break
				}
				// Tie-breaking is deterministic, so the heap must agree with a fresh look.
				if one != i {
					t.Fatalf("batch chose %s, a fresh look %s", i.ID, one.ID)
				}
				left := i.Remaining()
				if left.CPU < 0 || left.Memory < 0 || left.GPU < 0 || left.ENI < 0 || i.Status != "ACTIVE" {
					t.Fatalf("overcommitted %+v", i)
				}
				if i.Ports[Port{8080, "tcp"}] > 1 || distinct && i.Groups[req.Group] > 1 {
					t.Fatalf("port or instance shared: %+v", i)
				}
				if rapid.IntRange(0, 9).Draw(t, "drop") == 0 {
					b.Drop(i)
					if k := slices.Index(instances, i); k >= 0 {
						instances = slices.Delete(slices.Clone(instances), k, k+1)
					}
					if b, err = NewBatch(&req, instances); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

func TestReleaseUndoesTake(t *testing.T) {
	i := fleet(1)[0]
	r := &Request{Resources: Resources{1, 2, 0, 1}, Ports: []Port{{80, ""}}, Group: "g"}
	i.Take(r)
	i.Release(r)
	if i.Used != (Resources{}) || len(i.Ports) != 0 || len(i.Groups) != 0 {
		t.Errorf("left: %+v", i)
	}
}

func BenchmarkBatch(b *testing.B) {
	for b.Loop() {
		batch, _ := NewBatch(&Request{Resources: Resources{CPU: 10, Memory: 10}, Group: "g"}, fleet(5000))
		for range 5000 {
			batch.Next()
		}
	}
}

// A spread over zones and then over instances takes the zone with the fewest tasks of the group, and in it
// the instance with the fewest, whatever strategy comes behind.
func TestSpreadOverInstances(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		instances := fleet(rapid.IntRange(1, 9).Draw(t, "instances"))
		for _, i := range instances {
			i.Registered.CPU = 256 * rapid.IntRange(0, 4).Draw(t, "room")
			i.Groups = map[string]int{"g": rapid.IntRange(0, 3).Draw(t, "tasks")}
		}
		r := &Request{Resources: Resources{CPU: 256}, Group: "g", Strategies: []Strategy{{"spread", "attribute:ecs.availability-zone"}, {"spread", "instanceId"}}}
		if rapid.Bool().Draw(t, "binpack") {
			r.Strategies = append(r.Strategies, Strategy{"binpack", "cpu"})
		}
		b, err := NewBatch(r, instances)
		if err != nil {
			t.Fatal(err)
		}
		for {
			zones := map[string]int{}
			for _, i := range instances {
				zones[i.AZ] += i.Groups["g"]
			}
			var want *Instance
			for _, i := range instances {
				if i.Remaining().CPU >= 256 && (want == nil || cmp.Or(zones[i.AZ]-zones[want.AZ], strings.Compare(i.AZ, want.AZ), i.Groups["g"]-want.Groups["g"], strings.Compare(i.ID, want.ID)) < 0) {
					want = i
				}
			}
			got := b.Next()
			if got != want {
				t.Fatalf("%+v, not %+v", got, want)
			}
			if got == nil {
				return
			}
			if rapid.IntRange(0, 5).Draw(t, "drop") == 0 {
				b.Drop(got)
				got.Registered.CPU = 0 // the batch has no more of it; nor has the model
			}
		}
	})
}
