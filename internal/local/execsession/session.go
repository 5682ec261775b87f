// Package execsession is the other end of ECS Exec: sessions with a terminal in a container, over the
// data channel that AWS's session-manager-plugin and `slipway exec` speak.
package execsession

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"

	"github.com/slipway-ecs/slipway/internal/local/runtime"
	"github.com/slipway-ecs/slipway/internal/ssmchannel"
)

// Path is where sessions are served.
const Path = "/_slipway/exec/"

// unused is how long a session waits for its client; real time, as people are.
const unused = 5 * time.Minute

// Sessions are the sessions that have been opened.
type Sessions struct {
	// Container finds a running container of a task.
	Container func(task, name string) (runtime.Container, bool)
	// Address is the host:port clients reach this AWS at.
	Address string
	Log     *slog.Logger

	mu   sync.Mutex
	open map[string]*session
}

type session struct {
	id, token       string
	task, container string
	command         []string
	until           time.Time
}

// ErrNotConnected means that there is no running container to have a session with.
var ErrNotConnected = errors.New("the container is not running, or cannot have a terminal")

// Open prepares a session, and returns its id, its URL, and the token that lets one client use it once.
func (s *Sessions) Open(task, container, command string) (id, url, token string, err error) {
	words, err := Split(command)
	if err != nil {
		return "", "", "", err
	}
	if c, ok := s.Container(task, container); !ok {
		return "", "", "", ErrNotConnected
	} else if _, ok := c.(runtime.Terminal); !ok {
		return "", "", "", ErrNotConnected
	}
	raw := make([]byte, 48)
	_, _ = rand.Read(raw) // never fails
	x := &session{id: fmt.Sprintf("ecs-execute-command-%x", raw[:9])[:37], token: base64.RawURLEncoding.EncodeToString(raw[9:]), task: task, container: container, command: words, until: time.Now().Add(unused)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[string]*session{}
	}
	for k, old := range s.open {
		if time.Now().After(old.until) {
			delete(s.open, k)
		}
	}
	s.open[x.id] = x
	return x.id, "ws://" + s.Address + Path + x.id, x.token, nil
}

// take returns the session if the token is its own; it can be used once.
func (s *Sessions) take(id, token string) (*session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.open[id]
	if x == nil || time.Now().After(x.until) || subtle.ConstantTimeCompare([]byte(x.token), []byte(token)) != 1 {
		return nil, false
	}
	delete(s.open, id)
	return x, true
}

// ServeHTTP serves one session's data channel.
func (s *Sessions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := strings.TrimPrefix(r.URL.Path, Path)
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host { // no web page has business here
		http.Error(w, "sessions are not for web pages", http.StatusForbidden)
		return
	}
	websocket.Server{Handler: func(c *websocket.Conn) {
		c.MaxPayloadBytes = 2 * ssmchannel.MaxPayload
		if err := s.serve(r.Context(), c, id); err != nil && s.Log != nil {
			s.Log.Debug("a session has ended", "session", id, "reason", err)
		}
	}}.ServeHTTP(w, r)
}

// channel is a session in use.
type channel struct {
	c  *websocket.Conn
	id string

	next     int64 // of the client's messages
	tellExit bool

	mu       sync.Mutex
	sequence int64
}

func (ch *channel) send(kind string, payload uint32, flags uint64, data []byte) error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	m := &ssmchannel.Message{Type: kind, Created: time.Now().UnixMilli(), Flags: flags, PayloadType: payload, Payload: data}
	_, _ = rand.Read(m.ID[:]) // never fails
	if kind == ssmchannel.Output {
		m.Sequence = ch.sequence
		ch.sequence++
	}
	return websocket.Message.Send(ch.c, m.Append(nil))
}

func (ch *channel) sendJSON(kind string, payload uint32, flags uint64, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return ch.send(kind, payload, flags, data)
}

// receive returns the client's next message but acknowledgements, which it answers itself.
func (ch *channel) receive() (*ssmchannel.Message, error) {
	for {
		var data []byte
		if err := websocket.Message.Receive(ch.c, &data); err != nil {
			return nil, err
		}
		m, err := ssmchannel.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("reading a message: %w", err)
		}
		if m.Type != ssmchannel.Input {
			continue // the connection loses nothing, so what arrived need not be remembered
		}
		ack := ssmchannel.Acknowledgement{Type: m.Type, ID: ssmchannel.UUID(m.ID), Sequence: m.Sequence, Sequential: true}
		if err := ch.sendJSON(ssmchannel.Acknowledge, 0, 3, ack); err != nil {
			return nil, err
		}
		if m.Sequence < ch.next {
			continue // sent again, as its acknowledgement took long
		}
		ch.next = m.Sequence + 1
		return m, nil
	}
}

