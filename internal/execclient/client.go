// Package execclient is a user's end of an ECS Exec session: it joins a terminal here to the one in the
// container, over the data channel that Systems Manager keeps between them, as AWS's
// session-manager-plugin does.
package execclient

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/websocket"

	"github.com/slipway-ecs/slipway/internal/ssmchannel"
)

// Session is what ECS gives for a session; it can be used once.
type Session struct{ URL, Token string }

// Terminal is the terminal here, or what stands for it.
type Terminal struct {
	In  io.Reader
	Out io.Writer
	// Size is how large it is now; nil: it has none.
	Size func() (columns, rows int, ok bool)
	// Ends is typed when In ends, and the command is to be told: 0x04, the end of a terminal's input.
	Ends []byte
}

// Outcome is how a session has ended.
type Outcome struct {
	// ExitCode is the command's, if Known: agents of AWS do not tell it of what runs with a terminal.
	ExitCode int
	Known    bool
	// Said is why the other side ended the session, in its words; often empty.
	Said string
}

// ErrEncrypted means that the cluster's sessions are encrypted with a key of KMS.
var ErrEncrypted = errors.New("not supported: sessions encrypted with a key of KMS")

const (
	clientVersion = "1.2.0.0"              // of the protocol, as AWS's plugin
	answersWithin = 30 * time.Second       // the agent's first message
	keepAlive     = time.Minute            // gateways drop idle connections
	resendAfter   = time.Second            // what was not acknowledged
	lookEvery     = 250 * time.Millisecond // for what is to be sent again, and for the terminal's size
	waiting       = 1000                   // messages that came too early, at most
)

// Run is the session until the command ends, the agent ends it, or ctx does.
func Run(ctx context.Context, s Session, t Terminal) (Outcome, error) {
	ws, err := dial(ctx, s.URL)
	if err != nil {
		return Outcome{}, fmt.Errorf("opening the session's channel: %w", err)
	}
	ws.MaxPayloadBytes = 2 * ssmchannel.MaxPayload
	c := &channel{ws: ws, t: t, unacked: map[int64]*sent{}, early: map[int64]*ssmchannel.Message{}, began: make(chan struct{}), sized: make(chan struct{}), paused: make(chan struct{}), ended: make(chan struct{})}
	close(c.paused) // it is not
	stop := context.AfterFunc(ctx, func() { _ = ws.Close() })
	defer func() {
		stop()
		close(c.ended)
		_ = ws.Close()
		c.loops.Wait()
	}()
	open := ssmchannel.Open{SchemaVersion: "1.0", RequestID: rand.Text(), Token: s.Token, ClientID: ssmchannel.TellsExitCode + rand.Text(), ClientVersion: clientVersion}
	if err := websocket.JSON.Send(ws, open); err != nil {
		return Outcome{}, fmt.Errorf("opening the session's channel: %w", err)
	}
	c.loops.Go(c.tend)
	go c.input() // it may wait for a key for ever: nothing can end reading a terminal
	err = c.receive()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return c.outcome, err
}

// channel is a session in use.
type channel struct {
	ws      *websocket.Conn
	t       Terminal
	outcome Outcome
	next    int64                         // of the agent's messages
	early   map[int64]*ssmchannel.Message // of later ones
	start   sync.Once
	began   chan struct{} // closed when the agent is ready
	sized   chan struct{} // closed when it knows the terminal's size: typing may begin
	ended   chan struct{}
	loops   sync.WaitGroup

	mu       sync.Mutex // of what follows, and of writing
	sequence int64
	unacked  map[int64]*sent
	paused   chan struct{} // closed while the agent takes input
}

type sent struct {
	data []byte
	at   time.Time
}

func (c *channel) send(payload uint32, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &ssmchannel.Message{Type: ssmchannel.Input, Created: time.Now().UnixMilli(), Sequence: c.sequence, PayloadType: payload, Payload: data}
	if c.sequence == 0 {
		m.Flags = 1 // the first
	}
	_, _ = rand.Read(m.ID[:]) // never fails
	x := &sent{m.Append(nil), time.Now()}
	c.unacked[c.sequence] = x
	c.sequence++
	return websocket.Message.Send(c.ws, x.data)
}

func (c *channel) acknowledge(m *ssmchannel.Message) {
	data, err := json.Marshal(ssmchannel.Acknowledgement{Type: m.Type, ID: ssmchannel.UUID(m.ID), Sequence: m.Sequence, Sequential: true})
	if err != nil {
		return // such a structure has no value that JSON lacks
	}
	ack := &ssmchannel.Message{Type: ssmchannel.Acknowledge, Created: time.Now().UnixMilli(), Flags: 3, Payload: data}
	_, _ = rand.Read(ack.ID[:]) // never fails
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = websocket.Message.Send(c.ws, ack.Append(nil)) // what came before a connection broke is still to be read
}

// receive handles what comes until the channel is closed.
func (c *channel) receive() error {
	_ = c.ws.SetReadDeadline(time.Now().Add(answersWithin)) // a connection without deadlines has none to miss
	for first := true; ; first = false {
		var data []byte
		if err := websocket.Message.Receive(c.ws, &data); err != nil {
			if first {
				return fmt.Errorf("the agent in the container does not answer: %w", err)
			}
			return fmt.Errorf("the session's connection is lost: %w", err)
		}
		_ = c.ws.SetReadDeadline(time.Time{})
		m, err := ssmchannel.Parse(data)
		if err != nil {
			return fmt.Errorf("reading a message: %w", err)
		}
		switch m.Type {
		case ssmchannel.Output:
			if err := c.output(m); err != nil {
				return err
			}
		case ssmchannel.Acknowledge:
			var ack ssmchannel.Acknowledgement
			if json.Unmarshal(m.Payload, &ack) == nil {
				c.mu.Lock()
				delete(c.unacked, ack.Sequence)
				c.mu.Unlock()
			}
		case ssmchannel.Pause, ssmchannel.Resume:
			c.pause(m.Type == ssmchannel.Pause)
		case ssmchannel.ChannelClosed:
			var end ssmchannel.Closed
			if json.Unmarshal(m.Payload, &end) == nil {
				c.outcome.Said = strings.TrimSpace(end.Output)
			}
			return nil
		}
	}
}

