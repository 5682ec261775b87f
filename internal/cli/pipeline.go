package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/notify"
	"github.com/slipway-ecs/slipway/internal/pipeline"
)

func newPipelineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pipeline",
		Short: "Deliver a commit stage by stage, here or in any CI",
		Long: `The way of a commit to production as stages: test, build, push, scan, then for each environment
approve, deploy, and smoke or verify. Environments and what they ask for come from slipway.yaml.
One run does all stages, or each runs by itself on a machine of its own: every stage finds what
came before in the registry and in AWS, and done again it has the effect of once.`,
		Example: `  slipway pipeline stages
  slipway pipeline run
  slipway pipeline run --stage deploy-qa`,
	}
	cmd.AddCommand(newPipelineRunCommand(), newPipelineStagesCommand(), newPipelineDescribeCommand(), newPipelineNotifyCommand())
	return cmd
}

// pipelineFlags are what a run of stages takes.
type pipelineFlags struct {
	shipFlags
	pipeline.Selection
	approveAs, note, reports string
	tested                   bool
	wait                     time.Duration
	since                    string
	all                      bool
	parallel                 int
}

func newPipelineRunCommand() *cobra.Command {
	var f pipelineFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the stages of a delivery, all or some",
		Long: `Runs the stages in order and stops at the first that does not go well. Run again, it goes on where
it was: what is tested, pushed, scanned, approved or deployed already is not done a second time.

At an approval it asks, if it runs in a terminal. Elsewhere it ends with code 7 and says how to
approve; the same command then goes on. --approve-as records the approval of a person the CI
system asked. A newer commit of the same branch that was pushed meanwhile ends a delivery that
waits, with code 8; somebody's "slipway approve --reject" ends it with code 9.

With --changed-since or --all it delivers the services of a repository that have a slipway.yaml,
below the current folder: those whose folder or pipeline.paths have changed, or all, in parallel.

Reports are written for CI: test.xml, smoke-ENV.xml and verify-ENV.xml (JUnit), scan.sarif.

Exit codes: 0 good; 1 failed; 2 bad input; 3 failed and rolled back; 4 failed and not rolled back;
5 still going; 6 refused; 7 waits for approval; 8 superseded by a newer commit; 9 rejected.`,
		Args: cobra.NoArgs,
		Example: `  slipway pipeline run
  slipway pipeline run --until smoke-qa
  slipway pipeline run --stage approve-prod --approve-as alice@example.com --note "tested by hand"
  slipway pipeline run --changed-since origin/main`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.all || f.since != "" {
				return f.runMany(cmd)
			}
			p := newPrinter(cmd.OutOrStdout(), f.json)
			pr, err := openProject(cmd.Context(), p, f.file, nil)
			if err != nil {
				return err
			}
			d := f.delivery(pr)
			if !f.json && terminal(cmd.InOrStdin()) && isTerminal(cmd.OutOrStdout()) {
				d.ask = asker(cmd.InOrStdin(), cmd.OutOrStdout())
			}
			return f.run(cmd.Context(), d)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&f.Stage, "stage", "", "run this stage only")
	cmd.Flags().StringVar(&f.From, "from", "", "begin with this stage")
	cmd.Flags().StringVar(&f.Until, "until", "", "end with this stage")
	cmd.Flags().StringVar(&f.approveAs, "approve-as", "", "who has approved, for stages that ask for approval")
	cmd.Flags().StringVar(&f.note, "note", "", "recorded with the approval")
	cmd.Flags().DurationVar(&f.wait, "wait", 0, "how long to wait for an approval before ending with code 7")
	cmd.Flags().BoolVar(&f.tested, "tested", false, "the tests of this commit have passed, in a stage before that ran elsewhere")
	cmd.Flags().StringVar(&f.reports, "reports", "", "folder of the reports (default: .slipway/reports beside slipway.yaml)")
	cmd.Flags().StringVar(&f.since, "changed-since", "", "deliver every service that has changed since this commit, branch or tag")
	cmd.Flags().BoolVar(&f.all, "all", false, "deliver every service below the current folder")
	cmd.Flags().IntVar(&f.parallel, "parallel", 4, "services delivered at a time")
	cmd.MarkFlagsMutuallyExclusive("changed-since", "all")
	return cmd
}

func (f *pipelineFlags) delivery(pr *project) *delivery {
	d := &delivery{pr: pr, reports: f.reports, tested: f.tested, approveAs: f.approveAs, note: f.note}
	if d.reports == "" {
		d.reports = filepath.Join(pr.dir, ".slipway", "reports")
	}
	return d
}

// run does the selected stages and turns their end into an exit code.
func (f *pipelineFlags) run(ctx context.Context, d *delivery) error {
	all := d.stages()
	selected, err := f.Of(all)
	if err != nil {
		return exitWith(ExitBadInput, err)
	}
	if f.approveAs != "" && !slices.ContainsFunc(selected, func(s pipeline.Stage) bool { return s.Kind == pipeline.Approve }) {
		return badInput("--approve-as: none of the stages asks for approval: %s", strings.Join(pipeline.Names(selected), ", "))
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	e := pipeline.Engine{Worker: d, Watcher: d, Notifier: d.notifier(), Clock: wallClock{d.pr.now}, Patience: f.wait}
	out := e.Run(ctx, all, selected)
	facts := map[string]any{"outcome": out.End, "stage": out.Stage.Name(), "service": d.pr.file.Service, "commit": d.src.Commit}
	if d.digest != "" {
		facts["digest"] = d.digest
	}
	if out.Error != nil {
		facts["error"] = out.Error.Error()
	}
	d.pr.p.Data("pipeline", "", facts)
	switch out.End {
	case pipeline.Delivered:
		d.pr.p.Done("delivered %s", d.name())
		return nil
	case pipeline.Done:
		return nil
	case pipeline.Waiting:
		return exitWith(ExitWaiting, out.Error)
	case pipeline.Superseded:
		return exitWith(ExitSuperseded, out.Error)
	case pipeline.Refused:
		return exitWith(ExitRejected, out.Error)
	}
	if ctx.Err() != nil {
		return exitWith(130, errors.New("interrupted; run it again to go on"))
	}
	return out.Error
}

// wallClock is the project's time; its waits end with the context.
type wallClock struct{ now func() time.Time }

func (c wallClock) Now() time.Time { return c.now() }

func (wallClock) Wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func terminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	return ok && isTerminal(f)
}

