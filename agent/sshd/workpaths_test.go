//go:build unix

package sshd

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/pkg/sftp"
)

// TestSFTPWorksInTheDirectory: relative names are those of the agent's
// directory, in every request, and what a link holds is nobody's name but its
// own.
func TestSFTPWorksInTheDirectory(t *testing.T) {
	r := newRig(t)
	client, err := sftp.NewClient(r.dial(t))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(client.Mkdir("d"))
	file, err := client.Create("d/file")
	ok(err)
	_, err = file.Write([]byte("content"))
	ok(err)
	ok(file.Close())
	ok(client.Chmod("d/file", 0o640))
	ok(client.Symlink("file", "d/relative"))
	ok(client.Symlink("/absolute", "d/absolute"))
	ok(client.Symlink("../d/./file", "d/odd"))
	ok(client.Link("d/file", "d/hard"))
	ok(client.Rename("d/hard", "d/first"))
	ok(client.PosixRename("d/first", "d/second"))
	ok(client.Mkdir("empty"))
	ok(client.RemoveDirectory("empty"))
	_, err = client.StatVFS("d")
	ok(err)
	for name, want := range map[string]string{"relative": "file", "absolute": "/absolute", "odd": "../d/./file"} {
		if got, err := os.Readlink(filepath.Join(r.directory, "d", name)); err != nil || got != want {
			t.Errorf("%s leads to %q, %v, want %q", name, got, err, want)
		}
		if got, err := client.ReadLink("d/" + name); err != nil || got != want {
			t.Errorf("%s is read as %q, %v, want %q", name, got, err, want)
		}
	}
	if content, err := os.ReadFile(filepath.Join(r.directory, "d", "relative")); err != nil || string(content) != "content" {
		t.Errorf("through the link: %q, %v", content, err)
	}
	if info, err := client.Lstat("d/second"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the renamed file: %v, %v", info, err)
	}
	if list, err := client.ReadDir("d"); err != nil || len(list) != 5 {
		t.Errorf("the directory: %v, %v", list, err)
	}
	for name, want := range map[string]string{".": r.directory, "": r.directory, "d/..": r.directory, "/tmp/../": "/"} {
		if got, err := client.RealPath(name); err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", name, got, err, want)
		}
	}
	ok(client.Remove("d/odd"))
}

// FuzzWorkPaths: whatever comes, what names no file passes unchanged, and what
// does stays one packet.
func FuzzWorkPaths(f *testing.F) {
	packet := func(kind byte, body string) []byte {
		return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)), kind), body...)
	}
	f.Add(packet(20, "\x00\x00\x00\x01\x00\x00\x00\x01t\x00\x00\x00\x01l"))
	f.Add(packet(18, "\x00\x00\x00\x01\x00\x00\x00\x01a\x00\x00\x00\x02/b"))
	f.Add(packet(200, "\x00\x00\x00\x01\x00\x00\x00\x14hardlink@openssh.com\x00\x00\x00\x01a\x00\x00\x00\x01b"))
	f.Add(packet(6, "\x00\x00\x00\x01data"))
	f.Add([]byte{0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 3, 0})
	f.Fuzz(func(t *testing.T, input []byte) {
		read := func(source io.Reader) []byte {
			w := newWorkPaths(struct {
				io.Reader
				io.Writer
			}{source, io.Discard}, "/work")
			// Nobody answers here, and so nobody is to be waited for.
			w.places = make(chan struct{}, len(input))
			output, _ := io.ReadAll(w)
			return output
		}
		output := read(bytes.NewReader(input))
		if again := read(iotest.OneByteReader(bytes.NewReader(input))); !bytes.Equal(output, again) {
			t.Fatalf("in pieces %q, at once %q", again, output)
		}
		for len(input) >= 5 && len(output) >= 5 {
			was, is := uint64(binary.BigEndian.Uint32(input)), uint64(binary.BigEndian.Uint32(output))
			if was == 0 || was > uint64(len(input)-4) {
				return
			}
			if input[4] != output[4] || is > uint64(len(output)-4) || sftpPaths[input[4]] == 0 && input[4] < sftpSymlink && !bytes.Equal(input[:4+was], output[:4+is]) {
				t.Fatalf("%q became %q", input, output)
			}
			input, output = input[4+was:], output[4+is:]
		}
	})
}
