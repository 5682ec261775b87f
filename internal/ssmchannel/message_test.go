package ssmchannel

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	m := &Message{Type: Input, Created: 1700000000123, Sequence: 7, Flags: 1, ID: [16]byte{0: 1, 15: 2}, PayloadType: Text, Payload: []byte("ls\r")}
	data := m.Append(nil)
	// The places are those of the plugin's agentMessage.go.
	if n := binary.BigEndian.Uint32(data); n != 116 || string(data[4:21]) != "input_stream_data" || data[21] != ' ' || data[71] != 2 || data[72] != 1 || binary.BigEndian.Uint32(data[116:]) != 3 {
		t.Errorf("% x", data)
	}
	got, err := Parse(data)
	if err != nil || got.Type != m.Type || got.Sequence != 7 || got.ID != m.ID || got.Created != m.Created || !bytes.Equal(got.Payload, m.Payload) || got.PayloadType != Text {
		t.Errorf("%+v, %v", got, err)
	}
	if UUID(m.ID) != "01000000-0000-0000-0000-000000000002" {
		t.Errorf("id %s", UUID(m.ID))
	}
	data[len(data)-1]++
	if _, err := Parse(data); err == nil {
		t.Error("a payload with another digest was taken")
	}
	if _, err := Parse(data[:len(data)-1]); err == nil {
		t.Error("a message that is cut off was taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&Message{Type: Output, PayloadType: Size, Payload: []byte(`{"cols":80,"rows":24}`)}).Append(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse(data)
		if err != nil {
			return
		}
		again, err := Parse(m.Append(nil))
		if err != nil || !bytes.Equal(again.Payload, m.Payload) {
			t.Errorf("%+v, %v", again, err)
		}
	})
}
