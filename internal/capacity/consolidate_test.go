package capacity

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func (c *Cluster) cost() float64 {
	sum := 0.0
	for i := range c.Instances {
		sum += c.Instances[i].Price
	}
	return sum
}

func (c *Cluster) tasks() []string {
	var ids []string
	for i := range c.Instances {
		for _, t := range c.Instances[i].Tasks {
			ids = append(ids, t.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

func drawCluster(t *rapid.T) *Cluster {
	zones := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "zones")]
	c := &Cluster{Zones: zones, Overhead: Resources{CPU: 64, Memory: 128}}
	all := offers("mcr", 16)
	for range rapid.IntRange(0, 12).Draw(t, "offers") {
		o := rapid.SampledFrom(all).Draw(t, "offer")
		if rapid.IntRange(0, 4).Draw(t, "zonal") == 0 {
			o.Zones = []string{rapid.SampledFrom(zones).Draw(t, "its zone")}
		}
		c.Offers = append(c.Offers, o)
	}
	services := make([]*Task, 6)
	for i := range services {
		services[i] = &Task{
			Service:   fmt.Sprint("s", i),
			Resources: Resources{CPU: rapid.IntRange(0, 3000).Draw(t, "cpu"), Memory: rapid.IntRange(1, 9000).Draw(t, "memory")},
		}
		switch rapid.IntRange(0, 7).Draw(t, "kind") {
		case 0:
			services[i].MaxPerInstance = 2
		case 1:
			services[i].Ports = []Port{{Number: 8080}}
		case 2:
			services[i].Spread = true
		case 3:
			services[i].Admits = func(h Host) bool { return h.Type.VCPU > 2 }
		case 4:
			services[i].ENI = 1
		}
	}
	for i := range rapid.IntRange(0, 16).Draw(t, "instances") {
		x := rapid.SampledFrom(all).Draw(t, "type").Type
		in := Occupied{
			Host: Host{ID: fmt.Sprint("i-", i), Type: x, Zone: rapid.SampledFrom(zones).Draw(t, "zone")}, Capacity: x.Capacity(false),
			Daemons: c.Overhead, Price: x.PriceHour, Expired: rapid.IntRange(0, 5).Draw(t, "expired") == 0,
			Keep: rapid.IntRange(0, 9).Draw(t, "keep") == 0, Closed: rapid.IntRange(0, 9).Draw(t, "closed") == 0,
		}
		for k := range rapid.IntRange(0, 5).Draw(t, "tasks") {
			task := rapid.SampledFrom(services).Draw(t, "task")
			if in.refuses(task) == "" {
				in.Tasks = append(in.Tasks, Running{ID: fmt.Sprint(i, "/", k), Task: task, Pinned: rapid.IntRange(0, 19).Draw(t, "pinned") == 0})
			}
		}
		c.Instances = append(c.Instances, in)
	}
	return c
}

func TestConsolidationIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCluster(t)
		b := Budgets{
			Instances: rapid.IntRange(-1, 5).Draw(t, "budget of instances"), Tasks: rapid.IntRange(-1, 20).Draw(t, "budget of tasks"),
			Service: map[string]int{"s0": rapid.IntRange(0, 3).Draw(t, "budget of s0")},
		}
		moves := Consolidate(c, b)
		if again := Consolidate(c, b); !reflect.DeepEqual(moves, again) {
			t.Fatalf("the same cluster gave other moves")
		}
		after, err := Apply(c, moves)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if !slices.Equal(c.tasks(), after.tasks()) {
			t.Fatalf("tasks before %v, after %v", c.tasks(), after.tasks())
		}
		saving, instances, tasks, s0 := 0.0, 0, 0, 0
		for i := range moves {
			m := &moves[i]
			saving += m.Saving
			tasks += len(m.Tasks)
			if m.Saving < -1e-9 {
				t.Fatalf("%v costs %v", m.Kind, -m.Saving)
			}
			for _, v := range m.Victims {
				if len(c.Instances[v].Tasks) > 0 {
					instances++
				}
				if c.Instances[v].Keep {
					t.Fatalf("instance %d was to be kept", v)
				}
			}
			for _, r := range m.Tasks {
				if c.Instances[r.From].Tasks[r.Task].Task.Service == "s0" {
					s0++
				}
			}
		}
		if d := c.cost() - after.cost() - saving; d > 1e-6 || d < -1e-6 {
			t.Fatalf("cost %v → %v, savings told %v", c.cost(), after.cost(), saving)
		}
		if b.Instances >= 0 && instances > b.Instances || b.Tasks >= 0 && tasks > b.Tasks || s0 > b.Service["s0"] {
			t.Fatalf("budgets %+v; moved %d instances, %d tasks, %d of s0", b, instances, tasks, s0)
		}
	})
}

