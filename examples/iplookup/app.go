package main

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

type app struct {
	version  string
	host     string
	log      *slog.Logger
	mux      *http.ServeMux
	draining atomic.Bool
	requests atomic.Int64
}

func newApp(version string, log *slog.Logger) *app {
	host, _ := os.Hostname()
	a := &app{version: version, host: host, log: log, mux: http.NewServeMux()}
	a.mux.HandleFunc("GET /healthz", a.health)
	a.mux.HandleFunc("GET /", a.lookup)
	return a
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	w.Header().Set("X-Version", a.version)
	a.mux.ServeHTTP(w, r)
}

// health is what the load balancer asks: 200 while the process takes requests.
func (a *app) health(w http.ResponseWriter, _ *http.Request) {
	if a.draining.Load() {
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
}

type answer struct {
	IP      string `json:"ip"`
	Version string `json:"version"`
	Host    string `json:"host"` // which task answered
}

func (a *app) lookup(w http.ResponseWriter, r *http.Request) {
	a.requests.Add(1)
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer{IP: callerIP(r), Version: a.version, Host: a.host}); err != nil {
		a.log.Warn("answer not sent", "error", err)
	}
}

// callerIP is the last address of X-Forwarded-For: the one the load balancer added. Those before it
// are whatever the client wrote.
func callerIP(r *http.Request) string {
	if values := r.Header.Values("X-Forwarded-For"); len(values) > 0 {
		parts := strings.Split(values[len(values)-1], ",")
		if ip := net.ParseIP(strings.TrimSpace(parts[len(parts)-1])); ip != nil {
			return ip.String()
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
