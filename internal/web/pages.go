package web

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// pages are parsed when the program starts: a template with a fault stops every test.
var pages = func() map[string]*template.Template {
	out := map[string]*template.Template{}
	for _, name := range []string{"services", "service", "cluster", "problem"} {
		out[name] = template.Must(template.New("layout.html").Funcs(functions).ParseFS(files, "assets/layout.html", "assets/"+name+".html"))
	}
	return out
}()

var functions = template.FuncMap{
	"short":       short,
	"class":       class,
	"when":        func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" },
	"machine":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"servicePath": servicePath,
	"clusterPath": func(name string) string { return "/clusters/" + url.PathEscape(name) },
	"bars":        bars,
	"colour":      func(groups []string, g string) string { return fmt.Sprintf("c%d", index(groups, g)%12) },
	"columns":     columns,
	"in":          in,
	"safeLink":    safeLink,
}

func servicePath(name string) string { return "/services/" + url.PathEscape(name) }

// short is a digest people can tell from others.
func short(digest string) string {
	hex, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(hex) < 12 {
		return digest
	}
	return hex[:12]
}

// class is the style of a state, an outcome or a status of ECS.
func class(word any) string {
	switch strings.ToLower(fmt.Sprint(word)) {
	case "serving", "succeeded", "successful", "healthy", "running", "on demand", "active":
		return "good"
	case "deploying", "rolling back", "pending", "in_progress", "provisioning", "activating", "initial", "draining", "rollback_in_progress", "rollback_requested", "stop_requested", "withdrawn":
		return "busy"
	case "rolled back", "failed", "degraded", "unhealthy", "stopped", "rollback_successful", "rollback_failed", "unavailable":
		return "bad"
	}
	return "plain"
}

// safeLink is an address a page may lead to, else nothing: build URLs come from other people's CI.
func safeLink(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	return s
}

// columns are the names of all environments, in the order services have them.
func columns(services []Service) []string {
	var out []string
	for _, s := range services {
		for _, e := range s.Environments {
			if index(out, e.Name) == len(out) {
				out = append(out, e.Name)
			}
		}
	}
	return out
}

// in is the service's environment of that name, if it has it.
func in(s Service, name string) *Environment {
	for i := range s.Environments {
		if s.Environments[i].Name == name {
			return &s.Environments[i]
		}
	}
	return nil
}

func index(list []string, s string) int {
	for i := range list {
		if list[i] == s {
			return i
		}
	}
	return len(list)
}

// bar is a piece of an instance's width, in hundredths of it.
type bar struct {
	X, Width     string
	Class, Title string
}

// bars are what the groups take of an instance, one beside the other.
func bars(groups []string, i Instance, memory bool) []bar {
	whole := i.CPU.Whole
	if memory {
		whole = i.Memory.Whole
	}
	if whole <= 0 {
		return nil
	}
	var out []bar
	at := 0.0
	for _, s := range i.Shares {
		n, unit := s.CPU, "CPU units"
		if memory {
			n, unit = s.Memory, "MiB"
		}
		width := min(float64(n)*100/float64(whole), 100-at)
		if width <= 0 {
			continue
		}
		out = append(out, bar{X: fmt.Sprintf("%.2f", at), Width: fmt.Sprintf("%.2f", width), Class: fmt.Sprintf("c%d", index(groups, s.Group)%12),
			Title: fmt.Sprintf("%s: %d tasks, %d %s", s.Group, s.Tasks, n, unit)})
		at += width
	}
	return out
}

type shownPage struct {
	Page    string
	Picture *Picture
	This    any
}

// write draws the whole page before it sends any of it.
func (s *Server) write(w http.ResponseWriter, status int, name string, p *Picture, this any) {
	var b bytes.Buffer
	if err := pages[name].Execute(&b, shownPage{name, p, this}); err != nil {
		s.log(fmt.Errorf("drawing the page %s: %w", name, err))
		http.Error(w, "the page could not be drawn; the dashboard's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the reader has gone, if it fails
}
