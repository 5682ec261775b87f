// Notes keeps notes in files. Its data has a version: "notes migrate" brings it there, and the service does
// not start on data of another one. "notes watch" is the sidecar: it reports how much is kept.
package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const wanted = "2" // version of the data

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	dir, do := os.Getenv("DATA"), serve
	if len(os.Args) > 1 {
		do = map[string]func(context.Context, string) error{"migrate": migrate, "watch": watch}[os.Args[1]]
	}
	if do == nil {
		fmt.Fprintln(os.Stderr, "usage: notes [migrate|watch]")
		os.Exit(2)
	}
	if err := do(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func migrate(_ context.Context, dir string) error {
	if err := os.WriteFile(filepath.Join(dir, "VERSION"), []byte(wanted), 0o644); err != nil {
		return err
	}
	fmt.Println("data is at version", wanted)
	return nil
}

func watch(ctx context.Context, dir string) error {
	for ctx.Err() == nil {
		notes, _ := filepath.Glob(filepath.Join(dir, "*.note")) // the pattern is good
		fmt.Println(len(notes), "notes")
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
	}
	return nil
}

func serve(ctx context.Context, dir string) error {
	key := os.Getenv("API_KEY")
	if key == "" {
		return errors.New("API_KEY is not set")
	}
	if v, err := os.ReadFile(filepath.Join(dir, "VERSION")); err != nil || string(v) != wanted {
		return fmt.Errorf("data is at version %q, wanted %s: run notes migrate", v, wanted)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("PUT /notes/{name}", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+key)) != 1 {
			http.Error(w, "the API key is wrong", http.StatusUnauthorized)
			return
		}
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err == nil {
			err = os.WriteFile(file(dir, r), text, 0o644)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /notes/{name}", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file(dir, r)) })
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = server.Shutdown(end)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func file(dir string, r *http.Request) string {
	return filepath.Join(dir, strings.Trim(filepath.Base(r.PathValue("name")), ".")+".note")
}
