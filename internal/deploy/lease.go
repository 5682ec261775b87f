package deploy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Leases let one deployment of a service go on at a time.
type Leases interface {
	// Lease returns ErrNotFound where there is none. One whose holder is known to be gone has ended.
	Lease(ctx context.Context, ref Ref) (Lease, error)
	// PutLease writes the lease over the version that was read (0: there was none) and returns the
	// version it got; ErrInUse when somebody was quicker, ErrForbidden when it may not be written.
	PutLease(ctx context.Context, ref Ref, want Lease, over int64) (int64, error)
	// DropLease takes a version away; one that is no longer there is not an error.
	DropLease(ctx context.Context, ref Ref, version int64) error
	// Holder names this process to others: who, where, which.
	Holder() string
}

// Lease says who deploys a service.
type Lease struct {
	Holder  string
	Doing   string    // deploy, roll back, restart, delete, scale
	Since   time.Time // when the holder took it
	Until   time.Time // when it ends unless it is renewed
	Version int64     // read only
}

// LeaseError says that somebody else deploys the service.
type LeaseError struct {
	Ref   Ref
	Lease Lease // the other's
	Lost  bool  // it was ours, and was taken over
}

func (e *LeaseError) Error() string {
	if e.Lost {
		return fmt.Sprintf("%s was taken over by %s (%s) at %s; nothing more is done from here", e.Ref.Service, e.Lease.Holder, e.Lease.Doing, stamp(e.Lease.Since))
	}
	return fmt.Sprintf("%s is in the hands of %s (%s) since %s. Wait for its end, or stop it with slipway stop. Should that process be dead, its lease ends at %s",
		e.Ref.Service, e.Lease.Holder, e.Lease.Doing, stamp(e.Lease.Since), stamp(e.Lease.Until))
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// leaseTerm is how long a lease lasts that nobody renews; it is renewed three times in that time.
const leaseTerm = time.Minute

// held is the engine's clock while it holds a lease: it renews it between looks.
type held struct {
	clock   Clock
	leases  Leases
	ref     Ref
	lease   Lease
	renewed time.Time
}

func (h *held) Now() time.Time { return h.clock.Now() }

func (h *held) Wait(ctx context.Context, d time.Duration) error {
	if err := h.clock.Wait(ctx, d); err != nil {
		return err
	}
	return h.renew(ctx)
}

func (h *held) renew(ctx context.Context) error {
	now := h.clock.Now()
	if h.lease.Version == 0 || now.Sub(h.renewed) < leaseTerm/3 {
		return nil
	}
	have, err := found(h.leases.Lease(ctx, h.ref))
	switch {
	case err != nil && now.Before(h.lease.Until):
		return nil // there is time to try again
	case err != nil:
		return fmt.Errorf("reading the lease of %s: %w", h.ref.Service, err)
	case have == nil:
		have = &Lease{}
	case have.Version != h.lease.Version:
		return &LeaseError{Ref: h.ref, Lease: *have, Lost: true}
	}
	want := h.lease
	want.Until = now.Add(leaseTerm)
	version, err := h.leases.PutLease(ctx, h.ref, want, have.Version)
	switch {
	case errors.Is(err, ErrInUse):
		return h.lost(ctx)
	case err != nil && now.Before(h.lease.Until):
		return nil
	case err != nil:
		return fmt.Errorf("renewing the lease of %s: %w", h.ref.Service, err)
	}
	want.Version = version
	h.lease, h.renewed = want, now
	return nil
}

func (h *held) lost(ctx context.Context) error {
	other, err := h.leases.Lease(ctx, h.ref)
	if err != nil {
		other = Lease{Holder: "somebody else"}
	}
	return &LeaseError{Ref: h.ref, Lease: other, Lost: true}
}

// leaseTries is how often the lease is asked for when others are quicker.
const leaseTries = 3

// take takes the lease, or refuses with a *LeaseError that names the holder.
func (h *held) take(ctx context.Context, takeOver bool) error {
	for try := 1; ; try++ {
		now := h.clock.Now()
		have, err := found(h.leases.Lease(ctx, h.ref))
		if err != nil {
			return fmt.Errorf("reading the lease of %s: %w", h.ref.Service, err)
		}
		var over int64
		if have != nil {
			if now.Before(have.Until) && !takeOver {
				return &LeaseError{Ref: h.ref, Lease: *have}
			}
			over = have.Version
		}
		h.lease.Since, h.lease.Until = now, now.Add(leaseTerm)
		version, err := h.leases.PutLease(ctx, h.ref, h.lease, over)
		if errors.Is(err, ErrInUse) && try < leaseTries {
			continue
		}
		if err != nil {
			return fmt.Errorf("taking the lease of %s: %w", h.ref.Service, err)
		}
		h.lease.Version, h.renewed = version, now
		return nil
	}
}

// releaseWithin bounds the last call of a deployment that was interrupted.
const releaseWithin = 10 * time.Second

// alone does something to a service while nobody else does. The engine it passes on renews the lease
// whenever it waits. Where leases cannot be written, it says so and goes on without.
func (e *Engine) alone(ctx context.Context, ref Ref, doing string, takeOver bool, report func(Event), do func(*Engine) error) error {
	if e.ports.Leases == nil {
		return do(e)
	}
	if _, nested := e.clock.(*held); nested {
		return do(e)
	}
	h := &held{clock: e.clock, leases: e.ports.Leases, ref: ref, lease: Lease{Holder: e.ports.Leases.Holder(), Doing: doing}}
	switch err := h.take(ctx, takeOver); {
	case errors.Is(err, ErrForbidden):
		e.event(report, Event{Kind: EventWarning, Resource: ref.Service, Message: "no lease is kept, so nothing stops a second deployment of " + ref.Service + ": " + firstLine(err.Error())})
		return do(e)
	case err != nil:
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
		defer cancel()
		_ = h.leases.DropLease(ctx, ref, h.lease.Version) // else it ends by itself
	}()
	return do(&Engine{ports: e.ports, clock: h})
}
