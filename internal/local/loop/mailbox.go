package loop

import (
	"context"
	"sync"
	"time"
)

// mailbox wakes a driver and carries what others have for it, to be done in its own goroutine.
type mailbox struct {
	mu     sync.Mutex
	wakeup chan struct{} // has a value when something happened since the last look
	queue  []func()
	parked bool
	resume func() // starts a goroutine for a parked driver
}

func newMailbox() mailbox { return mailbox{wakeup: make(chan struct{}, 1)} }

// poke makes the driver look again.
func (m *mailbox) poke() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ring()
}

// stir is poke for what does not concern a driver that is parked.
func (m *mailbox) stir() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.parked {
		m.ring()
	}
}

// send has the driver call f. It never waits.
func (m *mailbox) send(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue = append(m.queue, f)
	m.ring()
}

func (m *mailbox) ring() {
	select {
	case m.wakeup <- struct{}{}:
	default:
	}
	if m.parked {
		m.parked = false
		m.resume()
	}
}

// deliver calls what was sent.
func (m *mailbox) deliver() {
	m.mu.Lock()
	queue := m.queue
	m.queue = nil
	m.mu.Unlock()
	for _, f := range queue {
		f()
	}
}

// park reports whether the driver's goroutine may end: nothing has happened since the last look.
func (m *mailbox) park() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.wakeup:
		return false
	default:
	}
	m.parked = len(m.queue) == 0
	return m.parked
}

// wait returns after something was delivered, at a wake-up, or when timer fires.
func (m *mailbox) wait(ctx context.Context, timer <-chan time.Time) {
	select {
	case <-m.wakeup:
	case <-timer:
	case <-ctx.Done():
	}
	m.deliver()
}
