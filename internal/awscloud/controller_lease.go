package awscloud

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// Lease lets one controller of a cluster act at a time. It is a parameter of Systems Manager,
// /slipway/<cluster>/leader, whose value is the holder and the end of its term.
//
// Creating a parameter that exists fails, and each write answers with the version it made: who writes
// over an ended term and does not get the next version has been overtaken, and does not act. The worst
// that a race does is that nobody leads until the term it wrote ends.
//
// Source: https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
type Lease struct {
	port    *controllerPort
	name    string
	owner   string
	term    time.Duration
	version int64 // the one we wrote; 0: we do not lead
	Holder  string
}

// Lease is a lease of the cluster for an owner, a name without spaces that is of this process alone.
func (c *Cloud) Lease(cluster, owner string, term time.Duration) *Lease {
	return &Lease{port: c.controller(), name: "/slipway/" + cluster + "/leader", owner: owner, term: term}
}

// Hold takes or renews the lease and reports whether we lead until now+term.
func (l *Lease) Hold(ctx context.Context, now time.Time) (bool, error) {
	value := l.owner + " " + now.Add(l.term).UTC().Format(time.RFC3339Nano)
	in := &ssm.PutParameterInput{Name: &l.name, Type: types.ParameterTypeString, Value: &value}
	have, err := l.port.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &l.name})
	if is(err, "ParameterNotFound") {
		out, err := l.port.ssm.PutParameter(ctx, in)
		if is(err, "ParameterAlreadyExists") {
			l.version = 0
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("taking the lease %s: %w", l.name, err)
		}
		l.version, l.Holder = out.Version, l.owner
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the lease %s: %w", l.name, err)
	}
	holder, until, _ := strings.Cut(aws.ToString(have.Parameter.Value), " ")
	l.Holder = holder
	mine := holder == l.owner && l.version == have.Parameter.Version
	if end, err := time.Parse(time.RFC3339Nano, until); !mine && err == nil && now.Before(end) {
		l.version = 0
		return false, nil
	}
	in.Overwrite = aws.Bool(true)
	out, err := l.port.ssm.PutParameter(ctx, in)
	if err != nil {
		return false, fmt.Errorf("renewing the lease %s: %w", l.name, err)
	}
	if out.Version != have.Parameter.Version+1 {
		l.version = 0
		return false, nil
	}
	l.version, l.Holder = out.Version, l.owner
	return true, nil
}

// Release ends the term, so that another need not wait for its end.
func (l *Lease) Release(ctx context.Context) error {
	if l.version == 0 {
		return nil
	}
	have, err := l.port.ssm.GetParameter(ctx, &ssm.GetParameterInput{Name: &l.name})
	if err != nil || have.Parameter.Version != l.version {
		return err // another has it
	}
	_, err = l.port.ssm.DeleteParameter(ctx, &ssm.DeleteParameterInput{Name: &l.name})
	l.version = 0
	return err
}
