package deploy

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTwoDeploymentsOfOneServiceDoNotMix(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		if w.lease != nil {
			t.Errorf("after the end there is a lease: %+v", w.lease)
		}
		w.scripts[better] = script{after: 5 * time.Minute} // longer than a term: it is renewed
		end := w.begin(func() error { _, err := w.engine().Apply(t.Context(), target(better), nil); return err })
		w.sleep(3 * time.Minute)
		before := len(w.calls)
		for _, f := range []func() error{
			func() error { _, err := w.engine().Apply(t.Context(), target(good), nil); return err },
			func() error { return w.engine().Delete(t.Context(), target(good).Ref(), DeleteOptions{}, nil) },
			func() error { _, err := w.engine().Restart(t.Context(), target(good).Ref(), nil); return err },
		} {
			err := f()
			var other *LeaseError
			if !errors.As(err, &other) || other.Lost || !strings.Contains(err.Error(), "in the hands of ann on build-1 (deploy) since") {
				t.Errorf("error %v", err)
			}
		}
		if len(w.calls) != before {
			t.Errorf("who was refused did %q", w.calls[before:])
		}
		if err := end(); err != nil || w.lease != nil {
			t.Errorf("the first ends with %v, lease %+v", err, w.lease)
		}
	})
}

func TestALeaseThatEndedIsTakenOver(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.lease = &Lease{Holder: "bob", Until: time.Now().Add(-time.Second), Version: 7}
		mustApply(t, w, target(good))
		w.lease = &Lease{Holder: "bob", Doing: "deploy", Until: time.Now().Add(time.Second), Version: 7}
		if _, err := w.engine().Apply(t.Context(), target(good), nil); err == nil {
			t.Error("a lease that holds is no hindrance")
		}
		time.Sleep(2 * time.Second)
		mustApply(t, w, target(good))
	})
}

func TestWhoLosesTheLeaseStopsActing(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		mustApply(t, w, target(good))
		end := w.begin(func() error { _, err := w.engine().Apply(t.Context(), target(stuck), nil); return err })
		w.sleep(time.Minute)
		w.lease = &Lease{Holder: "bob", Doing: "roll back", Since: time.Now(), Until: time.Now().Add(time.Hour), Version: w.lease.Version + 1}
		err := end()
		var lost *LeaseError
		if !errors.As(err, &lost) || !lost.Lost || lost.Lease.Holder != "bob" {
			t.Errorf("error %v", err)
		}
		if w.lease == nil || w.lease.Holder != "bob" {
			t.Errorf("the other's lease is gone: %+v", w.lease)
		}
	})
}

func TestWithoutTheRightToLeaseItDeploysAndSaysSo(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.deny = true
		var said []string
		if _, err := w.engine().Apply(t.Context(), target(good), func(e Event) { said = append(said, e.Message) }); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(said[0], "no lease is kept") {
			t.Errorf("said %q", said)
		}
	})
}
