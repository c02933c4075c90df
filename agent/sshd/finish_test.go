package sshd

import (
	"io"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestStatusPrecedesTheEnd: how a command ended is told before the end of its
// output, at which a client may close the channel.
func TestStatusPrecedesTheEnd(t *testing.T) {
	client := newRig(t).dial(t)
	for command, want := range map[string]string{"echo out; exit 7": "exit-status", "kill -TERM $$": "exit-signal"} {
		channel, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Value string }{command})); !ok || err != nil {
			t.Fatalf("exec: %v, %v", ok, err)
		}
		if _, err := io.Copy(io.Discard, channel); err != nil {
			t.Error(err)
		}
		select {
		case request := <-requests:
			if request == nil || request.Type != want {
				t.Errorf("%s: got %v", command, request)
			}
		default:
			t.Errorf("%s: the output ended before %s", command, want)
		}
		channel.Close()
		ssh.DiscardRequests(requests)
	}
}
