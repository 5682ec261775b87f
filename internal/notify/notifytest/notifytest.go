// Package notifytest receives what is told: a mail server and a web server that keep what they get. Only
// tests import it.
package notifytest

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Mail is one that was received.
type Mail struct {
	From    string
	To      []string
	Subject string // decoded
	ID      string
	Body    string // decoded
	User    string // who logged in; empty = nobody
	TLS     bool
}

// MailServer speaks as much of SMTP as a client that sends mail needs: EHLO, STARTTLS, AUTH PLAIN, MAIL,
// RCPT, DATA, RSET, NOOP and QUIT.
// https://www.rfc-editor.org/rfc/rfc5321
type MailServer struct {
	Address string // host:port
	mu      sync.Mutex
	mails   []Mail
	faults  []string // answers to MAIL, before it is taken
	tls     *tls.Config
	login   string // user and password, joined by a zero byte; empty = none is asked
}

// StartMail serves until the test ends. With a configuration it offers STARTTLS; with a login it wants one.
func StartMail(t testing.TB, cfg *tls.Config, login string) *MailServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &MailServer{Address: l.Addr().String(), tls: cfg, login: login}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			all.Go(func() { defer func() { _ = c.Close() }(); s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return s
}

// Fail answers the next mails so, one each: "451 later".
func (s *MailServer) Fail(answers ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, answers...)
}

// Mails are those received.
func (s *MailServer) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

func (s *MailServer) fault() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults) == 0 {
		return ""
	}
	f := s.faults[0]
	s.faults = s.faults[1:]
	return f
}

func (s *MailServer) serve(c net.Conn) {
	r := bufio.NewReader(c)
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(c, format+"\r\n", args...) }
	var m Mail
	secure, user := false, ""
	say("220 sink.example.com ESMTP")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "EHLO", "HELO":
			offers := []string{"sink.example.com", "8BITMIME"}
			if s.tls != nil && !secure {
				offers = append(offers, "STARTTLS")
			}
			if s.login != "" && secure {
				offers = append(offers, "AUTH PLAIN")
			}
			for i, o := range offers {
				say("250%s%s", map[bool]string{true: " ", false: "-"}[i == len(offers)-1], o)
			}
		case "STARTTLS":
			say("220 go ahead")
			secured := tls.Server(c, s.tls)
			if secured.Handshake() != nil {
				return
			}
			c, r, secure = secured, bufio.NewReader(secured), true
		case "AUTH":
			_, encoded, _ := strings.Cut(rest, " ")
			got, _ := base64.StdEncoding.DecodeString(encoded)
			if strings.TrimPrefix(string(got), "\x00") != s.login {
				say("535 5.7.8 not you")
				continue
			}
			user, _, _ = strings.Cut(s.login, "\x00")
			say("235 welcome")
		case "MAIL":
			if f := s.fault(); f != "" {
				say("%s", f)
				continue
			}
			if s.login != "" && user == "" {
				say("530 5.7.0 log in first")
				continue
			}
			m = Mail{From: address(rest), User: user, TLS: secure}
			say("250 ok")
		case "RCPT":
			m.To = append(m.To, address(rest))
			say("250 ok")
		case "DATA":
			say("354 end with a dot")
			var text strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				text.WriteString(strings.TrimPrefix(line, "."))
			}
			m.read(text.String())
			s.mu.Lock()
			s.mails = append(s.mails, m)
			s.mu.Unlock()
			say("250 taken")
		case "RSET", "NOOP":
			say("250 ok")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("502 5.5.1 not known")
		}
	}
}

// address is what is in brackets: "FROM:<a@b.c> BODY=8BITMIME".
func address(s string) string {
	_, s, _ = strings.Cut(s, "<")
	s, _, _ = strings.Cut(s, ">")
	return s
}

func (m *Mail) read(text string) {
	got, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		m.Body = "not a mail: " + err.Error() + "\n" + text
		return
	}
	m.Subject, _ = new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	m.ID = got.Header.Get("Message-ID")
	body, _ := io.ReadAll(decoded(got))
	m.Body = strings.ReplaceAll(string(body), "\r\n", "\n")
}

// Post is a request that was received.
type Post struct {
	Path, Body string
	Header     http.Header
}

// WebServer takes posts.
type WebServer struct {
	URL     string
	mu      sync.Mutex
	posts   []Post
	answers []int
}

// StartWeb serves until the test ends.
func StartWeb(t testing.TB) *WebServer {
	s := &WebServer{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.answers) > 0 {
			code := s.answers[0]
			s.answers = s.answers[1:]
			if code != http.StatusOK {
				w.WriteHeader(code)
				return
			}
		}
		s.posts = append(s.posts, Post{r.URL.Path, string(body), r.Header})
	}))
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Answer makes the next answers; posts that are not answered with 200 are not kept.
func (s *WebServer) Answer(codes ...int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, codes...)
}

// Posts are those taken.
func (s *WebServer) Posts() []Post {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.posts)
}
