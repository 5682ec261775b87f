package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/web"
)

func newDashboardCommand() *cobra.Command {
	var files, clusters []string
	var port int
	var every time.Duration
	var readOnly, asJSON bool
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Show services, versions, approvals and clusters in the browser",
		Long: `Serves pages on this machine's loopback address: which version of each service each environment runs
and why, what waits for an approval, and how tasks are packed on the clusters' instances. It reads AWS
and the registry with your credentials, only while somebody looks. An approval or a rejection given
there is recorded as yours, as by slipway approve, for the digest you saw. It deploys nothing. Only who
has the address it prints is let in.

Without --file it shows the slipway.yaml here, or else all below that git tracks.`,
		Args: cobra.NoArgs,
		Example: `  slipway dashboard
  slipway dashboard -f shop/slipway.yaml -f basket/slipway.yaml --cluster prod
  slipway dashboard --read-only --port 8090`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < time.Second {
				return badInput("--interval is %s; it must be at least 1s", every)
			}
			ctx := cmd.Context()
			if len(files) == 0 {
				var err error
				if files, err = definitions(ctx); err != nil {
					return err
				}
			}
			cloud, err := awscloud.Open(ctx, awscloud.Options{})
			if err != nil {
				return err
			}
			src := &boardSource{cloud: cloud, files: files, clusters: clusters, readOnly: readOnly, now: time.Now}
			if err := src.open(ctx); err != nil {
				return err
			}
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
			if err != nil {
				return badInput("listening: %w; choose another port with --port", err)
			}
			p := newPrinter(cmd.OutOrStdout(), asJSON)
			key := rand.Text()
			url := "http://" + l.Addr().String() + "/?key=" + key
			p.Data("dashboard", fmt.Sprintf("The dashboard of %s is at\n\n  %s\n\nCtrl-C ends it.", strings.Join(src.names(), ", "), url), map[string]any{"url": url, "services": len(src.projects)})
			board := web.New(src, key, every, func(err error) { fmt.Fprintln(cmd.ErrOrStderr(), "slipway:", err) })
			return serve(ctx, l, board.Handler())
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "the definition of a service (may be given several times)")
	cmd.Flags().StringArrayVar(&clusters, "cluster", nil, "show this cluster, too; those the services are on are shown anyway")
	cmd.Flags().IntVar(&port, "port", 4570, "port on 127.0.0.1; 0 chooses a free one")
	cmd.Flags().DurationVar(&every, "interval", 5*time.Second, "how old what is shown may be")
	cmd.Flags().BoolVar(&readOnly, "read-only", false, "take no approvals")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return cmd
}

// definitions are the slipway.yaml here, or all below.
func definitions(ctx context.Context) ([]string, error) {
	const here = "slipway.yaml"
	if _, err := os.Stat(here); err == nil {
		return []string{here}, nil
	}
	if _, err := gitOutput(ctx, ".", "rev-parse", "--show-toplevel"); err != nil {
		return nil, badInput("there is no slipway.yaml here, and no git repository that could have some below; go to a service's folder, or name files with --file")
	}
	all, _, err := findServices(ctx, ".")
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, badInput("there is no slipway.yaml in this folder or below that git knows of; name one with --file")
	}
	var out []string
	for _, m := range all {
		out = append(out, m.file)
	}
	return out, nil
}

// serve answers until the context ends; then those that are being answered have two seconds.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		BaseContext: func(net.Listener) context.Context { return context.WithoutCancel(ctx) }}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving the dashboard: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(last); errors.Is(err, context.DeadlineExceeded) {
		_ = server.Close()
	}
	return nil
}

// silentPrinter is for what is shown elsewhere.
func silentPrinter() *printer { return newPrinter(io.Discard, false) }
