package cli

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ecs/slipway/internal/tfexec"
)

func TestLockedBy(t *testing.T) {
	const info = `ConditionalCheckFailedException: the lock is held

Lock Info:
  ID:        0a1b2c3d-4e5f
  Path:      states/slipway/shop/qa/terraform.tfstate
  Operation: OperationTypeApply
  Who:       ann@laptop
  Version:   1.11.4
  Created:   2026-11-23 13:59:30.123456 +0000 UTC
  Info:
`
	noon := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		output, holder, remedy string
	}{
		"as Terraform and OpenTofu say it": {"Error: Error acquiring the state lock\n\n" + info, "ann@laptop since ", "terraform -chdir=/srv/qa force-unlock 0a1b2c3d-4e5f"},
		"without a time it knows":          {"Error acquiring the state lock\nWho: ann@laptop\nCreated: a while ago", "ann@laptop", "look who works on the state"},
		"with nothing at all":              {"Error acquiring the state lock: 412", "somebody who is not named", "look who works on the state"},
	} {
		t.Run(name, func(t *testing.T) {
			tool := tfexec.Tool{Name: "Terraform"}
			l, ok := lockedBy(&tfexec.Failure{Tool: tool, Output: c.output})
			if got := l.holder(noon); !ok || !strings.HasPrefix(got, c.holder) || strings.HasPrefix(c.holder, "ann@laptop since") && !strings.HasSuffix(got, " (30s ago)") {
				t.Errorf("held by %q, %v", got, ok)
			}
			if got := l.remedy(tfexec.Runner{Tool: tool, Dir: "/srv/qa"}); !strings.Contains(got, c.remedy) {
				t.Errorf("remedy %q", got)
			}
		})
	}
	for _, err := range []error{nil, errors.New("acquiring the state lock"), &tfexec.Failure{Output: "Error: no such file"}} {
		if _, ok := lockedBy(err); ok {
			t.Errorf("%v is taken for a lock", err)
		}
	}
}

func TestWhatIsDoneAboutALock(t *testing.T) {
	const minute = time.Minute
	for name, c := range map[string]struct {
		sight lockSight
		step  lockStep
		says  string
	}{
		"somebody's, at first":                       {lockSight{Age: minute}, lockWait, "20s"},
		"somebody's, still":                          {lockSight{Age: minute, Waited: minute}, lockRefuse, ""},
		"somebody's old one is theirs":               {lockSight{Age: 24 * time.Hour, Waited: minute}, lockRefuse, ""},
		"a killed run's Terraform works on":          {lockSight{Age: minute, Took: true, Here: true, AtWork: true}, lockWait, "at work"},
		"a killed run's, of this machine":            {lockSight{Age: minute, Took: true, Here: true}, lockRemove, ""},
		"a killed run's, of another machine":         {lockSight{Age: minute, Took: true}, lockWait, "30m0s"},
		"a killed run's, of another machine, is old": {lockSight{Age: 31 * minute, Took: true}, lockRemove, ""},
		"processes cannot be looked at":              {lockSight{Age: minute, Waited: minute, Took: true, AtWork: true}, lockWait, "at work"},
		"processes cannot be looked at, for long":    {lockSight{Age: 32 * minute, Waited: 31 * minute, Took: true, AtWork: true}, lockRefuse, ""},
		"a killed run's Terraform works on for long": {lockSight{Age: 32 * minute, Waited: 31 * minute, Took: true, Here: true, AtWork: true}, lockRefuse, ""},
		"nobody says since when":                     {lockSight{Took: true}, lockWait, "30m0s"},
		"nobody says since when, for long":           {lockSight{Waited: 31 * minute, Took: true}, lockRemove, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if step, says := c.sight.next(); step != c.step || !strings.Contains(says, c.says) {
				t.Errorf("step %d, %q; want %d, %q", step, says, c.step, c.says)
			}
		})
	}
}