func (c *channel) pause(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.paused:
		if on {
			c.paused = make(chan struct{})
		}
	default:
		if !on {
			close(c.paused)
		}
	}
}

// output puts the agent's messages in order; one that comes again is acknowledged again.
func (c *channel) output(m *ssmchannel.Message) error {
	if m.Sequence > c.next && len(c.early) >= waiting {
		return nil // not acknowledged: it comes again
	}
	c.acknowledge(m)
	if m.Sequence < c.next {
		return nil
	}
	c.early[m.Sequence] = m
	for c.early[c.next] != nil {
		m := c.early[c.next]
		delete(c.early, c.next)
		c.next++
		if err := c.show(m); err != nil {
			return err
		}
	}
	return nil
}

func (c *channel) show(m *ssmchannel.Message) error {
	switch m.PayloadType {
	case ssmchannel.HandshakeRequest:
		return c.handshake(m.Payload)
	case ssmchannel.HandshakeComplete:
		c.start.Do(func() { close(c.began) })
	case ssmchannel.ExitCode:
		if code, err := strconv.Atoi(strings.TrimSpace(string(m.Payload))); err == nil {
			c.outcome.ExitCode, c.outcome.Known = code, true
		}
	case ssmchannel.Text, ssmchannel.ErrorText:
		c.start.Do(func() { close(c.began) }) // an agent that shakes no hands
		if _, err := c.t.Out.Write(m.Payload); err != nil {
			return fmt.Errorf("showing what came: %w", err)
		}
	}
	return nil
}

// handshake answers what the agent asks for.
func (c *channel) handshake(payload []byte) error {
	var ask ssmchannel.Handshake
	if err := json.Unmarshal(payload, &ask); err != nil {
		return fmt.Errorf("reading the agent's handshake: %w", err)
	}
	answer := ssmchannel.HandshakeAnswer{ClientVersion: clientVersion, Errors: []string{}}
	for _, a := range ask.Actions {
		done := ssmchannel.ActionAnswer{Type: a.Type, Status: ssmchannel.Success}
		if a.Type != "SessionType" {
			done.Status, done.Error = ssmchannel.Unsupported, "Unsupported action "+a.Type
			answer.Errors = append(answer.Errors, done.Error)
		}
		answer.Actions = append(answer.Actions, done)
	}
	data, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	if err := c.send(ssmchannel.HandshakeResponse, data); err != nil {
		return fmt.Errorf("answering the agent's handshake: %w", err)
	}
	if slices.ContainsFunc(ask.Actions, func(a ssmchannel.Action) bool { return a.Type == "KMSEncryption" }) {
		return ErrEncrypted
	}
	return nil
}

// input types what is typed here.
func (c *channel) input() {
	select {
	case <-c.sized:
	case <-c.ended:
		return
	}
	buf := make([]byte, 1024) // as AWS's plugin
	for {
		n, err := c.t.In.Read(buf)
		if err != nil {
			n += copy(buf[n:], c.t.Ends)
		}
		c.mu.Lock()
		paused := c.paused
		c.mu.Unlock()
		select {
		case <-paused:
		case <-c.ended:
			return
		}
		if n > 0 && c.send(ssmchannel.Text, slices.Clone(buf[:n])) != nil || err != nil {
			return // whoever receives tells of a broken connection
		}
	}
}

// tend sends again what was lost, tells of a new size of the terminal, and keeps the connection.
func (c *channel) tend() {
	look, alive := time.NewTicker(lookEvery), time.NewTicker(keepAlive)
	defer look.Stop()
	defer alive.Stop()
	var was ssmchannel.TerminalSize
	began := c.began
	for {
		select {
		case <-c.ended:
			return
		case <-alive.C:
			c.ping()
		case <-began:
			began = nil
			c.resize(&was)
			close(c.sized)
		case <-look.C:
			if began == nil {
				c.resize(&was)
			}
			c.resend()
		}
	}
}

func (c *channel) resize(was *ssmchannel.TerminalSize) {
	if c.t.Size == nil {
		return
	}
	columns, rows, ok := c.t.Size()
	is := ssmchannel.TerminalSize{Columns: uint32(max(columns, 0)), Rows: uint32(max(rows, 0))}
	if !ok || columns <= 0 || rows <= 0 || is == *was {
		return
	}
	if data, err := json.Marshal(is); err == nil && c.send(ssmchannel.Size, data) == nil {
		*was = is
	}
}

func (c *channel) resend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var late []int64
	for n, x := range c.unacked {
		if now.Sub(x.at) > resendAfter {
			late = append(late, n)
		}
	}
	slices.Sort(late)
	for _, n := range late {
		c.unacked[n].at = now
		if websocket.Message.Send(c.ws, c.unacked[n].data) != nil {
			return // whoever receives tells of a broken connection
		}
	}
}

func (c *channel) ping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, err := c.ws.NewFrameWriter(websocket.PingFrame); err == nil {
		_, _ = w.Write([]byte("keepalive")) // whoever receives tells of a broken connection
		_ = w.Close()
	}
}
