package sshd

import (
	"bytes"
	"encoding/binary"
	"io"
	"path"
)

// Requests of SFTP that name files: how many paths follow the request's id
// (draft-ietf-secsh-filexfer-02, and OpenSSH's extensions).
var (
	sftpPaths      = map[byte]int{sftpOpen: 1, 7: 1, 9: 1, sftpOpendir: 1, 13: 1, 14: 1, 15: 1, 16: 1, 17: 1, 18: 2, 19: 1}
	sftpExtensions = map[string]int{"posix-rename@openssh.com": 2, "hardlink@openssh.com": 2, "statvfs@openssh.com": 1}
)

const (
	sftpSymlink, sftpExtended = 20, 200
	// maxSFTPPacket is that of pkg/sftp, which ends the session at a longer one.
	maxSFTPPacket = 256 << 10
)

// workPaths makes the relative paths of SFTP requests absolute. pkg/sftp could
// start in a directory by itself, but takes the target of a symbolic link for a
// path too, so that "link -> file" would lead elsewhere. It is also where the
// open handles of the session are bounded.
type workPaths struct {
	io.Reader
	*handles
	directory string
	// rest is what of a packet has not been read yet.
	rest io.Reader
}

func newWorkPaths(client io.ReadWriter, directory string) *workPaths {
	return &workPaths{Reader: client, handles: newHandles(client), directory: directory}
}

func (w *workPaths) Read(buffer []byte) (int, error) {
	for {
		if w.rest != nil {
			if count, err := w.rest.Read(buffer); count > 0 || err != io.EOF {
				return count, err
			}
		}
		if err := w.next(); err != nil {
			return 0, err
		}
	}
}

// next begins a packet. What names no file goes through as it comes.
func (w *workPaths) next() error {
	header := make([]byte, 4, 5)
	if _, err := io.ReadFull(w.Reader, header); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(header)
	if length == 0 {
		w.rest = bytes.NewReader(header) // pkg/sftp ends the session
		return nil
	}
	header = header[:5]
	if _, err := io.ReadFull(w.Reader, header[4:]); err != nil {
		return err
	}
	kind := header[4]
	if sftpPaths[kind] == 0 && kind != sftpSymlink && kind != sftpExtended && kind != sftpClose || length > maxSFTPPacket {
		if _, err := w.take(kind, nil); err != nil {
			return err
		}
		w.rest = io.MultiReader(bytes.NewReader(header), io.LimitReader(w.Reader, int64(length)-1))
		return nil
	}
	body := make([]byte, length-1)
	if _, err := io.ReadFull(w.Reader, body); err != nil {
		return err
	}
	w.rest = nil
	if pass, err := w.take(kind, body); err != nil || !pass {
		return err
	}
	body = absolutePaths(kind, body, w.directory)
	packet := append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+1)), kind)
	w.rest = bytes.NewReader(append(packet, body...))
	return nil
}

// absolutePaths rewrites the body of a request; one that cannot be read stays
// as it is, for the SFTP server to refuse.
func absolutePaths(kind byte, body []byte, directory string) []byte {
	if len(body) < 4 {
		return body
	}
	result, left, paths := append([]byte(nil), body[:4]...), body[4:], sftpPaths[kind]
	skip := func() (text []byte, ok bool) {
		if len(left) < 4 || uint64(len(left)) < 4+uint64(binary.BigEndian.Uint32(left)) {
			return nil, false
		}
		length := 4 + binary.BigEndian.Uint32(left)
		text, left = left[4:length], left[length:]
		return text, true
	}
	add := func(text []byte) {
		result = append(binary.BigEndian.AppendUint32(result, uint32(len(text))), text...)
	}
	if kind == sftpSymlink || kind == sftpExtended {
		// The target of the link, as OpenSSH orders them, or the extension's name.
		first, ok := skip()
		if !ok {
			return body
		}
		add(first)
		if paths = sftpExtensions[string(first)]; kind == sftpSymlink {
			paths = 1
		}
	}
	for range paths {
		name, ok := skip()
		if !ok {
			return body
		}
		if !path.IsAbs(string(name)) {
			name = []byte(path.Join(directory, string(name)))
		}
		add(name)
	}
	return append(result, left...)
}
