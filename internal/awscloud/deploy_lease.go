package awscloud

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/slipway-ecs/slipway/internal/deploy"
)

// leasePort keeps deployment leases as parameters of Systems Manager,
// /slipway/deploy/<cluster>/<service>. Creating one that exists fails, and each write answers with the
// version it made: who does not get the next one was overtaken.
//
// https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
type leasePort struct{ api *ssm.Client }

// leaseText is the parameter's value.
type leaseText struct {
	Holder  string    `json:"holder"`
	Doing   string    `json:"doing"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Process string    `json:"process"` // host, process id and its start: whether the holder still lives
}

func leaseName(ref deploy.Ref) *string {
	return aws.String("/slipway/deploy/" + lastPart(ref.Cluster) + "/" + ref.Service)
}

func (p leasePort) Lease(ctx context.Context, ref deploy.Ref) (deploy.Lease, error) {
	out, err := p.api.GetParameter(ctx, &ssm.GetParameterInput{Name: leaseName(ref)})
	switch {
	case is(err, "ParameterNotFound"):
		return deploy.Lease{}, deploy.ErrNotFound
	case is(err, "AccessDenied"):
		return deploy.Lease{}, fmt.Errorf("%w: %w", deploy.ErrForbidden, err)
	case err != nil:
		return deploy.Lease{}, err
	}
	var t leaseText
	l := deploy.Lease{Version: out.Parameter.Version}
	if json.Unmarshal([]byte(aws.ToString(out.Parameter.Value)), &t) != nil {
		return l, nil // not one of ours: it has ended
	}
	l.Holder, l.Doing, l.Since, l.Until = t.Holder, t.Doing, t.Since, t.Until
	if gone(t.Process) {
		l.Until = time.Time{}
	}
	return l, nil
}

func (p leasePort) PutLease(ctx context.Context, ref deploy.Ref, want deploy.Lease, over int64) (int64, error) {
	value, err := json.Marshal(leaseText{want.Holder, want.Doing, want.Since.UTC(), want.Until.UTC(), process()})
	if err != nil {
		return 0, err
	}
	in := &ssm.PutParameterInput{Name: leaseName(ref), Type: types.ParameterTypeString, Value: aws.String(string(value)), Overwrite: aws.Bool(over > 0)}
	out, err := p.api.PutParameter(ctx, in)
	switch {
	case is(err, "ParameterAlreadyExists"), err == nil && out.Version != over+1:
		return 0, deploy.ErrInUse
	case is(err, "AccessDenied"):
		return 0, fmt.Errorf("%w: %w", deploy.ErrForbidden, err)
	case err != nil:
		return 0, err
	}
	return out.Version, nil
}

func (p leasePort) DropLease(ctx context.Context, ref deploy.Ref, version int64) error {
	have, err := p.api.GetParameter(ctx, &ssm.GetParameterInput{Name: leaseName(ref)})
	if err != nil || have.Parameter.Version != version {
		if is(err, "ParameterNotFound") {
			return nil
		}
		return err
	}
	if _, err := p.api.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: leaseName(ref)}); !is(err, "ParameterNotFound") {
		return err
	}
	return nil
}

// Holder is who deploys, for people: SLIPWAY_BY, else the user, and where.
func (p leasePort) Holder() string {
	who := os.Getenv("SLIPWAY_BY")
	if u, err := user.Current(); who == "" && err == nil {
		who = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s on %s (process %d)", cmp.Or(who, "somebody"), host, os.Getpid())
}

// process names this process as no other of this machine ever was or will be; empty where the system
// does not say.
func process() string { return processID(os.Getpid()) }

// processID is machine/pid namespace/pid/start time, as Linux tells them.
func processID(pid int) string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The name, in brackets, may have spaces. The start time is the 22nd field, the third is the state.
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return ""
	}
	return strings.TrimSpace(string(boot)) + " " + namespace + " " + strconv.Itoa(pid) + " " + fields[19]
}

// gone says for certain that a process has ended: it was on this machine and is there no more.
func gone(id string) bool {
	here, there := strings.Fields(process()), strings.Fields(id)
	if len(here) != 4 || len(there) != 4 || here[0] != there[0] || here[1] != there[1] {
		return false
	}
	pid, err := strconv.Atoi(there[2])
	return err == nil && processID(pid) != id
}
