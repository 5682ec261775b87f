package execclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/slipway-ecs/slipway/internal/execclient"
	"github.com/slipway-ecs/slipway/internal/ssmchannel"
)

// agent is the other end of a session, as a test wants it.
type agent struct {
	*testing.T
	c    *websocket.Conn
	open ssmchannel.Open
	sent int64
}

// serve runs script as the agent and returns the session's URL.
func serve(t *testing.T, script func(a *agent)) string {
	server := httptest.NewServer(websocket.Handler(func(c *websocket.Conn) {
		a := &agent{T: t, c: c}
		if err := websocket.JSON.Receive(c, &a.open); err != nil {
			t.Errorf("opening: %v", err)
			return
		}
		script(a)
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/channel"
}

func (a *agent) message(kind string, sequence int64, payload uint32, data string) {
	m := ssmchannel.Message{Type: kind, Sequence: sequence, PayloadType: payload, Payload: []byte(data)}
	m.ID[0] = byte(sequence + 1)
	if err := websocket.Message.Send(a.c, m.Append(nil)); err != nil {
		a.Errorf("sending: %v", err)
	}
}

func (a *agent) say(payload uint32, data string) {
	a.message(ssmchannel.Output, a.sent, payload, data)
	a.sent++
}

func (a *agent) acknowledge(m *ssmchannel.Message) {
	data, _ := json.Marshal(ssmchannel.Acknowledgement{Type: m.Type, ID: ssmchannel.UUID(m.ID), Sequence: m.Sequence, Sequential: true})
	a.message(ssmchannel.Acknowledge, 0, 0, string(data))
}

// next is the next message of the client; nil at the end.
func (a *agent) next() *ssmchannel.Message {
	var data []byte
	if websocket.Message.Receive(a.c, &data) != nil {
		return nil
	}
	m, err := ssmchannel.Parse(data)
	if err != nil {
		a.Errorf("the client sent: %v", err)
	}
	return m
}

// input is the next that the client types, which is acknowledged.
func (a *agent) input() *ssmchannel.Message {
	for {
		m := a.next()
		if m == nil || m.Type == ssmchannel.Input {
			if m != nil {
				a.acknowledge(m)
			}
			return m
		}
	}
}

func (a *agent) shake(actions string) *ssmchannel.HandshakeAnswer {
	a.say(ssmchannel.HandshakeRequest, `{"AgentVersion":"3.3.0.0","RequestedClientActions":[`+actions+`]}`)
	var answer ssmchannel.HandshakeAnswer
	if m := a.input(); m == nil || m.PayloadType != ssmchannel.HandshakeResponse || json.Unmarshal(m.Payload, &answer) != nil {
		a.Error("the client does not shake hands")
	}
	return &answer
}

const sessionType = `{"ActionType":"SessionType","ActionParameters":{"SessionType":"InteractiveCommands","Properties":{}}}`

func (a *agent) begin() {
	answer := a.shake(sessionType)
	if len(answer.Actions) != 1 || answer.Actions[0].Status != ssmchannel.Success {
		a.Errorf("answered %+v", answer)
	}
	a.say(ssmchannel.HandshakeComplete, `{"HandshakeTimeToComplete":1,"CustomerMessage":""}`)
}

func (a *agent) end(said string) {
	data, _ := json.Marshal(ssmchannel.Closed{Type: ssmchannel.ChannelClosed, Output: said})
	a.message(ssmchannel.ChannelClosed, 0, 0, string(data))
}

// screen is safe to read while it is written.
type screen struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func run(t *testing.T, url string, terminal execclient.Terminal) (execclient.Outcome, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out := &screen{}
	terminal.Out = out
	if terminal.In == nil {
		in, _ := io.Pipe() // nobody types
		terminal.In = in
	}
	end, err := execclient.Run(ctx, execclient.Session{URL: url, Token: "secret"}, terminal)
	return end, out.String(), err
}

func TestSession(t *testing.T) {
	url := serve(t, func(a *agent) {
		if a.open.Token != "secret" || a.open.SchemaVersion != "1.0" || !strings.HasPrefix(a.open.ClientID, ssmchannel.TellsExitCode) {
			a.Errorf("opened with %+v", a.open)
		}
		a.begin()
		if m := a.input(); m == nil || m.PayloadType != ssmchannel.Size || string(m.Payload) != `{"cols":132,"rows":43}` {
			a.Errorf("size: %+v", m)
		}
		if m := a.input(); m == nil || m.PayloadType != ssmchannel.Text || string(m.Payload) != "ls\n\x04" || m.Sequence != 2 {
			a.Errorf("typed: %+v", m)
		}
		a.say(ssmchannel.Text, "one ")
		a.say(ssmchannel.ExitCode, "3")
		a.end("")
	})
	end, said, err := run(t, url, execclient.Terminal{In: &endsWithData{"ls\n"}, Ends: []byte{4}, Size: func() (int, int, bool) { return 132, 43, true }})
	if err != nil || said != "one " || !end.Known || end.ExitCode != 3 {
		t.Errorf("%+v %v %q", end, err, said)
	}
}

// endsWithData is a reader whose last bytes come with the end.
type endsWithData struct{ text string }

func (r *endsWithData) Read(p []byte) (int, error) { return copy(p, r.text), io.EOF }

func TestMessagesThatAreLostOrComeTwice(t *testing.T) {
	in, keys := io.Pipe()
	url := serve(t, func(a *agent) {
		a.begin()
		a.message(ssmchannel.Output, 4, ssmchannel.Text, "c")
		a.message(ssmchannel.Output, 2, ssmchannel.Text, "a")
		a.message(ssmchannel.Output, 2, ssmchannel.Text, "a")
		a.message(ssmchannel.Output, 3, ssmchannel.Text, "b")
		var acknowledged []int64
		for len(acknowledged) < 5 {
			m := a.next()
			if m == nil {
				a.Error("the client is gone")
				return
			}
			var ack ssmchannel.Acknowledgement
			if m.Type == ssmchannel.Acknowledge && json.Unmarshal(m.Payload, &ack) == nil {
				acknowledged = append(acknowledged, ack.Sequence)
			}
		}
		// 1 ended the handshake.
		if want := []int64{1, 4, 2, 2, 3}; !slices.Equal(acknowledged, want) {
			a.Errorf("acknowledged %v, want %v", acknowledged, want)
		}
		go func() { _, _ = keys.Write([]byte("x")) }()
		first, again := a.next(), a.next() // no acknowledgement: it comes again
		if first == nil || again == nil || first.Sequence != again.Sequence || string(again.Payload) != "x" {
			a.Errorf("sent %+v, then %+v", first, again)
		}
		a.end("")
	})
	if _, said, err := run(t, url, execclient.Terminal{In: in}); err != nil || said != "abc" {
		t.Errorf("%v %q", err, said)
	}
}

func TestEndsOfSessions(t *testing.T) {
	said := "Your session timed out."
	end, _, err := run(t, serve(t, func(a *agent) { a.begin(); a.end(said + "\n") }), execclient.Terminal{})
	if err != nil || end.Said != said || end.Known {
		t.Errorf("%+v %v", end, err)
	}
	_, _, err = run(t, serve(t, func(a *agent) {
		answer := a.shake(sessionType + `,{"ActionType":"KMSEncryption","ActionParameters":{"KMSKeyId":"k"}}`)
		if len(answer.Actions) != 2 || answer.Actions[1].Status != ssmchannel.Unsupported {
			a.Errorf("answered %+v", answer)
		}
		a.next()
	}), execclient.Terminal{})
	if !errors.Is(err, execclient.ErrEncrypted) {
		t.Errorf("an encrypted session: %v", err)
	}
	if _, _, err = run(t, serve(t, func(a *agent) { a.begin() }), execclient.Terminal{}); err == nil || !strings.Contains(err.Error(), "connection is lost") {
		t.Errorf("a lost connection: %v", err)
	}
	if _, _, err = run(t, serve(t, func(a *agent) {}), execclient.Terminal{}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a silent agent: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, _ := io.Pipe()
	_, err = execclient.Run(ctx, execclient.Session{URL: serve(t, func(a *agent) { a.begin(); cancel(); a.next(); a.next(); a.next() })}, execclient.Terminal{In: in, Out: io.Discard})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("when it is given up: %v", err)
	}
	_, err = execclient.Run(t.Context(), execclient.Session{URL: "https://x/secret"}, execclient.Terminal{})
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("no WebSocket: %v", err)
	}
}
