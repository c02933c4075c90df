//go:build unix

package doctor

import (
	"os"
	"strings"
)

// socketFile looks at the socket and at the directories above it.
func socketFile(path string) Socket {
	socket := Socket{Path: path}
	if info, err := os.Stat(path); err == nil {
		socket.Exists, socket.Mode = true, info.Mode()
	}
	for dir := parent(path); dir != ""; dir = parent(dir) {
		info, err := os.Stat(dir)
		if err == nil && info.Mode().Perm()&0o001 == 0 && socket.Closed == "" {
			socket.Exists = true // as far as anybody can tell
			socket.Closed, socket.ClosedMode = dir, info.Mode()
		}
	}
	return socket
}

// parent is the directory above, and "" above the root.
func parent(path string) string {
	at := strings.LastIndexByte(path, '/')
	if at <= 0 {
		return ""
	}
	return path[:at]
}
