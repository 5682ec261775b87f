package scaling

import "math"

// Predictive scaling: facts from
// https://docs.aws.amazon.com/autoscaling/application/userguide/aas-predictive-scaling-how-it-works.html.
// A forecast needs 24 hours of data, looks at up to 14 days, and tells the next 48 hours.
const (
	ForecastNeedsHours = 24
	ForecastLooksHours = 14 * 24
	ForecastHours      = 48
)

// Forecast tells the next hours of a load from its past ones, the newest last; NaN is an hour without
// data. AWS's model is not public. This one repeats what there is: an hour is the mean of the same hours of the
// same weekday, newer ones counting more, moved by how the last day differs from the one a week before
// it; without a week of data, of the same hours of the days before. What was never seen is the mean of
// everything. ok is false with less than 24 hours of data.
func Forecast(past []float64, hours int) (load []float64, ok bool) {
	past = past[max(0, len(past)-ForecastLooksHours):]
	known, total := 0, 0.0
	for _, v := range past {
		if !math.IsNaN(v) {
			known, total = known+1, total+v
		}
	}
	if known < ForecastNeedsHours {
		return nil, false
	}
	level := drift(past)
	out := make([]float64, hours)
	for h := range out {
		at := len(past) + h
		if v, ok := lagged(past, at, 7*24); ok {
			out[h] = max(0, v*level)
		} else if v, ok := lagged(past, at, 24); ok {
			out[h] = max(0, v)
		} else {
			out[h] = max(0, total/float64(known))
		}
	}
	return out, true
}

// lagged is the weighted mean of the points that lie whole lags before an hour; each counts half as much
// as the next newer one.
func lagged(past []float64, at, lag int) (float64, bool) {
	sum, weights, weight := 0.0, 0.0, 1.0
	for i := at - lag; i >= 0; i -= lag {
		if i >= len(past) {
			continue // not past yet
		}
		if !math.IsNaN(past[i]) {
			sum, weights = sum+weight*past[i], weights+weight
		}
		weight /= 2
	}
	return sum / weights, weights > 0
}

// drift is how much higher the last day was than the day a week before, between a half and two; 1 where
// it is not known.
func drift(past []float64) float64 {
	now, then := 0.0, 0.0
	for i := max(7*24, len(past)-24); i < len(past); i++ {
		if a, b := past[i], past[i-7*24]; !math.IsNaN(a) && !math.IsNaN(b) {
			now, then = now+a, then+b
		}
	}
	if now <= 0 || then <= 0 {
		return 1
	}
	return min(max(now/then, 0.5), 2)
}

// LoadShare is how much of the scaling metric a unit of load makes on a unit of capacity: the k that
// fits scaling = k × load / capacity best to the hours of which all three are known; 1 if there are none.
func LoadShare(load, metric, capacity []float64) float64 {
	top, bottom := 0.0, 0.0
	for i := range min(len(load), len(metric), len(capacity)) {
		l, y := load[i], metric[i]*capacity[i]
		if math.IsNaN(l) || math.IsNaN(y) {
			continue
		}
		top, bottom = top+l*y, bottom+l*l
	}
	if top <= 0 || bottom <= 0 {
		return 1
	}
	return top / bottom
}

// CapacityFor is the capacity at which a load keeps the scaling metric at its target.
func CapacityFor(load, share, target float64) int {
	if target <= 0 || math.IsNaN(load) {
		return 0
	}
	return int(math.Ceil(max(0, load*share/target) - 1e-9))
}

// PredictedWithin holds a forecast capacity within the bounds. Where the maximum may be raised, buffer is the
// percentage above the forecast that the effective maximum then has; negative: it may not.
func PredictedWithin(forecast, lo, hi, buffer int) (capacity, effectiveMax int) {
	if buffer >= 0 {
		hi = max(hi, int(math.Ceil(float64(forecast)*(1+float64(buffer)/100)-1e-9)))
	}
	return min(max(forecast, lo), hi), hi
}
