package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/autoscale"
	"github.com/slipway-ecs/slipway/internal/drain"
)

func newControllerLambdaCommand() *cobra.Command {
	var f clusterFlags
	var turns time.Duration
	var budgets budgetFlags
	cfg, def := autoscale.Defaults(), drainDefaults
	cmd := &cobra.Command{
		Use:   "lambda",
		Short: "Be the controller as a Lambda function of EventBridge",
		Long: `Answers invocations of AWS Lambda: each is an EventBridge event, or a schedule's. A Spot interruption,
a rebalance recommendation or a scheduled change marks the instance it is about; then turns of the same
engines as 'slipway controller run' are made for --turns. An instance with a termination hook and a scale-in
need time: have a schedule invoke it each minute.

In a function of the runtime provided.al2023, bootstrap is a script that runs this command (see
examples/controller). Give the function the policy that 'slipway iam controller' prints.

` + budgetHelp,
		Args: cobra.NoArgs,
		Example: `  slipway controller lambda --cluster prod
  slipway controller lambda --cluster prod --budget '0 mon-fri 08:00-18:00 Europe/Berlin'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Getenv("AWS_LAMBDA_RUNTIME_API") == "" {
				return badInput("AWS_LAMBDA_RUNTIME_API is not set: this is for AWS Lambda; use 'slipway controller run' elsewhere")
			}
			if err := budgets.read(&cfg); err != nil {
				return err
			}
			cloud, _, err := f.open(cmd)
			if err != nil {
				return err
			}
			c := newController(cloud, f.cluster, cfg, def, false)
			c.log = slog.New(slog.NewJSONHandler(cmd.OutOrStdout(), nil))
			lambda.StartWithOptions(func(ctx context.Context, event json.RawMessage) (any, error) { return c.invoke(ctx, event, turns) }, lambda.WithContext(cmd.Context()))
			return nil
		},
	}
	f.add(cmd)
	budgets.add(cmd.Flags())
	cmd.Flags().DurationVar(&turns, "turns", 40*time.Second, "how long turns are made for an event; less than the function's timeout")
	cmd.Flags().IntVar(&cfg.Headroom, "headroom", cfg.Headroom, "percent of what is used that must stay free after a removal")
	cmd.Flags().IntVar(&cfg.Reserve, "reserve", cfg.Reserve, "percent of each service's tasks for which a place is kept free")
	return cmd
}

// invoke is one invocation: it heeds what the event says and makes turns until nothing is left to do, or the
// time is over. A failed invocation is tried again by Lambda, so what the event asked is not lost.
func (c *controller) invoke(ctx context.Context, event []byte, length time.Duration) (map[string]any, error) {
	notices, err := drain.ParseNotices(event)
	if err != nil {
		return nil, err
	}
	if err := c.drain.Heed(ctx, notices, nil); err != nil {
		return nil, fmt.Errorf("heeding the event: %w", err)
	}
	end := c.clock.Now().Add(length)
	if at, ok := ctx.Deadline(); ok {
		left := time.Until(at) - 5*time.Second
		end = c.clock.Now().Add(min(length, left))
	}
	turns := 0
	for {
		if err := c.turn(ctx, 25*time.Second); err != nil {
			return nil, errors.Join(err, c.release(ctx))
		}
		turns++
		if c.idle() || !c.clock.Now().Add(5*time.Second).Before(end) || c.clock.Wait(ctx, 5*time.Second) != nil {
			break
		}
	}
	return map[string]any{"cluster": c.cluster, "notices": len(notices), "turns": turns}, c.release(ctx)
}

// idle reports whether nothing drains, is rotated, or was decided in the last turn.
func (c *controller) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gauges["draining"] == 0 && c.gauges["rotating"] == 0 && c.gauges["changes"] == 0
}
