package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ecs/slipway/internal/awscloud"
)

// The term of a claim, and how often it is renewed. A run that is killed lets go when its term ends;
// started again on the same machine it goes on at once.
const (
	claimTerm  = 40 * time.Second
	claimRenew = 10 * time.Second
)

// claiming makes f the only run that changes the environment. If another does, the error says who and
// the exit code is 6. One whose holder was killed is taken over; f can then finish what it began.
func (pr *project) claiming(ctx context.Context, env, doing string, f func(ctx context.Context) error) (err error) {
	cloud, err := pr.cloudOf(env)
	if err != nil {
		return err
	}
	want := awscloud.Claim{By: pr.who(ctx), Doing: doing, Owner: thisProcess(), Since: pr.now().UTC()}
	held, err := pr.claim(ctx, cloud, env, want)
	if err != nil {
		return err
	}
	pr.took = held.Before
	if held.Before != nil {
		pr.p.Line("going on after an interrupted run: %s", (&awscloud.HeldError{Claim: *held.Before}).Error())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		pr.renew(ctx, held, env, cancel)
	}()
	defer func() {
		cancel(nil)
		<-renewed
		// Also of a run that was interrupted by Ctrl-C: nobody should have to wait for it.
		end, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer stop()
		err = errors.Join(err, held.Release(end))
	}()
	if err := f(ctx); err != nil {
		var taken *awscloud.HeldError
		if errors.As(context.Cause(ctx), &taken) {
			return exitWith(ExitRefused, fmt.Errorf("%s was taken over by another run: %w", env, taken))
		}
		return err
	}
	return nil
}

// claim waits while it cannot be told whether the holder lives: at most until its term ends.
func (pr *project) claim(ctx context.Context, cloud *awscloud.Cloud, env string, want awscloud.Claim) (*awscloud.Held, error) {
	name := awscloud.ClaimName(pr.file.Service, env)
	var seen int64
	for {
		now := pr.now().UTC()
		want.Until = now.Add(claimTerm)
		held, err := cloud.Claim(ctx, name, want, now, processIsGone)
		var other *awscloud.HeldError
		if !errors.As(err, &other) {
			return held, err
		}
		_, here := sameMachine(other.Claim.Owner)
		if here || seen != 0 && other.Version != seen {
			return nil, exitWith(ExitRefused, fmt.Errorf("%s is being changed by another run: %w; wait for its end", env, other))
		}
		if seen == 0 {
			pr.p.Line("%s is claimed: %v; looking whether that run still lives", env, other)
		}
		seen = other.Version
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (pr *project) renew(ctx context.Context, held *awscloud.Held, env string, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(claimRenew)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := held.Renew(ctx, pr.now().UTC().Add(claimTerm))
		var taken *awscloud.HeldError
		switch {
		case err == nil:
			last = time.Now()
		case errors.As(err, &taken):
			cancel(taken)
			return
		case ctx.Err() == nil && time.Since(last) > claimTerm-claimRenew:
			cancel(fmt.Errorf("the claim of %s could not be renewed: %w", env, err))
			return
		}
	}
}

// thisProcess names this process among all: machine, process namespace, number, and a part by chance.
func thisProcess() string {
	return machine() + "/" + strconv.Itoa(os.Getpid()) + "/" + rand.Text()[:8]
}

// machine names a start of this machine and the namespace in which process numbers mean something.
func machine() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "unknown"
	}
	pids, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(boot)) + "-" + strings.Trim(pids, "pid:[]")
}

// sameMachine finds the process of an owner that runs, or ran, here.
func sameMachine(owner string) (pid int, ok bool) {
	here := machine()
	at, rest, _ := strings.Cut(owner, "/")
	number, _, _ := strings.Cut(rest, "/")
	pid, err := strconv.Atoi(number)
	return pid, err == nil && at == here && here != "unknown"
}

// processIsGone says that the holder was a process of this machine and is no more. Of others it can't
// be known: their term must end.
func processIsGone(c awscloud.Claim) bool {
	pid, here := sameMachine(c.Owner)
	if !here {
		return false
	}
	// Its main thread being a zombie is not yet reaped, and gone.
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	_, after, ok := strings.Cut(string(stat), ") ")
	return err == nil && ok && (strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X"))
}
