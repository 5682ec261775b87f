package service

import (
	"fmt"
	"slices"
	"strings"
)

// fargateSizes are the tasks Fargate runs: CPU units → MiB of memory.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
var fargateSizes = []struct {
	cpu    int
	memory []int
}{
	{256, []int{512, 1024, 2048}},
	{512, steps(1024, 4096, 1024)},
	{1024, steps(2048, 8192, 1024)},
	{2048, steps(4096, 16384, 1024)},
	{4096, steps(8192, 30720, 1024)},
	{8192, steps(16384, 61440, 4096)},
	{16384, steps(32768, 122880, 8192)},
	{32768, []int{61440, 122880, 249856}},
}

func steps(from, to, by int) []int {
	var out []int
	for v := from; v <= to; v += by {
		out = append(out, v)
	}
	return out
}

// FargateFit is the smallest Fargate size with at least this much CPU and memory.
func FargateFit(cpu, memory int) (fitCPU, fitMemory int, ok bool) {
	return fargateFit(cpu, memory, 0, 0)
}

// fargateFit is the smallest size with at least cpu and memory, and exactly exactCPU and
// exactMemory where they are not 0.
func fargateFit(cpu, memory, exactCPU, exactMemory int) (fitCPU, fitMemory int, ok bool) {
	for _, s := range fargateSizes {
		if s.cpu < cpu || exactCPU > 0 && s.cpu != exactCPU {
			continue
		}
		for _, m := range s.memory {
			if m >= memory && (exactMemory == 0 || m == exactMemory) {
				return s.cpu, m, true
			}
		}
	}
	return 0, 0, false
}

// checkFargate says what is wrong with a size, and the nearest right one.
func checkFargate(cpu, memory int) error {
	var cpus []string
	for _, s := range fargateSizes {
		cpus = append(cpus, fmt.Sprint(s.cpu))
		if s.cpu != cpu {
			continue
		}
		if slices.Contains(s.memory, memory) {
			return nil
		}
		low, high := s.memory[0], s.memory[len(s.memory)-1]
		text := fmt.Sprintf("Fargate has no task of %d CPU units with %d MiB; with this CPU, memory goes from %d to %d", cpu, memory, low, high)
		if memory > low && memory < high {
			text += fmt.Sprintf(" in steps of %d", s.memory[1]-s.memory[0])
		}
		if c, m, ok := FargateFit(cpu, memory); ok {
			text += fmt.Sprintf("; the smallest that fits is cpu: %d, memory: %d", c, m)
		}
		return fmt.Errorf("%s", text)
	}
	return fmt.Errorf("Fargate has no task of %d CPU units; it has %s", cpu, strings.Join(cpus, ", "))
}
