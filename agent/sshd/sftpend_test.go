//go:build unix

package sshd

import (
	"encoding/binary"
	"io"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestSFTPEnds: with status 0 at the end of input, with 1 when what comes is no SFTP.
func TestSFTPEnds(t *testing.T) {
	client := newRig(t).dial(t)
	for name, test := range map[string]struct {
		input  string
		status uint32
	}{
		"nothing": {"", 0}, "no packet": {"\xff\xff\xff\xff\x01", 1}, "half a packet": {"\x00\x00\x00\x05\x01\x00", 1},
	} {
		t.Run(name, func(t *testing.T) {
			channel, requests, err := client.OpenChannel("session", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer channel.Close()
			if ok, err := channel.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); !ok || err != nil {
				t.Fatalf("%v, %v", ok, err)
			}
			_, _ = io.WriteString(channel, test.input)
			_ = channel.CloseWrite()
			told := false
			for request := range requests {
				if request.Type == "exit-status" {
					told = true
					if got := binary.BigEndian.Uint32(request.Payload); got != test.status {
						t.Errorf("status %d, want %d", got, test.status)
					}
				}
			}
			if !told {
				t.Error("no status")
			}
		})
	}
}
