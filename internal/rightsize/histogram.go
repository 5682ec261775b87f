// Package rightsize turns what containers were seen to use into what they should reserve: the
// method of Kubernetes' Vertical Pod Autoscaler, for ECS tasks on EC2, which AWS Compute Optimizer
// does not cover.
//
// Samples go into histograms whose buckets grow by 5 % and whose weights halve every 24 hours;
// memory counts by daily peaks. Percentiles of these, with a margin, are the reservations.
package rightsize

import (
	"math"
	"time"
)

// HalfLife is the age at which a sample counts half.
const HalfLife = 24 * time.Hour

// growth is how much wider each bucket is than the one before.
const growth = 0.05

// Histogram is amounts with weights that decay with age. The zero value is not usable: NewHistogram.
type Histogram struct {
	first   float64   // width of the first bucket
	most    float64   // amounts above count as this
	weights []float64 // at the reference time's scale
	total   float64
	ref     time.Time
}

// NewHistogram makes a histogram of amounts up to most; the first bucket is [0, first).
func NewHistogram(first, most float64) *Histogram {
	n := int(math.Ceil(math.Log(most*growth/first+1)/math.Log(1+growth))) + 1
	return &Histogram{first: first, most: most, weights: make([]float64, n)}
}

// NewCPU is a histogram of CPU units: the first bucket is 0.01 vCPU, amounts go up to 1,000 vCPUs.
func NewCPU() *Histogram { return NewHistogram(10.24, 1024*1000) }

// NewMemory is a histogram of MiB: the first bucket is 10 MB, amounts go up to 1 TB.
func NewMemory() *Histogram { return NewHistogram(10e6/(1<<20), 1e12/(1<<20)) }

func (h *Histogram) bucket(amount float64) int {
	if !(amount >= h.first) {
		return 0
	}
	i := int(math.Log(min(amount, h.most)*growth/h.first+1) / math.Log(1+growth))
	return min(i, len(h.weights)-1)
}

// end is the upper end of a bucket.
func (h *Histogram) end(i int) float64 {
	return h.first * (math.Pow(1+growth, float64(i+1)) - 1) / growth
}

// factor is what a weight at the time counts at the reference time's scale: younger ones more.
func (h *Histogram) factor(at time.Time) float64 {
	const far = 100 // half-lives before numbers get too large
	if h.ref.IsZero() {
		h.ref = at
	}
	e := float64(at.Sub(h.ref)) / float64(HalfLife)
	if e > far {
		shift := math.Exp2(-e)
		h.total = 0
		for i := range h.weights {
			h.weights[i] *= shift
			h.total += h.weights[i]
		}
		h.ref, e = at, 0
	}
	return math.Exp2(e)
}

// Add counts an amount that was seen at the time. Amounts that are not numbers are left out.
func (h *Histogram) Add(amount, weight float64, at time.Time) {
	if math.IsNaN(amount) || !(weight > 0) {
		return
	}
	w := weight * h.factor(at)
	h.weights[h.bucket(amount)] += w
	h.total += w
}

// Subtract takes back an amount that was added with the same weight and time.
func (h *Histogram) Subtract(amount, weight float64, at time.Time) {
	i := h.bucket(amount)
	w := min(weight*h.factor(at), h.weights[i])
	h.weights[i] -= w
	h.total = max(h.total-w, 0)
}

// Empty reports whether nothing counts.
func (h *Histogram) Empty() bool { return h.total <= 0 }

// Percentile is the amount below which a share p (0–1) of the weight lies: the upper end of its
// bucket, so at most 5 % (or the first bucket) too much and never too little. Empty: 0.
func (h *Histogram) Percentile(p float64) float64 {
	if h.Empty() {
		return 0
	}
	sum, last := 0.0, 0
	for i, w := range h.weights {
		if w <= 0 {
			continue
		}
		last = i
		if sum += w; sum >= p*h.total*(1-1e-12) {
			break
		}
	}
	return min(h.end(last), h.most)
}
