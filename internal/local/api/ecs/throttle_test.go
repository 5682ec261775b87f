package ecs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	api "github.com/slipway-ecs/slipway/internal/local/api/ecs"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

// The numbers are those of https://docs.aws.amazon.com/general/latest/gr/ecs-service.html
func TestThrottle(t *testing.T) {
	clk := &fixed{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	next := api.Throttle(clk)(func(context.Context, wire.Call) (any, error) { return nil, nil })
	try := func(op string, n int) (served int) {
		for range n {
			_, err := next(t.Context(), wire.Call{Service: "ecs", Operation: op})
			var e *wire.Error
			switch {
			case err == nil:
				served++
			case !errors.As(err, &e) || e.Code != "ThrottlingException":
				t.Fatal(err)
			}
		}
		return served
	}
	if n := try("CreateService", 60); n != 50 {
		t.Errorf("%d of a burst were served, want 50", n)
	}
	if n := try("UpdateService", 1); n != 0 {
		t.Error("UpdateService does not share the quota of CreateService")
	}
	if n := try("DescribeServices", 100); n != 100 {
		t.Errorf("reads are counted with writes: %d", n)
	}
	clk.now = clk.now.Add(2 * time.Second)
	if n := try("UpdateService", 60); n != 10 {
		t.Errorf("%d served after 2 s, want 10", n)
	}
	clk.now = clk.now.Add(time.Hour)
	if n := try("ListServices", 20); n != 10 {
		t.Errorf("ListServices: %d, want 10", n)
	}
}