func cluster(types string, tasks ...[]Resources) *Cluster {
	c := &Cluster{Zones: []string{"a"}, Offers: offers("m", 16)}
	for i, name := range strings.Fields(types) {
		x, _ := TypeByName(name)
		in := Occupied{Host: Host{ID: fmt.Sprint("i-", i), Type: x, Zone: "a"}, Capacity: x.Capacity(false), Price: x.PriceHour}
		for k, r := range tasks[i] {
			in.Tasks = append(in.Tasks, Running{ID: fmt.Sprint(i, "/", k), Task: &Task{Service: "web", Resources: r}})
		}
		c.Instances = append(c.Instances, in)
	}
	return c
}

func TestConsolidationKinds(t *testing.T) {
	small, large := Resources{CPU: 512, Memory: 1024}, Resources{CPU: 3500, Memory: 4000}
	free := Budgets{Instances: NoLimit, Tasks: NoLimit}
	for _, c := range []struct {
		name    string
		cluster *Cluster
		budgets Budgets
		change  func(*Cluster)
		want    string
	}{
		{"empty goes without any budget", cluster("m5.large m5.large", []Resources{small}, nil), Budgets{}, nil, "empty[1]"},
		{"no budget, no disruption", cluster("m5.large m5.large", []Resources{small}, []Resources{small}), Budgets{}, nil, ""},
		{"two half-empty become one", cluster("m5.large m5.large", []Resources{small, small}, []Resources{small}), free, nil, "spread[1]"},
		{
			"the service's slack forbids it", cluster("m5.large m5.large", []Resources{small}, []Resources{small}),
			Budgets{Instances: NoLimit, Tasks: NoLimit, Service: map[string]int{"web": 0}}, nil, "",
		},
		{
			"three large ones merge into one", cluster("m5.2xlarge m5.2xlarge m5.2xlarge", []Resources{large, large}, []Resources{large, large}, []Resources{large}), free,
			func(c *Cluster) {
				for i := range c.Instances {
					c.Instances[i].Price *= 1.5
				}
			}, "merge",
		},
		{"one goes for a cheaper one", cluster("m5.4xlarge", []Resources{large}), free, nil, "replace[0]→m5a.xlarge"},
		{
			"pinned tasks stay", cluster("m5.4xlarge", []Resources{large}), free,
			func(c *Cluster) { c.Instances[0].Tasks[0].Pinned = true }, "",
		},
		{
			"a saving too small is left", cluster("m5.4xlarge", []Resources{large}), Budgets{Instances: NoLimit, Tasks: NoLimit, MinSaving: 5}, nil, "",
		},
		{
			"expired is renewed for no more", cluster("m5a.xlarge", []Resources{large}), free,
			func(c *Cluster) { c.Instances[0].Expired = true }, "renew[0]→m5a.xlarge",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.cluster)
			}
			var got []string
			moves := Consolidate(c.cluster, c.budgets)
			for _, m := range moves {
				s := fmt.Sprintf("%v%v", m.Kind, m.Victims)
				if m.Launch {
					s += "→" + c.cluster.Offers[m.Offer].Type.Name
				}
				got = append(got, s)
			}
			if all := strings.Join(got, " "); all != c.want && (c.want != "merge" || !strings.HasPrefix(all, "merge")) {
				t.Errorf("moves %q, want %q", all, c.want)
			}
			if _, err := Apply(c.cluster, moves); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestApplyRefusesBrokenMoves(t *testing.T) {
	big := Resources{CPU: 1500, Memory: 1024}
	for _, c := range []struct {
		move Move
		want string
	}{
		{Move{Victims: []int{0}}, "is lost"},
		{Move{Victims: []int{0}, Tasks: []Relocation{{0, 0, 1}}}, "cannot take task"},
		{Move{Victims: []int{0}, Tasks: []Relocation{{0, 0, New}}}, "none is launched"},
		{Move{Victims: []int{0}, Tasks: []Relocation{{0, 0, 0}}}, "gets none"},
		{Move{Victims: []int{0}, Tasks: []Relocation{{1, 0, 1}}}, "which stays"},
	} {
		if _, err := Apply(cluster("m5.large m5.large", []Resources{big}, []Resources{big}), []Move{c.move}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.move, err, c.want)
		}
	}
}

func TestMovesAreDescribed(t *testing.T) {
	c := cluster("m5.large m5.large m5.4xlarge", []Resources{{CPU: 512, Memory: 1024}}, nil, []Resources{{CPU: 3500, Memory: 4000}})
	var got []string
	for _, m := range Consolidate(c, Budgets{Instances: 1, Tasks: NoLimit}) {
		got = append(got, m.Describe(c))
	}
	want := []string{
		"i-1 (m5.large) runs no tasks; saves 0.0960 USD an hour",
		"i-0 (m5.large) is not needed: 1 tasks fit on other instances; saves 0.0960 USD an hour",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
