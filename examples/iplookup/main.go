// Command iplookup answers every request with the caller's address as JSON.
//
// It is written to be replaced without a failed request: on SIGTERM it first says that it is not
// ready, goes on answering while the load balancer takes notice, and ends when nothing is left.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// version is set with -ldflags "-X main.version=…"; else it is VERSION, else the commit it was built from.
var version string

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, log, config(os.Getenv)); err != nil {
		log.Error("stopped", "error", err)
		os.Exit(1)
	}
}

type settings struct {
	Address string
	Version string
	// DrainDelay is how long requests are still answered after SIGTERM. ECS takes a task out of its
	// target group before it sends SIGTERM, so a moment for requests on their way is enough. Where
	// nobody does that, it must be longer than the readiness check takes to fail.
	DrainDelay time.Duration
	// DrainTimeout is how long requests that have begun may take; less than ECS's stop timeout.
	DrainTimeout time.Duration
}

func config(getenv func(string) string) settings {
	s := settings{Address: ":8080", Version: version, DrainDelay: time.Second, DrainTimeout: 20 * time.Second}
	if port := getenv("PORT"); port != "" {
		s.Address = ":" + port
	}
	if s.Version == "" {
		s.Version = getenv("VERSION")
	}
	if s.Version == "" {
		s.Version = commit()
	}
	if d, err := time.ParseDuration(getenv("DRAIN_DELAY")); err == nil && d >= 0 {
		s.DrainDelay = d
	}
	return s
}

// commit is the one the binary was built from, short.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 7 {
			return s.Value[:7]
		}
	}
	return "unknown"
}

func run(ctx context.Context, log *slog.Logger, s settings) error {
	listener, err := net.Listen("tcp", s.Address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	return serve(ctx, log, s, listener)
}

func serve(ctx context.Context, log *slog.Logger, s settings, listener net.Listener) error {
	app := newApp(s.Version, log)
	server := &http.Server{
		Handler:           app,
		ReadHeaderTimeout: 10 * time.Second,
		// Longer than the balancer keeps idle connections (60 s): were it shorter, the balancer would
		// now and then send a request on a connection that is just being closed.
		IdleTimeout: 2 * time.Minute,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	log.Info("ready", "address", listener.Addr().String(), "version", s.Version)

	select {
	case err := <-ended:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
	}
	// Not ready from here on; connections are closed after their next answer, never before one, so
	// that no request is lost on a connection the balancer still holds open.
	app.draining.Store(true)
	log.Info("draining", "delay", s.DrainDelay.String())
	time.Sleep(s.DrainDelay)

	grace, cancel := context.WithTimeout(context.Background(), s.DrainTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return fmt.Errorf("ending the last requests: %w", err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	log.Info("stopped", "requests", app.requests.Load())
	return nil
}
