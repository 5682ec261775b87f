package capacity

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// mix is tasks as clusters have them: log-normal CPU and memory, loosely coupled.
func mix(n int, seed uint64, cpuMedian, cpuSigma, memPerCPU, memSigma float64) []Task {
	r := rand.New(rand.NewPCG(seed, 7))
	tasks := make([]Task, n)
	for i := range tasks {
		milli := cpuMedian * math.Exp(cpuSigma*r.NormFloat64())
		milli = min(max(milli, 10), 15000)
		mem := milli / 1000 * memPerCPU * 1024 * math.Exp(memSigma*r.NormFloat64())
		mem = min(max(mem, 16), 100*1024)
		tasks[i] = Task{Name: fmt.Sprint("t", i), Resources: Resources{CPU: int(math.Ceil(milli * 1.024)), Memory: int(mem)}}
	}
	return tasks
}

func offers(families string, maxVCPU int) []Offer {
	var out []Offer
	for _, t := range Types() {
		if slices.Contains([]byte(families), t.Name[0]) && t.Name[1] >= '0' && t.Name[1] <= '9' && t.Arch == "amd64" && t.VCPU <= maxVCPU && t.GPUs == 0 {
			out = append(out, Offer{Type: t})
		}
	}
	return out
}

func TestQuality(t *testing.T) {
	for _, m := range []struct {
		name                   string
		med, sigma, ratio, mem float64
	}{{"small", 250, 1, 3, .7}, {"mid", 500, 1, 4, .8}, {"wide", 500, 1.3, 4, 1}, {"cpu", 400, 1, 1.5, .6}, {"mem", 250, 1, 9, .7}, {"big", 1500, .8, 4, .5}} {
		for _, n := range []int{1000, 5000} {
			for seed := range uint64(3) {
				req := &Request{Tasks: mix(n, seed, m.med, m.sigma, m.ratio, m.mem), Offers: offers("mcr", 16), Zones: []string{"a", "b", "c"}}
				start := time.Now()
				res := Plan(req)
				t.Logf("%s %d #%d: ratio %.4f nodes %d cost %.2f, %v, unplaced %d", m.name, n, seed, res.Ratio(), len(res.Launch), res.Cost, time.Since(start), len(res.Unplaced))
			}
		}
	}
}
