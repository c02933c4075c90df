package sshd

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// TestBoundedOutput: what a client does not read stays with the command. Each
// channel costs this process the client's own window of 2 MiB, which is in the
// test's memory too, and the server's buffer.
func TestBoundedOutput(t *testing.T) {
	const channels = 8
	r := newRig(t)
	client := r.dial(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for index := range channels {
		channel, requests, err := client.OpenChannel("session", nil)
		if err != nil {
			t.Fatal(err)
		}
		go ssh.DiscardRequests(requests)
		// dd tells what it could write when it is asked to; the window and the pipe
		// take less than 4 MiB of the 64.
		line := fmt.Sprintf("dd if=/dev/zero bs=64k count=1024 2>err%d & echo $! >pid%d; wait", index, index)
		if ok, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Value string }{line})); !ok || err != nil {
			t.Fatalf("exec: %v, %v", ok, err)
		}
	}
	for index := range channels {
		written := -1
		eventually(t, "dd to stand still", func() bool {
			text, _ := os.ReadFile(filepath.Join(r.directory, fmt.Sprint("pid", index)))
			pid := 0
			if _, err := fmt.Sscan(string(text), &pid); err != nil {
				return false
			}
			io, _ := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
			_, rest, _ := strings.Cut(string(io), "wchar: ")
			now := 0
			_, _ = fmt.Sscan(rest, &now)
			still := now == written && now > 1<<20
			written = now
			return still
		})
		if written > 4<<20 {
			t.Errorf("command %d could write %d bytes", index, written)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20; grown > channels*3 {
		t.Errorf("the heap grew by %d MiB", grown)
	}
	// The connection lives: another channel answers.
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if text, err := session.Output("echo alive"); err != nil || string(text) != "alive\n" {
		t.Errorf("got %q, %v", text, err)
	}
}
