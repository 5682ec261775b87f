// Command slipway ships services to Amazon ECS and sizes the cluster under them. The same binary
// is the Terraform provider when Terraform starts it, and the first process of a container when
// the sandbox runtime starts it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-ecs/slipway/internal/cli"
	"github.com/slipway-ecs/slipway/internal/local/runtime/sandbox"
	"github.com/slipway-ecs/slipway/internal/provider"
)

func main() {
	sandbox.MaybeInit() // does not return in a container's first process
	os.Exit(run(os.Args))
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if strings.HasPrefix(filepath.Base(args[0]), "terraform-provider-slipway") {
		if err := provider.Serve(ctx); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return cli.ExitFailed
		}
		return cli.ExitOK
	}
	// The first signal ends things in order; after it, signals act as they do by default, so a
	// second Ctrl-C ends the process at once.
	context.AfterFunc(ctx, stop)
	return cli.Run(ctx, args[1:], cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
}
