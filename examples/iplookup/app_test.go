package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestLookup(t *testing.T) {
	for _, tc := range []struct {
		name      string
		remote    string
		forwarded []string
		want      string
	}{
		{"direct", "192.0.2.1:4711", nil, "192.0.2.1"},
		{"direct, IPv6", "[2001:db8::1]:4711", nil, "2001:db8::1"},
		{"behind a balancer", "10.0.0.1:1", []string{"198.51.100.7"}, "198.51.100.7"},
		{"what the client claims does not count", "10.0.0.1:1", []string{"6.6.6.6, 198.51.100.7"}, "198.51.100.7"},
		{"nor in a header of its own", "10.0.0.1:1", []string{"6.6.6.6", "198.51.100.7"}, "198.51.100.7"},
		{"nonsense", "10.0.0.1:1", []string{"<script>"}, "10.0.0.1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/any/path", nil)
			r.RemoteAddr = tc.remote
			for _, f := range tc.forwarded {
				r.Header.Add("X-Forwarded-For", f)
			}
			w := httptest.NewRecorder()
			newApp("v1", quiet()).ServeHTTP(w, r)
			var got answer
			if err := json.NewDecoder(w.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			if w.Code != http.StatusOK || got.IP != tc.want || got.Version != "v1" {
				t.Errorf("%d %+v, want %s", w.Code, got, tc.want)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	a := newApp("v1", quiet())
	for _, draining := range []bool{false, true} {
		a.draining.Store(draining)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		want := http.StatusOK
		if draining {
			want = http.StatusServiceUnavailable
		}
		if w.Code != want {
			t.Errorf("draining %v: %d", draining, w.Code)
		}
	}
}

func TestConfig(t *testing.T) {
	env := map[string]string{"PORT": "9000", "VERSION": "abc1234", "DRAIN_DELAY": "250ms"}
	s := config(func(k string) string { return env[k] })
	if s.Address != ":9000" || s.Version != "abc1234" || s.DrainDelay != 250*time.Millisecond {
		t.Errorf("%+v", s)
	}
}

// start runs the service on a free port; stop is what SIGTERM does.
func start(t *testing.T, s settings) (address string, stop func(), ended <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- serve(ctx, quiet(), s, listener) }()
	return listener.Addr().String(), cancel, done
}

// An open connection is answered once more while draining, and told that it was the last time.
func TestDrainKeepsOpenConnections(t *testing.T) {
	address, stop, ended := start(t, settings{DrainDelay: 300 * time.Millisecond, DrainTimeout: 5 * time.Second})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	ask := func(path string) *http.Response {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path)
		response, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatalf("GET %s: %v", path, err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response
	}
	if r := ask("/"); r.StatusCode != http.StatusOK || r.Close {
		t.Fatalf("before: %d, close %v", r.StatusCode, r.Close)
	}
	stop()
	deadline := time.Now().Add(200 * time.Millisecond)
	for ready := true; ready && time.Now().Before(deadline); {
		response, err := http.Get("http://" + address + "/healthz")
		if err != nil {
			t.Fatalf("a new connection while draining: %v", err)
		}
		response.Body.Close()
		ready = response.StatusCode == http.StatusOK
	}
	if r := ask("/"); r.StatusCode != http.StatusOK || !r.Close {
		t.Errorf("draining: %d, close %v", r.StatusCode, r.Close)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Clients that stop sending when readiness fails, as a load balancer does, see no failure.
func TestNoRequestFails(t *testing.T) {
	address, stop, ended := start(t, settings{DrainDelay: 300 * time.Millisecond, DrainTimeout: 20 * time.Second})
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	get := func(path string) (int, error) {
		response, err := client.Get("http://" + address + path)
		if err != nil {
			return 0, err
		}
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode, response.Body.Close()
	}
	var clients sync.WaitGroup
	for range 8 {
		clients.Add(1)
		go func() {
			defer clients.Done()
			for n := 0; ; n++ {
				if status, err := get("/healthz"); err != nil || status != http.StatusOK {
					if err != nil {
						t.Errorf("readiness, request %d: %v", n, err)
					}
					return
				}
				if status, err := get("/"); err != nil || status != http.StatusOK {
					t.Errorf("request %d: %d, %v", n, status, err)
					return
				}
			}
		}()
	}
	time.Sleep(50 * time.Millisecond) // let them get going
	stop()
	clients.Wait()
	client.CloseIdleConnections() // Shutdown gives a connection that was never used five seconds
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
