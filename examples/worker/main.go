// Worker takes jobs from a queue, one at a time, and finishes the one in hand before it ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	url := os.Getenv("QUEUE_URL")
	fmt.Println("worker takes jobs from", url)
	for ctx.Err() == nil {
		job, err := next(ctx, url)
		switch {
		case err != nil && ctx.Err() == nil:
			fmt.Println("error: asking for a job:", err)
			pause(ctx, 5*time.Second)
		case job == "":
			pause(ctx, time.Second)
		default:
			fmt.Println("done:", job) // the work; SIGTERM does not cut it off
		}
	}
	fmt.Println("worker ends")
}

// next asks the queue for a job: 200 with the job, or 204 when there is none. Put your queue's client here.
func next(ctx context.Context, url string) (string, error) {
	if url == "" {
		return "", errors.New("QUEUE_URL is not set")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		job, err := io.ReadAll(io.LimitReader(resp.Body, 256<<10))
		return string(job), err
	case http.StatusNoContent:
		return "", nil
	}
	return "", errors.New(resp.Status)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
