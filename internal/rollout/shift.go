package rollout

import (
	"fmt"
	"math"
	"time"
)

// Shift is how production traffic moves from the old (blue) revision to the new (green) one.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
type Shift struct {
	Strategy    string        // BLUE_GREEN, LINEAR, CANARY
	StepPercent float64       // LINEAR: 3–100; CANARY: 0.1–100, the first step
	StepBake    time.Duration // LINEAR and CANARY: after each step but the last; up to 24 h
	Bake        time.Duration // after all traffic has moved; up to 24 h
}

// Check reports what is out of bounds.
func (s Shift) Check() error {
	const most = 24 * time.Hour
	switch {
	case s.Strategy != "BLUE_GREEN" && s.Strategy != "LINEAR" && s.Strategy != "CANARY":
		return fmt.Errorf("strategy %q: not BLUE_GREEN, LINEAR or CANARY", s.Strategy)
	case s.Strategy == "LINEAR" && (s.StepPercent < 3 || s.StepPercent > 100):
		return fmt.Errorf("stepPercent %v: not 3 to 100", s.StepPercent)
	case s.Strategy == "CANARY" && (s.StepPercent < 0.1 || s.StepPercent > 100):
		return fmt.Errorf("canaryPercent %v: not 0.1 to 100", s.StepPercent)
	case s.StepBake < 0 || s.StepBake > most || s.Bake < 0 || s.Bake > most:
		return fmt.Errorf("a bake time is not 0 to 1440 minutes")
	}
	return nil
}

// At is the percentage of production traffic green is to have after so long in the stage
// PRODUCTION_TRAFFIC_SHIFT. next is how long after the beginning it changes again; done says that
// all has moved.
func (s Shift) At(since time.Duration) (percent float64, next time.Duration, done bool) {
	steps := 0.0
	switch {
	case s.Strategy == "LINEAR" && s.StepPercent > 0:
		steps = math.Ceil(100/s.StepPercent - 1e-9)
	case s.Strategy == "CANARY" && s.StepPercent < 100:
		steps = 2
	}
	if steps <= 1 || s.StepBake <= 0 {
		return 100, 0, true
	}
	k := math.Floor(float64(since)/float64(s.StepBake)) + 1
	if k >= steps {
		return 100, 0, true
	}
	return math.Min(100, k*s.StepPercent), time.Duration(k) * s.StepBake, false
}

// Weights are the weights (0–999) of a listener rule's forward action for green's percentage.
func Weights(percent float64) (blue, green int) {
	percent = math.Max(0, math.Min(100, percent))
	if percent == math.Trunc(percent) {
		return 100 - int(percent), int(percent)
	}
	green = max(1, int(math.Round(percent*9.99)))
	return 999 - green, green
}

// Stages of a blue/green, linear or canary deployment, in order.
//
// Source: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/blue-green-deployment-how-it-works.html
const (
	ReconcileService           = "RECONCILE_SERVICE"
	PreScaleUp                 = "PRE_SCALE_UP"
	ScaleUp                    = "SCALE_UP"
	PostScaleUp                = "POST_SCALE_UP"
	TestTrafficShift           = "TEST_TRAFFIC_SHIFT"
	PostTestTrafficShift       = "POST_TEST_TRAFFIC_SHIFT"
	PreProductionTrafficShift  = "PRE_PRODUCTION_TRAFFIC_SHIFT"
	ProductionTrafficShift     = "PRODUCTION_TRAFFIC_SHIFT"
	PostProductionTrafficShift = "POST_PRODUCTION_TRAFFIC_SHIFT"
	BakeTime                   = "BAKE_TIME"
	CleanUp                    = "CLEAN_UP"
)

var stages = []string{
	ReconcileService, PreScaleUp, ScaleUp, PostScaleUp, TestTrafficShift, PostTestTrafficShift,
	PreProductionTrafficShift, ProductionTrafficShift, PostProductionTrafficShift, BakeTime, CleanUp,
}

// Stage is what is known when a stage may end.
type Stage struct {
	Name       string        // "" before the first
	Since      time.Duration // in this stage
	GreenReady bool          // green has all its tasks, all healthy
	BlueGone   bool          // nothing of blue is left
	First      bool          // there is no blue: the service is new
}

// Next is the stage that follows when this one's condition holds, or the same stage and how long
// until time alone may end it (0: time will not). After CLEAN_UP comes "".
func (s Shift) Next(st Stage) (next string, wait time.Duration) {
	switch st.Name {
	case "":
		return stages[0], 0
	case ScaleUp:
		if !st.GreenReady {
			return st.Name, 0
		}
	case ProductionTrafficShift:
		if _, at, done := s.At(st.Since); !done && !st.First {
			return st.Name, at - st.Since
		}
	case BakeTime:
		if !st.First && st.Since < s.Bake {
			return st.Name, s.Bake - st.Since
		}
	case CleanUp:
		if !st.BlueGone {
			return st.Name, 0
		}
		return "", 0
	}
	for k, name := range stages[:len(stages)-1] {
		if name == st.Name {
			return stages[k+1], 0
		}
	}
	return "", 0
}
