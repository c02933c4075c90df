//go:build unix

package sshd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// sftpPacket is one packet of a kind with texts and numbers in it.
func sftpPacket(kind byte, id uint32, fields ...any) []byte {
	body := binary.BigEndian.AppendUint32([]byte{kind}, id)
	for _, field := range fields {
		switch value := field.(type) {
		case string:
			body = append(binary.BigEndian.AppendUint32(body, uint32(len(value))), value...)
		case uint32:
			body = binary.BigEndian.AppendUint32(body, value)
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// sftpAnswer reads one packet.
func sftpAnswer(t *testing.T, from io.Reader) (kind byte, id uint32, rest []byte) {
	t.Helper()
	header := make([]byte, 9)
	if _, err := io.ReadFull(from, header); err != nil {
		t.Fatal(err)
	}
	rest = make([]byte, binary.BigEndian.Uint32(header)-5)
	if _, err := io.ReadFull(from, rest); err != nil {
		t.Fatal(err)
	}
	return header[4], binary.BigEndian.Uint32(header[5:]), rest
}

// sftpChannel begins a session below pkg/sftp's client.
func sftpChannel(t *testing.T, r *rig) ssh.Channel {
	t.Helper()
	channel, requests, err := r.dial(t).OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(requests)
	if ok, err := channel.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	if _, err := channel.Write(sftpPacket(1, 3)); err != nil {
		t.Fatal(err)
	}
	if kind, version, _ := sftpAnswer(t, channel); kind != 2 || version != 3 {
		t.Fatalf("answer %d, version %d", kind, version)
	}
	return channel
}

// manyFiles skips a test that opens more files than this process may.
func manyFiles(t *testing.T) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*maxHandles {
		t.Skipf("this process may open %d files only, %v", limit.Cur, err)
	}
}

// TestHandlesAreBounded: as many as allowed, files and directories together, and
// no more, however fast they are asked for; who closes one has room again, and
// what cannot be opened takes none.
func TestHandlesAreBounded(t *testing.T) {
	manyFiles(t)
	r := newRig(t)
	if err := os.WriteFile(filepath.Join(r.directory, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	channel := sftpChannel(t, r)
	const asked = 2 * maxHandles
	request := func(id uint32) []byte {
		switch id % 5 {
		case 0:
			return sftpPacket(sftpOpendir, id, ".")
		case 1:
			return sftpPacket(sftpOpen, id, "absent", uint32(1), uint32(0))
		}
		return sftpPacket(sftpOpen, id, "file", uint32(1), uint32(0))
	}
	go func() {
		for id := range uint32(asked) { // nobody waits for an answer
			if _, err := channel.Write(request(id)); err != nil {
				return
			}
		}
	}()
	opened, refused, last := 0, 0, ""
	for want := range uint32(asked) {
		kind, id, rest := sftpAnswer(t, channel)
		if id != want {
			t.Fatalf("answer %d, want %d", id, want)
		}
		switch {
		case kind == sftpHandle:
			opened, last = opened+1, string(rest[4:])
		case bytes.Contains(rest, []byte("this session has 1024 files and directories open")):
			refused++
		}
	}
	// An absent one may take the last places until its answer, at the cost of others.
	if opened > maxHandles || opened < maxHandles-maxSFTPWaiting || refused == 0 {
		t.Errorf("%d opened, %d refused", opened, refused)
	}
	for ; opened < maxHandles; opened++ {
		if _, err := channel.Write(request(2)); err != nil {
			t.Fatal(err)
		}
		kind, _, rest := sftpAnswer(t, channel)
		if kind != sftpHandle {
			t.Fatalf("%d are open, and one more is answered by %d %q", opened, kind, rest)
		}
		last = string(rest[4:])
	}
	// A handle that is closed by the wrong length, with the right one behind it, is not.
	wrong := append(sftpPacket(sftpClose, 9, ""), last...)
	binary.BigEndian.PutUint32(wrong, uint32(len(wrong)-4))
	for _, packet := range [][]byte{wrong, request(2)} {
		if _, err := channel.Write(packet); err != nil {
			t.Fatal(err)
		}
		if kind, _, rest := sftpAnswer(t, channel); kind != sftpStatus || bytes.Equal(rest[:4], make([]byte, 4)) {
			t.Fatalf("answer %d %q, want a failure", kind, rest)
		}
	}
	for round := range uint32(3) { // room for one, three times
		for step, packet := range [][]byte{sftpPacket(sftpClose, round, last), request(2), request(2)} {
			if _, err := channel.Write(packet); err != nil {
				t.Fatal(err)
			}
			kind, _, rest := sftpAnswer(t, channel)
			if want := []byte{sftpStatus, sftpHandle, sftpStatus}[step]; kind != want {
				t.Fatalf("round %d, step %d: %d %q", round, step, kind, rest)
			}
			if kind == sftpHandle {
				last = string(rest[4:])
			}
		}
	}
}

// TestRefusedHandleIsSaid: a user of pkg/sftp's client reads why.
func TestRefusedHandleIsSaid(t *testing.T) {
	manyFiles(t)
	r := newRig(t)
	client, err := sftp.NewClient(r.dial(t))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range maxHandles {
		if _, err := client.Create("file"); err != nil {
			t.Fatal(err)
		}
	}
	for _, open := range []func() error{
		func() error { _, err := client.Create("one more"); return err },
		func() error { _, err := client.ReadDir("."); return err },
	} {
		if err := open(); err == nil || !strings.Contains(err.Error(), "no more are allowed; close some") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(r.directory, "one more")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
	if _, err := client.Stat("file"); err != nil {
		t.Errorf("the session is of no use: %v", err)
	}
}

// failing takes no answers.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestUnansweredRequests: requests beyond what may wait for an answer wait, until
// there is one or there will be none.
func TestUnansweredRequests(t *testing.T) {
	h := newHandles(failing{})
	for range maxSFTPWaiting {
		if pass, err := h.take(6, nil); !pass || err != nil {
			t.Fatalf("%v, %v", pass, err)
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := h.take(6, nil)
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("one more is taken: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if _, err := h.Write([]byte{0}); err == nil {
		t.Error("it was written")
	}
	if err := <-ended; !errors.Is(err, errAnswersEnd) {
		t.Errorf("got %v", err)
	}
}

// FuzzPacketHead: packets are told apart in whatever pieces they come.
func FuzzPacketHead(f *testing.F) {
	f.Add(sftpPacket(sftpHandle, 7, "handle"), byte(3))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, sftpStatus}, byte(1))
	f.Fuzz(func(t *testing.T, input []byte, size byte) {
		follow := func(from io.Reader) (found []string) {
			var head packetHead
			piece := make([]byte, int(size)+1)
			for {
				count, err := from.Read(piece)
				for data := piece[:count]; len(data) > 0; {
					used, whole := head.read(data)
					if data = data[used:]; whole {
						kind, handle := head.end()
						found = append(found, string(kind)+handle)
					}
				}
				if err != nil {
					return found
				}
			}
		}
		whole, pieces := follow(bytes.NewReader(input)), follow(iotest.OneByteReader(bytes.NewReader(input)))
		if strings.Join(whole, "|") != strings.Join(pieces, "|") {
			t.Errorf("%q, in pieces %q", whole, pieces)
		}
	})
}
