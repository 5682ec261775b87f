package cloudwatch

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/slipway-ecs/slipway/internal/local/state"
	"github.com/slipway-ecs/slipway/internal/local/wire"
	"github.com/slipway-ecs/slipway/internal/scaling"
)

// Run judges every alarm once a minute until ctx ends, a few seconds into the minute so that the
// last one is complete. In between it lets composite alarms act whose time has come.
func (s *Service) Run(ctx context.Context) error {
	judged := s.clock.Now()
	for {
		next := judged.Truncate(time.Minute).Add(time.Minute + 5*time.Second)
		until := next
		if held := s.nextHeld(); !held.IsZero() && held.Before(until) {
			until = held
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			continue // what is held back has changed
		case <-s.clock.After(max(until.Sub(s.clock.Now()), time.Millisecond)):
		}
		if until.Before(next) {
			if err := s.evaluateComposites(); err != nil {
				return err
			}
			continue
		}
		judged = s.clock.Now()
		if err := s.judgeAll(); err != nil {
			return fmt.Errorf("judging alarms: %w", err)
		}
	}
}

func (s *Service) judgeAll() error {
	var alarms []*Alarm
	_ = s.db.View(func(tx *state.Tx) error {
		for _, a := range s.alarms.All(tx) {
			alarms = append(alarms, a)
		}
		return nil
	})
	for _, a := range alarms {
		value, reason := s.judge(a)
		if value == a.State() {
			// An alarm that goes on acts again each minute where the action is a scaling policy
			// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html#alarms-and-actions).
			if value == "ALARM" {
				s.act(*a)
			}
			continue
		}
		if _, err := s.transition(a.Name(), value, reason); err != nil {
			return err
		}
	}
	return s.evaluateComposites()
}

// judge reads the alarm's points and returns its state now, and why.
func (s *Service) judge(a *Alarm) (value, reason string) {
	api := a.API
	length := periodOf(api)
	n := int(wire.Value(api.EvaluationPeriods))
	rule := scaling.Alarm{Comparison: wire.Value(api.ComparisonOperator), Threshold: wire.Value(api.Threshold), Periods: n,
		Datapoints: int(wire.Value(api.DatapointsToAlarm)), Missing: scaling.Missing(wire.Value(api.TreatMissingData))}
	// The range is longer than the evaluation periods by what AWS looks back for late points; the
	// number is AWS's secret, two more is what its examples show.
	end := s.clock.Now().Truncate(length)
	start := end.Add(-time.Duration(n+2) * length)
	have := s.watched(api, start, end, length)
	var points []float64
	breaching := 0
	for at := start; at.Before(end); at = at.Add(length) {
		v, ok := have[at.UTC()]
		if !ok {
			v = math.NaN()
		} else if rule.Breaches(v) {
			breaching++
		}
		points = append(points, v)
	}
	value = string(rule.Judge(points, scaling.AlarmState(a.State())))
	if value == "INSUFFICIENT_DATA" {
		return value, fmt.Sprintf("Insufficient Data: %d datapoints were unknown.", n)
	}
	return value, fmt.Sprintf("Threshold Crossed: %d out of the last %d datapoints were %s the threshold (%v).", breaching, len(points), words[rule.Comparison], rule.Threshold)
}

var words = map[string]string{"GreaterThanThreshold": "greater than", "GreaterThanOrEqualToThreshold": "greater than or equal to", "LessThanThreshold": "less than", "LessThanOrEqualToThreshold": "less than or equal to"}

// Newest is the newest point of the alarm's metric within five minutes: what a scaling policy goes by.
func (s *Service) Newest(a Alarm) (value float64, known bool) {
	now := s.clock.Now()
	length := time.Minute
	if len(a.API.Metrics) > 0 {
		length = periodOf(a.API)
	}
	points := s.watched(a.API, now.Add(-max(5*time.Minute, 2*length)), now.Truncate(time.Minute), length)
	var at time.Time
	for t, v := range points {
		if t.After(at) {
			at, value = t, v
		}
	}
	return value, len(points) > 0
}
