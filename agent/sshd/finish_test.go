package sshd

import (
	"io"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
)

// told is a channel that keeps the order of what ends it.
type told struct {
	ssh.Channel

	steps []string
}

func (c *told) SendRequest(name string, _ bool, _ []byte) (bool, error) {
	c.steps = append(c.steps, name)
	return true, nil
}

func (c *told) CloseWrite() error {
	c.steps = append(c.steps, "end of output")
	return nil
}

func (c *told) Close() error {
	c.steps = append(c.steps, "close")
	return nil
}

// TestStatusPrecedesTheEnd: how a command ended is told before the end of its
// output, at which OpenSSH may close the channel and miss it.
func TestStatusPrecedesTheEnd(t *testing.T) {
	for name, result := range map[string]exit{"exit-status": {status: 7}, "exit-signal": {signal: "TERM"}} {
		channel := &told{}
		(&session{channel: channel}).finish(result)
		if want := []string{name, "end of output", "close"}; !slices.Equal(channel.steps, want) {
			t.Errorf("told %q, want %q", channel.steps, want)
		}
	}
}

// Stderr is what nobody may write to after the end of output.
func (c *told) Stderr() io.ReadWriter { return toldErrors{c} }

type toldErrors struct{ *told }

func (e toldErrors) Write(data []byte) (int, error) {
	e.steps = append(e.steps, "farewell")
	return len(data), nil
}

func (e toldErrors) Read([]byte) (int, error) { return 0, io.EOF }

// TestNoFarewellAfterTheEnd: x/crypto must not be written to once it has been told
// that no more follows.
func TestNoFarewellAfterTheEnd(t *testing.T) {
	channel := &told{}
	s := &session{channel: channel}
	s.farewell("a reason")
	s.finish(exit{})
	s.farewell("a reason")
	if want := []string{"farewell", "exit-status", "end of output", "close"}; !slices.Equal(channel.steps, want) {
		t.Errorf("told %q, want %q", channel.steps, want)
	}
}
