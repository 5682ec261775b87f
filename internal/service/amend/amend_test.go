package amend

import (
	"strings"
	"testing"
)

func TestSizes(t *testing.T) {
	const head = "service: shop   # ours\nbuild: { ko: . }\ncluster: demo\n"
	for _, c := range []struct{ name, in, out, fault string }{
		{"beside others in braces",
			"container: { port: 8080, cpu: 256, memory: 512 }\nenvironments:\n  qa: {}\n  # busy\n  prod: { count: 3 } # three\n",
			"container: { port: 8080, cpu: 256, memory: 512 }\nenvironments:\n  qa: {}\n  # busy\n  prod: { container: { cpu: 100, memory: 128, memory_reservation: 64 }, count: 3 } # three\n", ""},
		{"an empty environment",
			"container: { port: 8080 }\nenvironments: { qa: {}, prod: {} }\n",
			"container: { port: 8080 }\nenvironments: { qa: {}, prod: { container: { cpu: 100, memory: 128, memory_reservation: 64 } } }\n", ""},
		{"an environment of nothing",
			"container: { port: 8080 }\nenvironments:\n  prod:\n  qa: {}\n",
			"container: { port: 8080 }\nenvironments:\n  prod: { container: { cpu: 100, memory: 128, memory_reservation: 64 } }\n  qa: {}\n", ""},
		{"an environment of lines",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    # not fewer\n    count: 3 # the\n\n    tags: # of it\n      A: b\n",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    # not fewer\n    count: 3 # the\n    container: { cpu: 100, memory: 128, memory_reservation: 64 }\n\n    tags: # of it\n      A: b\n", ""},
		{"what is there is replaced, where it is",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    container: # large\n      cpu: 256     # a quarter\n      # for peaks\n      memory: 512\n      memory_reservation: 300 # as seen\n",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    container: # large\n      cpu: 100     # a quarter\n      # for peaks\n      memory: 128\n      memory_reservation: 64 # as seen\n", ""},
		{"what is there in part",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    container:\n      # the plan's\n      cpu: 256\n",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    container:\n      # the plan's\n      cpu: 100\n      memory: 128\n      memory_reservation: 64\n", ""},
		{"only mappings of lines",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    # settings\n    tags:\n      A: b\n",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    container: { cpu: 100, memory: 128, memory_reservation: 64 }\n    # settings\n    tags:\n      A: b\n", ""},
		{"right already",
			"container: { port: 8080, cpu: 100, memory: 128, memory_reservation: 64 }\nenvironments: { prod: {} } # end",
			"container: { port: 8080, cpu: 100, memory: 128, memory_reservation: 64 }\nenvironments: { prod: {} } # end", ""},
		{"text before on the line is not ASCII",
			"container: { port: 8080 }\nenvironments:\n  prod: { tags: { WHO: \"Zoë\" }, container: { cpu: 256 } }\n",
			"container: { port: 8080 }\nenvironments:\n  prod: { tags: { WHO: \"Zoë\" }, container: { memory: 128, memory_reservation: 64, cpu: 100 } }\n", ""},
		{"no end of line at the end",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    count: 2",
			"container: { port: 8080 }\nenvironments:\n  prod:\n    count: 2\n    container: { cpu: 100, memory: 128, memory_reservation: 64 }", ""},
		{"by an alias",
			"container: &c { port: 8080 }\nenvironments:\n  prod: { container: *c }\n", "", "not supported: container is written by an alias"},
		{"no such environment", "container: { port: 8080 }\nenvironments: { qa: {} }\n", "", "no environment \"prod\""},
		{"faulty", "container: { prot: 8080 }\nenvironments: { prod: {} }\n", "", "unknown key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Sizes("slipway.yaml", []byte(head+c.in), "prod", map[string]Size{"shop": {CPU: 100, Memory: 128, MemoryReservation: 64}})
			if c.fault != "" {
				if err == nil || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%v; want %q", err, c.fault)
				}
				return
			}
			if err != nil || string(got) != head+c.out {
				t.Errorf("%v\n%s\nwant\n%s", err, got, head+c.out)
			}
		})
	}
	side := head + "container: { port: 8080 }\nsidecars:\n  proxy: { image: \"envoy:1\", cpu: 50, memory: 64 }\nenvironments: { prod: {} }\n"
	got, err := Sizes("slipway.yaml", []byte(side), "prod", map[string]Size{"proxy": {CPU: 20, Memory: 64, MemoryReservation: 40}})
	if err != nil || !strings.Contains(string(got), "prod: { sidecars: { proxy: { cpu: 20, memory_reservation: 40 } } }") && !strings.Contains(string(got), "prod: { sidecars: { proxy: { cpu: 20, memory_reservation: 40 }") {
		t.Errorf("%v\n%s", err, got)
	}
	if _, err := Sizes("slipway.yaml", []byte(side), "prod", map[string]Size{"other": {}}); err == nil || !strings.Contains(err.Error(), "lacks some of the containers") {
		t.Error(err)
	}
}
