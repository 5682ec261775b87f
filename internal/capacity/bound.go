package capacity

import "math"

// rows is the number of resources an instance gives: CPU, memory, GPU, ENI.
const rows = 4

type vector [rows]float64

func (r Resources) vector() vector {
	return vector{float64(r.CPU), float64(r.Memory), float64(r.GPU), float64(r.ENI)}
}

func (v vector) dot(w vector) float64 {
	s := 0.0
	for i := range v {
		s += v[i] * w[i]
	}
	return s
}

// Bound is the fractional optimum: the least cost at which shares of instances would cover the
// demand. No set of whole instances costs less.
type Bound struct {
	Cost   float64   // USD an hour
	Count  []float64 // instances of each type; at most one type a resource is above 0
	Prices vector    // dual prices: USD an hour for one unit of CPU, memory, GPU, ENI; see Value
}

// Value is what resources are worth at the dual prices, in USD an hour: what the fractional optimum
// would cost less without them.
func (b *Bound) Value(r Resources) float64 { return r.vector().dot(b.Prices) }

// solveBound minimises Σ price·x subject to Σ capacity·x ≥ demand, x ≥ 0, over the types, by the
// dual simplex method: prices are positive, so x = 0 is dual feasible to begin with. A resource
// no type gives is left out of the demand: the tasks that need it fit nowhere.
//
// The cost is proved by the dual prices: they are scaled so that no type gives more value than it
// costs, and then the demand's value is a lower bound, whatever rounding did on the way.
func solveBound(capacity []vector, price []float64, demand vector) Bound {
	n := len(capacity)
	b := Bound{Count: make([]float64, n)}
	var scale vector // each resource in its largest capacity, for numbers of one magnitude
	for _, c := range capacity {
		for i := range c {
			scale[i] = max(scale[i], c[i])
		}
	}
	width := n + rows + 1 // types, surplus of each row, right-hand side
	var t [rows + 1][]float64
	var basis [rows]int
	for i := range t {
		t[i] = make([]float64, width)
	}
	for i := range rows {
		basis[i] = n + i
		t[i][n+i] = 1
		if scale[i] == 0 {
			continue
		}
		for j, c := range capacity {
			t[i][j] = -c[i] / scale[i]
		}
		t[i][width-1] = -demand[i] / scale[i]
	}
	copy(t[rows], price)
	for range 64 * rows {
		r, least := -1, -1e-9
		for i := range rows {
			if v := t[i][width-1]; v < least {
				r, least = i, v
			}
		}
		if r < 0 {
			break
		}
		enter, ratio := -1, math.Inf(1)
		for j := range width - 1 {
			if t[r][j] < -1e-12 {
				if q := t[rows][j] / -t[r][j]; q < ratio-1e-15 {
					enter, ratio = j, q
				}
			}
		}
		if enter < 0 {
			break
		}
		pivot(&t, r, enter)
		basis[r] = enter
	}
	for i, j := range basis {
		if j < n {
			b.Count[j] = max(t[i][width-1], 0)
		}
	}
	for i := range rows {
		if scale[i] > 0 {
			b.Prices[i] = max(t[rows][n+i], 0) / scale[i]
		}
	}
	theta := 1.0
	for j, c := range capacity {
		if v := c.dot(b.Prices); v > price[j] {
			theta = min(theta, price[j]/v)
		}
	}
	for i := range rows {
		b.Prices[i] *= theta
		b.Cost += b.Prices[i] * max(demand[i], 0)
	}
	return b
}

func pivot(t *[rows + 1][]float64, r, c int) {
	p := t[r][c]
	for j := range t[r] {
		t[r][j] /= p
	}
	for i := range t {
		f := t[i][c]
		if i == r || f == 0 {
			continue
		}
		for j, v := range t[r] {
			t[i][j] -= f * v
		}
	}
}
