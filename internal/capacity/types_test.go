package capacity

import (
	"strings"
	"testing"
)

func TestBuiltInTypes(t *testing.T) {
	if n := len(Types()); n < 1000 {
		t.Fatalf("%d types", n)
	}
	m, ok := TypeByName("m6i.large")
	if !ok || m.VCPU != 2 || m.MemoryMiB != 8192 || m.Arch != "amd64" || m.PriceHour != 0.096 {
		t.Errorf("m6i.large = %+v, %v", m, ok)
	}
	if got := m.TaskENIs(false); got != 2 {
		t.Errorf("task ENIs without trunking = %d, want maxENI-1 = 2", got)
	}
	if got := m.TaskENIs(true); got != 10 {
		t.Errorf("task ENIs with trunking = %d, want branch+maxENI-2 = 10", got)
	}
	if r := m.RegisteredMemory(); r <= 7600 || r >= 8000 {
		t.Errorf("registered memory = %d", r)
	}
}

func TestParseTypesErrors(t *testing.T) {
	for text, want := range map[string]string{
		"type,vcpu\nx,1": `line 1: the table of types has no column "memory_mib"`,
		"type,vcpu,memory_mib,usd_per_hour_on_demand\nx,one,1,1": "line 2: column vcpu",
		"type,vcpu,memory_mib,usd_per_hour_on_demand\nx,1":       "line 2: 2 fields",
	} {
		if _, err := ParseTypes(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}
