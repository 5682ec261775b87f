package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/slipway-ecs/slipway/internal/awscloud"
	"github.com/slipway-ecs/slipway/internal/execclient"
)

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// oneLine writes words as the line that a shell would split into them again: ECS takes a command as a
// line, and the agent in the container splits it.
func oneLine(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		if out[i] = w; !plainWord.MatchString(w) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'"'"'`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// join joins this terminal to the session until it ends.
func join(cmd *cobra.Command, session awscloud.Session) error {
	t := execclient.Terminal{In: cmd.InOrStdin(), Out: cmd.OutOrStdout()}
	// Ctrl-C is for the program in the container: a terminal sends it as a key, a script as a signal.
	keys := make(chan os.Signal, 1)
	signal.Notify(keys, os.Interrupt)
	defer signal.Stop(keys)
	if in, ok := t.In.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		was, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return fmt.Errorf("preparing the terminal: %w", err)
		}
		defer func() { _ = term.Restore(int(in.Fd()), was) }() // what could be done about it?
	} else {
		typed := t.In
		t.In, t.Ends = interrupted(typed, keys), []byte{0x04}
	}
	t.Size = func() (int, int, bool) { return 200, 50, true } // wide enough for tables in a file
	if out, ok := t.Out.(*os.File); ok && term.IsTerminal(int(out.Fd())) {
		t.Size = func() (int, int, bool) {
			columns, rows, err := term.GetSize(int(out.Fd()))
			return columns, rows, err == nil
		}
	}
	// An interrupt is typed, so the session must outlive the context it cancels.
	ctx, stop := signal.NotifyContext(context.WithoutCancel(cmd.Context()), syscall.SIGTERM)
	defer stop()
	end, err := execclient.Run(ctx, execclient.Session{URL: session.URL, Token: session.Token}, t)
	switch {
	case errors.Is(err, execclient.ErrEncrypted):
		return fmt.Errorf("%w; with AWS's session-manager-plugin installed, use --plugin", err)
	case err != nil:
		return err
	case end.Said != "" && !end.Known:
		return errors.New(end.Said)
	case end.Known && end.ExitCode != 0:
		return exitWith(end.ExitCode, &silentError{fmt.Errorf("the command ended with %d", end.ExitCode)})
	}
	return nil
}

// interrupted is what is typed, with Ctrl-C where a signal comes.
func interrupted(typed io.Reader, keys <-chan os.Signal) io.Reader {
	in, out := io.Pipe()
	go func() {
		for range keys {
			if _, err := out.Write([]byte{0x03}); err != nil {
				return
			}
		}
	}()
	go func() {
		_, err := io.Copy(out, typed)
		_ = out.CloseWithError(err) // nil: io.EOF
	}()
	return in
}
