package cloudwatch

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/local/wire/cloudwatchapi"
)

// Dimension is one name and value of a metric's identity.
type Dimension struct{ Name, Value string }

// set is a statistic set over one minute.
type set struct {
	count, sum, min, max float64
	values               []float64 // of single values, for percentiles; bounded
}

func (s *set) add(v, n float64) {
	if s.count == 0 {
		s.min, s.max = v, v
	}
	s.count, s.sum = s.count+n, s.sum+v*n
	s.min, s.max = min(s.min, v), max(s.max, v)
	if len(s.values) < 500 {
		s.values = append(s.values, v)
	}
}

func (s *set) merge(o *set) {
	if o.count == 0 {
		return
	}
	if s.count == 0 {
		s.min, s.max = o.min, o.max
	}
	s.count, s.sum = s.count+o.count, s.sum+o.sum
	s.min, s.max = min(s.min, o.min), max(s.max, o.max)
	s.values = append(s.values, o.values[:min(len(o.values), max(0, 2000-len(s.values)))]...)
}

// stat reads a statistic; false if it is not one.
func (s *set) stat(name string) (float64, bool) {
	switch name {
	case "Average":
		return s.sum / s.count, true
	case "Sum":
		return s.sum, true
	case "Minimum":
		return s.min, true
	case "Maximum":
		return s.max, true
	case "SampleCount":
		return s.count, true
	}
	p, ok := percentile(name)
	if !ok {
		return 0, false
	}
	sorted := slices.Sorted(slices.Values(s.values))
	if len(sorted) == 0 {
		return s.max, true
	}
	i := int(math.Ceil(p/100*float64(len(sorted)))) - 1
	return sorted[max(0, min(i, len(sorted)-1))], true
}

// series is one metric: minutes in order, the newest two weeks of them at most.
type series struct {
	namespace, name string
	dims            []Dimension
	unit            string
	minutes         []int64 // Unix minutes, ascending
	sets            []*set
	updated         time.Time
}

const keepMinutes = 14 * 24 * 60

// metrics holds every metric in memory: like the processes they measure, they do not survive a
// restart.
type metrics struct {
	mu     sync.RWMutex
	series map[string]*series
}

func key(namespace, name string, dims []Dimension) string {
	var b strings.Builder
	b.WriteString(namespace + "\x00" + name)
	for _, d := range dims {
		b.WriteString("\x00" + d.Name + "=" + d.Value)
	}
	return b.String()
}

func sortDims(dims []Dimension) []Dimension {
	out := slices.Clone(dims)
	slices.SortFunc(out, func(a, b Dimension) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func fromAPI(dims []cloudwatchapi.Dimension) []Dimension {
	out := make([]Dimension, 0, len(dims))
	for _, d := range dims {
		out = append(out, Dimension{wire.Value(d.Name), wire.Value(d.Value)})
	}
	return sortDims(out)
}

func toAPI(dims []Dimension) []cloudwatchapi.Dimension {
	out := []cloudwatchapi.Dimension{}
	for _, d := range dims {
		out = append(out, cloudwatchapi.Dimension{Name: wire.Ptr(d.Name), Value: wire.Ptr(d.Value)})
	}
	return out
}

// put adds to the minute of at with f.
func (m *metrics) put(namespace, name string, dims []Dimension, unit string, at, now time.Time, f func(*set)) {
	dims = sortDims(dims)
	k := key(namespace, name, dims)
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.series[k]
	if !ok {
		s = &series{namespace: namespace, name: name, dims: dims, unit: unit}
		m.series[k] = s
	}
	s.updated = now
	minute := at.Unix() / 60
	i, found := slices.BinarySearch(s.minutes, minute)
	if !found {
		s.minutes, s.sets = slices.Insert(s.minutes, i, minute), slices.Insert(s.sets, i, &set{})
	}
	f(s.sets[i])
	if extra := len(s.minutes) - keepMinutes; extra > 0 {
		s.minutes, s.sets = slices.Delete(s.minutes, 0, extra), slices.Delete(s.sets, 0, extra)
	}
}

// period is an aggregated period of a metric.
type period struct {
	start time.Time
	set   set
}

// read aggregates a metric from start to end into periods of the given length, oldest first; empty
// periods are left out.
func (m *metrics) read(namespace, name string, dims []Dimension, start, end time.Time, length time.Duration) []period {
	m.mu.RLock()
	defer m.mu.RUnlock()
	s, ok := m.series[key(namespace, name, sortDims(dims))]
	if !ok {
		return nil
	}
	var out []period
	step := max(1, int64(length/time.Minute))
	first := start.Unix() / 60 / step * step
	from, _ := slices.BinarySearch(s.minutes, first)
	for i := from; i < len(s.minutes) && s.minutes[i]*60 < end.Unix(); i++ {
		at := time.Unix(s.minutes[i]/step*step*60, 0).UTC()
		if n := len(out); n == 0 || !out[n-1].start.Equal(at) {
			out = append(out, period{start: at})
		}
		out[len(out)-1].set.merge(s.sets[i])
	}
	return out
}

func (m *metrics) list(f func(s *series)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	keys := make([]string, 0, len(m.series))
	for k := range m.series {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		f(m.series[k])
	}
}

func (m *metrics) unit(namespace, name string, dims []Dimension) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if s, ok := m.series[key(namespace, name, sortDims(dims))]; ok {
		return cmp.Or(s.unit, "None")
	}
	return "None"
}
