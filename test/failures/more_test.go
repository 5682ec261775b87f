package failures

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// roleWrong gives an execution role that ECS may not assume; it is seen before anything is done.
func roleWrong(t *testing.T, s *stage) row {
	target := s.target("rolewrong")
	s.aws.Must(t, "iam", "create-role", "--role-name", "for-lambda", "--assume-role-policy-document",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)
	target.Infra.ExecutionRole = "arn:aws:iam::000000000000:role/for-lambda"
	all, err := s.cloud.Deploy().Preflight(t.Context(), target, s.cloud.Surroundings(s.platforms))
	if err != nil {
		t.Fatal(err)
	}
	var faults []deploy.Finding
	for _, f := range all {
		if f.State == deploy.Fault {
			faults = append(faults, f)
		}
	}
	if len(faults) != 1 || faults[0].Says != "ECS may not assume the role" {
		t.Fatalf("faults %+v of %+v", faults, all)
	}
	return row{sentence: "check --online: " + faults[0].Check + " " + faults[0].Subject + ": " + faults[0].Says, fix: faults[0].Fix}
}

// quota lets AWS refuse another target group.
func quota(t *testing.T, s *stage) row {
	target := s.target("quota")
	c := s.through(t, between{before: func(op string) string {
		if op == "CreateTargetGroup" {
			return "TooManyTargetGroups"
		}
		return ""
	}})
	_, err := c.Deploy().Apply(t.Context(), target, s.log(t))
	var refused *deploy.RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "quota") {
		t.Fatalf("error %v", err)
	}
	return row{sentence: err.Error()}
}

// throttled answers the first call of the operations a deployment is made of with Throttling, and it goes
// on. More of them, and the SDK's adaptive retries would take minutes.
func throttled(t *testing.T, s *stage) row {
	target := s.target("throttled")
	var mu sync.Mutex
	calls, refused := map[string]int{}, 0
	c := s.through(t, between{before: func(op string) string {
		mu.Lock()
		defer mu.Unlock()
		calls[op]++
		if calls[op] > 1 || !slices.Contains([]string{"DescribeServices", "RegisterTaskDefinition", "CreateTargetGroup", "CreateRule", "CreateService", "ListServiceDeployments"}, op) {
			return ""
		}
		refused++
		return "ThrottlingException"
	}})
	out, err := c.Deploy().Apply(t.Context(), target, s.log(t))
	if err != nil {
		t.Fatal(err)
	}
	if refused != 6 || out.Status != "SUCCESSFUL" {
		t.Errorf("%d calls were throttled, the deployment is %s", refused, out.Status)
	}
	return row{sentence: "throttled-qa runs throttled-qa:1", fix: "Nothing: throttled calls are made again, more slowly; here the first of six operations was refused."}
}

// lockHeld is a second deployment while the first goes on.
func lockHeld(t *testing.T, s *stage) row {
	target := s.target("held")
	mode("slow-start")(s, &target)
	target.Spec.Route.GracePeriod = time.Minute
	waits(&target, 10*time.Second)
	going, ended := make(chan struct{}), make(chan error)
	var once sync.Once
	go func() {
		_, err := s.cloud.Deploy().Apply(t.Context(), target, func(e deploy.Event) {
			if e.Kind == deploy.EventProgress {
				once.Do(func() { close(going) })
			}
		})
		ended <- err
	}()
	select {
	case <-going:
	case err := <-ended:
		t.Fatalf("the first has ended: %v", err)
	}
	_, err := s.cloud.Deploy().Apply(t.Context(), target, s.log(t))
	var other *deploy.LeaseError
	if !errors.As(err, &other) || other.Lost {
		t.Errorf("the second: %v", err)
	}
	var stuck *deploy.Failure
	if err := <-ended; !errors.As(err, &stuck) || !stuck.StillGoing {
		t.Errorf("the first: %v", err)
	}
	// A fix goes out although the deployment before is stuck.
	fix := s.target("held")
	if _, err := s.cloud.Deploy().Apply(t.Context(), fix, s.log(t)); err != nil {
		t.Errorf("the fix: %v", err)
	}
	return row{sentence: fmt.Sprintf("held-qa is in the hands of … (%s) since …. Wait for its end, or stop it with slipway stop.", "deploy"), fix: "As it says. Exit code 6; a lease whose process has died ends by itself."}
}
