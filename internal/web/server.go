package web

import (
	"context"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"
)

//go:embed assets
var files embed.FS

// Server answers the dashboard's requests.
type Server struct {
	source Source
	key    string
	fresh  time.Duration
	now    func() time.Time
	log    func(error)

	looking chan struct{} // holds one token: who has it may look and change what follows
	last    *Picture
	at      time.Time
}

// New is a dashboard of the source for those who have the key. A picture is shown for the time fresh before
// the source is asked again, and only when somebody looks. What goes wrong beyond what a page can say is told
// to log.
func New(source Source, key string, fresh time.Duration, log func(error)) *Server {
	s := &Server{source: source, key: key, fresh: fresh, now: time.Now, log: log, looking: make(chan struct{}, 1)}
	s.looking <- struct{}{}
	return s
}

// Handler guards and routes. It answers only to names of this machine, so that no page elsewhere can
// read it by giving its own name the loopback address; only to who has the key, because this machine may
// have other users; and takes verdicts only from its own pages.
func (s *Server) Handler() http.Handler {
	assets, err := fs.Sub(files, "assets")
	if err != nil { // only if the folder above is renamed
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /assets/", http.StripPrefix("/assets/", cached(http.FileServerFS(assets))))
	mux.HandleFunc("GET /{$}", s.page("services", func(p *Picture, _ *http.Request) any { return p }))
	mux.HandleFunc("GET /services/{service}", s.page("service", findService))
	mux.HandleFunc("GET /clusters/{cluster}", s.page("cluster", findCluster))
	mux.HandleFunc("GET /picture.json", s.picture)
	mux.HandleFunc("POST /services/{service}/environments/{environment}/verdict", s.verdict)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, errors.New("there is no such page"))
	})
	return guard(http.NewCrossOriginProtection().Handler(s.keyed(mux)))
}

func findService(p *Picture, r *http.Request) any {
	for i := range p.Services {
		if p.Services[i].Name == r.PathValue("service") {
			return &p.Services[i]
		}
	}
	return nil
}

func findCluster(p *Picture, r *http.Request) any {
	for i := range p.Clusters {
		if p.Clusters[i].Name == r.PathValue("cluster") {
			return &p.Clusters[i]
		}
	}
	return nil
}

// guard refuses other names of this machine than its own, and says what pages may do.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r.Host) {
			http.Error(w, "not allowed: this dashboard answers only to localhost and loopback addresses", http.StatusForbidden)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

const cookieName = "slipway-dashboard"

// keyed lets in who has the key: once in the address the dashboard printed, then in a cookie.
func (s *Server) keyed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key := r.URL.Query().Get("key"); key != "" && r.Method == http.MethodGet && s.fits(key) {
			http.SetCookie(w, &http.Cookie{Name: cookieName, Value: key, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
			if r.URL.Path == "/" { // out of the address bar, and of the history
				http.Redirect(w, r, "/", http.StatusSeeOther)
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		if c, err := r.Cookie(cookieName); err != nil || !s.fits(c.Value) {
			http.Error(w, "not allowed: open the address that slipway dashboard printed, with its key", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) fits(key string) bool {
	return subtle.ConstantTimeCompare([]byte(key), []byte(s.key)) == 1
}

func loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		next.ServeHTTP(w, r)
	})
}

// alone waits until nobody else looks or decides; done lets the next one.
func (s *Server) alone(ctx context.Context) (done func(), err error) {
	select {
	case <-s.looking:
		return func() { s.looking <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// look is the picture, not older than fresh. Many who ask at once are told of one look.
func (s *Server) look(ctx context.Context) (*Picture, error) {
	done, err := s.alone(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if s.last != nil && s.now().Sub(s.at) < s.fresh {
		return s.last, nil
	}
	p, err := s.source.Look(ctx)
	if err != nil {
		return nil, err
	}
	s.last, s.at = p, s.now()
	return p, nil
}

// decide passes a verdict on; the next look is a new one.
func (s *Server) decide(ctx context.Context, v Verdict) error {
	done, err := s.alone(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.last = nil
	return s.source.Decide(ctx, v)
}

func (s *Server) page(name string, of func(*Picture, *http.Request) any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p, err := s.look(r.Context())
		if err != nil {
			s.fail(w, r, http.StatusBadGateway, err)
			return
		}
		shown := of(p, r)
		if shown == nil {
			s.fail(w, r, http.StatusNotFound, fmt.Errorf("there is no %s of that name", name))
			return
		}
		s.write(w, http.StatusOK, name, p, shown)
	}
}

func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	p, err := s.look(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
		return
	}
	_ = json.NewEncoder(w).Encode(p) // the reader has gone, if it fails
}

// verdict takes what a form says. The digest is the one the person saw: what runs by now may be another.
func (s *Server) verdict(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		s.fail(w, r, http.StatusBadRequest, fmt.Errorf("reading the form: %w", err))
		return
	}
	v := Verdict{Service: r.PathValue("service"), Environment: r.PathValue("environment"), Digest: r.PostForm.Get("digest"), Note: strings.TrimSpace(r.PostForm.Get("note"))}
	switch r.PostForm.Get("verdict") {
	case "approve":
		v.Approve = true
	case "reject":
	default:
		s.fail(w, r, http.StatusBadRequest, errors.New(`verdict must be "approve" or "reject"`))
		return
	}
	if err := s.decide(r.Context(), v); err != nil {
		s.fail(w, r, http.StatusConflict, err)
		return
	}
	http.Redirect(w, r, servicePath(v.Service), http.StatusSeeOther)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, err error) {
	if r.Context().Err() != nil {
		return // nobody reads it
	}
	s.write(w, status, "problem", &Picture{At: s.now()}, err.Error())
}