func (s *Sessions) serve(ctx context.Context, c *websocket.Conn, id string) error {
	defer c.Close()
	var open ssmchannel.Open
	if err := websocket.JSON.Receive(c, &open); err != nil {
		return fmt.Errorf("opening the channel: %w", err)
	}
	x, ok := s.take(id, open.Token)
	if !ok {
		return errors.New("no such session, or another's token")
	}
	ch := &channel{c: c, id: id, tellExit: strings.HasPrefix(open.ClientID, ssmchannel.TellsExitCode)}
	began := time.Now()
	ask := ssmchannel.Handshake{AgentVersion: "3.3.0.0", Actions: []ssmchannel.Action{{Type: "SessionType", Parameters: ssmchannel.SessionType{Type: "InteractiveCommands", Properties: map[string]string{}}}}}
	if err := ch.sendJSON(ssmchannel.Output, ssmchannel.HandshakeRequest, 1, ask); err != nil {
		return err
	}
	for {
		m, err := ch.receive()
		if err != nil {
			return err
		}
		if m.PayloadType == ssmchannel.HandshakeResponse {
			break
		}
	}
	if err := ch.sendJSON(ssmchannel.Output, ssmchannel.HandshakeComplete, 0, ssmchannel.HandshakeDone{Took: int64(time.Since(began))}); err != nil {
		return err
	}
	said := ""
	if err := s.converse(ctx, ch, x); err != nil {
		said = err.Error()
	}
	return ch.sendJSON(ssmchannel.ChannelClosed, 0, 2, ssmchannel.Closed{Type: ssmchannel.ChannelClosed, ID: rand.Text(), CreatedDate: time.Now().UTC().Format(time.RFC3339), SessionID: id, SchemaVersion: 1, Output: said})
}

// converse runs the command until it ends or the client goes. Its error is for the client.
func (s *Sessions) converse(ctx context.Context, ch *channel, x *session) error {
	c, ok := s.Container(x.task, x.container)
	if !ok {
		return ErrNotConnected
	}
	term, ok := c.(runtime.Terminal)
	if !ok {
		return ErrNotConnected
	}
	sh, err := term.Shell(ctx, x.command)
	if err != nil {
		return fmt.Errorf("running the command: %w", err)
	}
	defer sh.Close()
	go func() {
		defer sh.Close() // the client has gone, or talks nonsense
		for {
			m, err := ch.receive()
			if err != nil {
				return
			}
			switch m.PayloadType {
			case ssmchannel.Text:
				if _, err := sh.Write(m.Payload); err != nil {
					return
				}
			case ssmchannel.Size:
				var size ssmchannel.TerminalSize
				if json.Unmarshal(m.Payload, &size) == nil && size.Rows > 0 && size.Columns > 0 && size.Rows < 1<<16 && size.Columns < 1<<16 {
					_ = sh.Resize(uint16(size.Rows), uint16(size.Columns)) // a terminal of the wrong size is still one
				}
			}
		}
	}()
	buf := make([]byte, 1024) // as the agent's messages
	for {
		n, err := sh.Read(buf)
		if n > 0 {
			if err := ch.send(ssmchannel.Output, ssmchannel.Text, 0, buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return err
			}
			break
		}
	}
	code, err := sh.Wait()
	if err == nil && ch.tellExit {
		err = ch.send(ssmchannel.Output, ssmchannel.ExitCode, 0, []byte(strconv.Itoa(code)))
	}
	return err
}

// Split splits a command into words as a shell does: blanks, quotes, backslashes; nothing is expanded.
func Split(command string) ([]string, error) {
	var words []string
	var word strings.Builder
	in, quote := false, rune(0)
	rest := []rune(command)
	for i := 0; i < len(rest); i++ {
		r := rest[i]
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case r == '\\' && quote != '\'' && i+1 < len(rest):
			if next := rest[i+1]; quote == '"' && next != '"' && next != '\\' && next != '$' {
				word.WriteRune(r)
			} else {
				i++
				word.WriteRune(next)
			}
			in = true
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, in = r, true
		case r == ' ' || r == '\t' || r == '\n':
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		default:
			word.WriteRune(r)
			in = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("the command has a %c without its end", quote)
	}
	if in {
		words = append(words, word.String())
	}
	if len(words) == 0 {
		return nil, errors.New("the command is empty")
	}
	return words, nil
}
