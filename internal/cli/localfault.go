package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/local/chaos"
	"github.com/slipway-ecs/slipway/internal/local/wire"
)

func newLocalFault() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fault",
		Short: "Break requests to the local AWS, and its world, on purpose",
		Long: `Faults strike requests by service and operation (add), the start of tasks (task), instances, zones, Spot
capacity, agents, the clock and names; with a probability and a seed, a number of times, for a while. The same
seed and the same requests give the same faults. Each is a POST to /_slipway/faults of the endpoint, too.`,
		Example: `  slipway local fault add throttle --service ecs --operation 'Update*' --count 3
  slipway local fault add lost --operation RunTask --probability 0.1 --seed 7
  slipway local fault task pull --ecs-service web --count 3
  slipway local fault zone us-east-1a --for 30m
  slipway local fault spot --group workers --number 1
  slipway local fault list
  slipway local fault clear`,
	}
	cmd.AddCommand(newFaultAdd(), newFaultTask(), newFaultInstance(), newFaultZone(), newFaultSpot(), newFaultDisconnect(), newFaultSkew(), newFaultDNS(), newFaultList(), newFaultClear())
	return cmd
}

func newFaultAdd() *cobra.Command {
	var f localFlags
	var x wire.Fault
	var delay time.Duration
	cmd := &cobra.Command{
		Use:   "add KIND",
		Short: "Add a fault: throttle, error, latency, reset or lost",
		Long: `Kinds: throttle (the service's throttling error), error (--code, --message, --status), latency (--delay,
then as usual), reset (the connection breaks before anything happens), lost (the operation is carried out,
and the connection breaks before the answer).`,
		Args: cobra.ExactArgs(1),
		Example: `  slipway local fault add latency --service ecr --delay 2s
  slipway local fault add error --service elbv2 --code ServiceUnavailable --status 503 --count 5`,
		RunE: func(cmd *cobra.Command, args []string) error {
			x.Kind, x.Delay = args[0], int(delay.Milliseconds())
			data, err := json.Marshal(x)
			if err != nil {
				return fmt.Errorf("writing the fault: %w", err)
			}
			if err := f.faults(cmd.Context(), http.MethodPost, "", data, &x); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "fault %d added\n", x.ID)
			return err
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&x.Service, "service", "", "service, as the AWS CLI names it; * and ? match (default: any)")
	fl.StringVar(&x.Operation, "operation", "", "operation, as UpdateService; * and ? match (default: any)")
	fl.StringVar(&x.Code, "code", "", "error code (default: InternalFailure)")
	fl.StringVar(&x.Message, "message", "", "error message")
	fl.IntVar(&x.Status, "status", 0, "HTTP status of an error (default: 500)")
	fl.DurationVar(&delay, "delay", 0, "of latency, at most 10m")
	fl.Float64Var(&x.Probability, "probability", 1, "share of the requests it strikes, 0 to 1")
	fl.IntVar(&x.Count, "count", 0, "how many requests it strikes (default: no end)")
	fl.IntVar(&x.Skip, "skip", 0, "requests that are left alone first")
	fl.Uint64Var(&x.Seed, "seed", 0, "of the dice")
	return cmd
}

func newFaultList() *cobra.Command {
	var f localFlags
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the faults and how often they struck", Args: cobra.NoArgs, Example: "  slipway local fault list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []wire.Fault
			if err := f.faults(cmd.Context(), http.MethodGet, "", nil, &list); err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "ID\tKIND\tTARGET\tPROBABILITY\tSTRUCK\tOF\tUNTIL")
			for _, x := range list {
				most := "no end"
				if x.Count > 0 {
					most = strconv.Itoa(x.Count)
				}
				share, until := x.Probability, "cleared"
				if share == 0 {
					share = 1
				}
				if !x.Until.IsZero() {
					until = x.Until.UTC().Format(time.RFC3339)
				}
				if x.Kind == chaos.Instance || x.Kind == chaos.Spot {
					most, until = "", "over"
				}
				kind := x.Kind
				if x.Delay != 0 {
					kind += " " + (time.Duration(x.Delay) * time.Millisecond).String()
				}
				fmt.Fprintf(w, "%d\t%s\t%s\t%v\t%d\t%s\t%s\n", x.ID, kind, target(x), share, x.Hits, most, until)
			}
			return w.Flush()
		},
	}
	f.add(cmd)
	return cmd
}

func or(s string) string {
	if s == "" {
		return "*"
	}
	return s
}

func newFaultClear() *cobra.Command {
	var f localFlags
	cmd := &cobra.Command{
		Use: "clear [ID]", Short: "Remove one fault, or all", Args: cobra.MaximumNArgs(1), Example: "  slipway local fault clear\n  slipway local fault clear 2",
		RunE: func(cmd *cobra.Command, args []string) error {
			query := ""
			if len(args) == 1 {
				if _, err := strconv.Atoi(args[0]); err != nil {
					return badInput("%q is no id of a fault; see: slipway local fault list", args[0])
				}
				query = "?id=" + args[0]
			}
			return f.faults(cmd.Context(), http.MethodDelete, query, nil, nil)
		},
	}
	f.add(cmd)
	return cmd
}

// faults calls the fault API of the running local AWS.
func (f *localFlags) faults(ctx context.Context, method, query string, body []byte, into any) error {
	r, err := f.find(ctx)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, r.Endpoint+"/_slipway/faults"+query, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking the local AWS: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking the local AWS: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("reading its answer: %w", err)
	}
	if resp.StatusCode >= 300 {
		var e struct{ Error string }
		if json.Unmarshal(data, &e) != nil || e.Error == "" {
			e.Error = strings.TrimSpace(string(data))
		}
		return badInput("%s", e.Error)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(data, into)
}
