package rpty

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// initial is the first message of a viewer (docs of the protocol, 5.2).
// BackendType, with which a client can ask for GNU screen or for a buffer, is
// not looked at: there is one way to keep a terminal, which is better than both.
type initial struct {
	ID            uuid.UUID
	Height, Width int
	Command       string
	Container     string
	ContainerUser string
	// Resume is ours: the viewer has been here before, and has the lines above
	// the screen.
	Resume bool
}

// readInit reads the length, of two bytes, little-endian, and so much JSON, in
// whatever pieces they come.
func readInit(from io.Reader) (initial, error) {
	var size [2]byte
	if _, err := io.ReadFull(from, size[:]); err != nil {
		return initial{}, fmt.Errorf("read length of request: %w", err)
	}
	data := make([]byte, binary.LittleEndian.Uint16(size[:]))
	if _, err := io.ReadFull(from, data); err != nil {
		return initial{}, fmt.Errorf("read request: %w", err)
	}
	var result initial
	if err := json.Unmarshal(data, &result); err != nil {
		return initial{}, fmt.Errorf("read request: %w", err)
	}
	return result, nil
}

// maxInput is the longest single message of a viewer. The web terminal and our
// client send pieces of at most 32 KiB; JSON makes six bytes of one at worst.
const maxInput = 1 << 20

// message is what a viewer sends after the first.
//
// Away is ours: our server says so before it closes the connection for a browser
// that has not left, but is not heard of any more.
type message struct {
	Data   string `json:"data"`
	Height int    `json:"height"`
	Width  int    `json:"width"`
	Away   bool   `json:"away"`
}

var errLong = errors.New("the message is too long")

// messages reads a stream of JSON values, none of them too long.
type messages struct {
	from    io.Reader
	left    int
	decoder *json.Decoder
}

func newMessages(from io.Reader) *messages {
	m := &messages{from: from}
	m.decoder = json.NewDecoder(m)
	return m
}

// Read is what the decoder reads.
func (m *messages) Read(buffer []byte) (int, error) {
	if m.left <= 0 {
		return 0, errLong
	}
	count, err := m.from.Read(buffer[:min(len(buffer), m.left)])
	m.left -= count
	return count, err
}

func (m *messages) next() (message, error) {
	m.left = maxInput
	var result message
	err := m.decoder.Decode(&result)
	return result, err
}
