package sshd

import (
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