// asker asks yes or no; everything but yes is no.
func asker(in io.Reader, out io.Writer) func(string) (bool, error) {
	return func(question string) (bool, error) {
		fmt.Fprintf(out, "   %s [y/N] ", question)
		var line []byte
		for b := make([]byte, 1); ; { // byte by byte: what follows is for the next question
			n, err := in.Read(b)
			if n == 1 && b[0] == '\n' || errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return false, fmt.Errorf("reading the answer: %w", err)
			}
			line = append(line, b[:n]...)
		}
		answer := strings.ToLower(strings.TrimSpace(string(line)))
		return answer == "y" || answer == "yes", nil
	}
}

func newPipelineStagesCommand() *cobra.Command {
	var f shipFlags
	cmd := &cobra.Command{
		Use:     "stages",
		Short:   "List the stages of this service, in order",
		Args:    cobra.NoArgs,
		Example: "  slipway pipeline stages",
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, err := readDefinition(f.file)
			if err != nil {
				return err
			}
			names := pipeline.Names(stagesOf(file))
			newPrinter(cmd.OutOrStdout(), f.json).Data("stages", strings.Join(names, "\n"), map[string]any{"service": file.Service, "stages": names})
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func newPipelineDescribeCommand() *cobra.Command {
	var f shipFlags
	cmd := &cobra.Command{
		Use:     "describe",
		Short:   "One line about this commit's delivery, for a build's description",
		Args:    cobra.NoArgs,
		Example: "  slipway pipeline describe",
		RunE: func(cmd *cobra.Command, _ []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			d := &delivery{pr: pr}
			if err := d.prepare(cmd.Context()); err != nil {
				return err
			}
			line, facts, err := d.describe(cmd.Context())
			if err != nil {
				return err
			}
			pr.p.Data("description", line, facts)
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func newPipelineNotifyCommand() *cobra.Command {
	var f shipFlags
	var reason, stage, by string
	cmd := &cobra.Command{
		Use:   "notify EVENT",
		Short: "Tell everyone under notify in slipway.yaml how this commit's delivery goes",
		Long: `For what a CI system ends by itself, such as an aborted build; "slipway pipeline run" tells its own
events. EVENT is started, waiting, delivered, failed, rejected or superseded. Ends with code 1 if
somebody could not be told.`,
		Args:    cobra.ExactArgs(1),
		Example: `  slipway pipeline notify failed --reason "aborted after an hour"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			pr, err := f.open(cmd)
			if err != nil {
				return err
			}
			d := &delivery{pr: pr}
			if err := d.prepare(cmd.Context()); err != nil {
				return err
			}
			return d.tell(cmd.Context(), args[0], stage, reason, by)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "one sentence")
	cmd.Flags().StringVar(&stage, "stage", "", "the stage it is about")
	cmd.Flags().StringVar(&by, "by", "", "who did it")
	return cmd
}

func (d *delivery) tell(ctx context.Context, kind, stage, reason, by string) error {
	e := pipeline.Event{Kind: kind, Reason: reason, By: by, Delivery: d.Delivery(ctx)}
	if events := []string{"started", "waiting", "delivered", "failed", "rejected", "superseded"}; !slices.Contains(events, kind) {
		return badInput("there is no event %q; there are %s", kind, strings.Join(events, ", "))
	}
	if stage != "" {
		one, err := pipeline.Selection{Stage: stage}.Of(d.stages())
		if err != nil {
			return exitWith(ExitBadInput, err)
		}
		e.Stage = one[0]
	}
	var faults []error
	n := d.notifier()
	report := n.Report
	n.Report = func(name, event string, err error) {
		report(name, event, err)
		if err != nil {
			d.mu.Lock()
			defer d.mu.Unlock()
			faults = append(faults, fmt.Errorf("telling %s: %w", name, err))
		}
	}
	n.Notify(ctx, e)
	return errors.Join(faults...)
}

// notifier tells whoever slipway.yaml names.
func (d *delivery) notifier() *notify.Notifier {
	return &notify.Notifier{Notices: d.pr.file.Notify,
		Secret: func(ctx context.Context, ref string) (string, error) {
			if name, ok := strings.CutPrefix(ref, "env:"); ok {
				if v := d.pr.getenv(name); v != "" {
					return v, nil
				}
				return "", fmt.Errorf("the environment variable %s is not set", name)
			}
			return d.pr.cloud.SecretValue(ctx, ref)
		},
		Report: func(name, event string, err error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if err != nil {
				d.pr.p.Fail("could not tell %s: %v", name, err)
				return
			}
			d.pr.p.Line("told %s: %s", name, event)
		}}
}
