// Package ssmchannel is the messages of a Session Manager data channel, which ECS Exec speaks: what
// goes over its WebSocket, as bytes. The one who serves and the one who uses a session share it.
//
// The layout is that of AWS's session-manager-plugin (github.com/aws/session-manager-plugin,
// src/message), big-endian:
//
//	0    header length, 4 bytes: 116     48   sequence number, 8     116  payload length, 4
//	4    message type, 32, blank padded  56   flags, 8               120  payload
//	36   schema version, 4: 1            64   message id, 16
//	40   created, 8: milliseconds        80   SHA-256 of the payload, 32
//	                                     112  payload type, 4
package ssmchannel

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Types of messages.
const (
	Input         = "input_stream_data"  // client to agent
	Output        = "output_stream_data" // agent to client
	Acknowledge   = "acknowledge"
	ChannelClosed = "channel_closed"
	Pause         = "pause_publication" // agent to client: no more input
	Resume        = "start_publication"
)

// Types of payloads of input and output messages.
const (
	Text              uint32 = 1 // bytes of the terminal
	Size              uint32 = 3 // {"cols":80,"rows":24}
	HandshakeRequest  uint32 = 5
	HandshakeResponse uint32 = 6
	HandshakeComplete uint32 = 7
	ErrorText         uint32 = 11 // bytes of the error output, of commands without a terminal
	ExitCode          uint32 = 12 // digits
)

// TellsExitCode begins the ClientID of those who want to be told the exit code of a command with a
// terminal. AWS's agents do not tell it, and AWS's plugin would show it as output.
const TellsExitCode = "slipway-"

// What has become of an action of the handshake.
const (
	Success     = 1
	Failed      = 2
	Unsupported = 3
)

// Message is one message.
type Message struct {
	Type        string
	Created     int64 // milliseconds since 1970
	Sequence    int64 // from 0 in each direction; acknowledgements have none
	Flags       uint64
	ID          [16]byte
	PayloadType uint32
	Payload     []byte
}

const (
	headerLength = 116
	typeLength   = 32
	// MaxPayload bounds what one message may carry, bytes.
	MaxPayload = 1 << 20
)

// Append appends the message's bytes to b.
func (m *Message) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, headerLength)
	name := bytes.Repeat([]byte{' '}, typeLength)
	copy(name, m.Type)
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Created))
	b = binary.BigEndian.AppendUint64(b, uint64(m.Sequence))
	b = binary.BigEndian.AppendUint64(b, m.Flags)
	b = append(append(b, m.ID[8:]...), m.ID[:8]...) // the lower half comes first
	sum := sha256.Sum256(m.Payload)
	b = append(b, sum[:]...)
	b = binary.BigEndian.AppendUint32(b, m.PayloadType)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.Payload)))
	return append(b, m.Payload...)
}

// Parse reads one message. Its payload is part of data.
func Parse(data []byte) (*Message, error) {
	if len(data) < headerLength+4 {
		return nil, fmt.Errorf("a message of %d bytes is too short", len(data))
	}
	if n := binary.BigEndian.Uint32(data); n != headerLength {
		return nil, fmt.Errorf("a header of %d bytes, not %d", n, headerLength)
	}
	m := &Message{
		Type: string(bytes.TrimRight(data[4:4+typeLength], " \x00")), Created: int64(binary.BigEndian.Uint64(data[40:])), Sequence: int64(binary.BigEndian.Uint64(data[48:])),
		Flags: binary.BigEndian.Uint64(data[56:]), PayloadType: binary.BigEndian.Uint32(data[112:]),
	}
	copy(m.ID[8:], data[64:72])
	copy(m.ID[:8], data[72:80])
	n := binary.BigEndian.Uint32(data[headerLength:])
	if n > MaxPayload || int(n) != len(data)-headerLength-4 {
		return nil, fmt.Errorf("a payload of %d bytes in a message of %d", n, len(data))
	}
	m.Payload = data[headerLength+4:]
	if sum := sha256.Sum256(m.Payload); n > 0 && !bytes.Equal(sum[:], data[80:112]) {
		return nil, errors.New("the payload is not what its digest says")
	}
	return m, nil
}

// UUID is an id as it is written.
func UUID(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// Acknowledgement is the payload of an Acknowledge message.
type Acknowledgement struct {
	Type       string `json:"AcknowledgedMessageType"`
	ID         string `json:"AcknowledgedMessageId"`
	Sequence   int64  `json:"AcknowledgedMessageSequenceNumber"`
	Sequential bool   `json:"IsSequentialMessage"`
}

// Open is what a client sends first, as text.
type Open struct {
	SchemaVersion string `json:"MessageSchemaVersion"` // 1.0
	RequestID     string `json:"RequestId"`
	Token         string `json:"TokenValue"`
	ClientID      string `json:"ClientId"`
	ClientVersion string `json:"ClientVersion,omitempty"`
}

// Handshake is what the agent asks of the client.
type Handshake struct {
	AgentVersion string   `json:"AgentVersion"`
	Actions      []Action `json:"RequestedClientActions"`
}

// Action is one thing asked.
type Action struct {
	Type       string `json:"ActionType"` // SessionType
	Parameters any    `json:"ActionParameters"`
}

// SessionType is the parameters of the action of that name.
type SessionType struct {
	Type       string            `json:"SessionType"` // InteractiveCommands
	Properties map[string]string `json:"Properties"`
}

// HandshakeAnswer is what the client answers.
type HandshakeAnswer struct {
	ClientVersion string         `json:"ClientVersion"`
	Actions       []ActionAnswer `json:"ProcessedClientActions"`
	Errors        []string       `json:"Errors"`
}

// ActionAnswer is what has become of an action.
type ActionAnswer struct {
	Type   string `json:"ActionType"`
	Status int    `json:"ActionStatus"`
	Result any    `json:"ActionResult"`
	Error  string `json:"Error"`
}

// HandshakeDone ends the handshake.
type HandshakeDone struct {
	Took    int64  `json:"HandshakeTimeToComplete"` // nanoseconds
	Message string `json:"CustomerMessage"`
}

// Closed is the payload of ChannelClosed.
type Closed struct {
	Type          string `json:"MessageType"`
	ID            string `json:"MessageId"`
	CreatedDate   string `json:"CreatedDate"`
	SessionID     string `json:"SessionId"`
	SchemaVersion int    `json:"SchemaVersion"`
	Output        string `json:"Output"`
}

// TerminalSize is the payload of Size.
type TerminalSize struct {
	Columns uint32 `json:"cols"`
	Rows    uint32 `json:"rows"`
}
