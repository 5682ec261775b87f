package loop

import (
	"context"
	"sync"
)

// busy is how many drivers are at work at the same time. Thousands may wake together, and would all hold
// a stack while they wait for the store or for a slot to start in.
const busy = 256

// turns lets drivers work in the order in which they were woken.
type turns struct {
	mu      sync.Mutex
	atWork  int
	waiting []*driver
}

// turn is a driver's at work. It is given back when the driver has nothing to do, or waits for others.
type turn struct{ over bool }

// admit lets a driver run, as soon as there is a turn for it.
func (q *turns) admit(ctx context.Context, d *driver) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.atWork >= busy {
		q.waiting = append(q.waiting, d)
		return
	}
	q.atWork++
	q.begin(ctx, d)
}

func (q *turns) begin(ctx context.Context, d *driver) {
	d.l.wg.Go(func() {
		t := &turn{}
		d.turn = t
		parked := d.run(ctx)
		// A parked driver may run again by now, in a turn of its own.
		if !parked {
			d.l.gone(d)
		}
		q.yield(ctx, t)
	})
}

// yield gives a turn to the next driver.
func (q *turns) yield(ctx context.Context, t *turn) {
	if t.over {
		return
	}
	t.over = true
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.waiting = nil
		q.atWork--
		return
	}
	next := q.waiting[0]
	q.waiting[0], q.waiting = nil, q.waiting[1:]
	q.begin(ctx, next)
}
