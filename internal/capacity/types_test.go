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
		"type,vcpu\nx,1": `1:1: the table of types has no column "memory_mib"`,
		"type,vcpu,memory_mib,usd_per_hour_on_demand\nx,one,1,1": `2:3: vcpu: "one" is not a number`,
		"type,vcpu,memory_mib,usd_per_hour_on_demand\nx,1":       "2:1: 2 fields",
		"type,vcpu,memory_mib,price\nx,1,1,1\n\nx,1,1,1":         `4:1: type: "x" is also on line 2`,
		"type,vcpu,memory_mib,price\nx,1.5,1,1":                  `2:3: vcpu: "1.5" is not a whole number`,
		"type,vcpu,memory_mib,price\nx,1,1,NaN":                  "2:7: usd_per_hour_on_demand",
		"type,vcpu,memory_mib,price,usd_per_hour\n":              "1:28: column",
	} {
		if _, err := ParseTypes(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func TestFamilies(t *testing.T) {
	for _, c := range []struct {
		family, typ string
		want        bool
	}{
		{"m", "m5.large", true}, {"m", "m7a.xlarge", true}, {"m", "mac1.metal", false}, {"c", "c7i-flex.large", true},
		{"m6", "m6id.large", true}, {"m6", "m5.large", false}, {"m6i", "m6i.large", true}, {"m6i", "m6id.large", false},
		{"r", "r5.large", true}, {"u", "u7i-12tb.224xlarge", true}, {"", "m5.large", false}, {"i", "im4gn.large", false},
		{"c7", "c7i-flex.large", true}, {"c7i", "c7i-flex.large", false}, {"c7i-flex", "c7i-flex.large", true},
	} {
		if got := (Type{Name: c.typ}).InFamily(c.family); got != c.want {
			t.Errorf("%s in family %s: %v", c.typ, c.family, got)
		}
	}
}
