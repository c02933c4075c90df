package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// patch is one change of the standard library that builds for Wine get.
type patch struct{ file, old, fresh string }

var patches = []patch{
	// Wine 8 answers the way of deleting files that Go tries first with "not
	// implemented"; Go falls back on another answer only, and so cannot remove a
	// test's temporary directory. Test builds get one more case.
	{"src/internal/syscall/windows/at_windows.go", "case STATUS_INVALID_INFO_CLASS, //", "case NTStatus(0xC0000002), STATUS_INVALID_INFO_CLASS, //"},
	// Wine 8 cannot keep a UDP socket from hearing that a network is unreachable, and
	// Go then has no UDP socket. On the loopback interface there is nothing to hear.
	{"src/net/fd_windows.go", "err = syscall.WSAIoctl(fd.pfd.Sysfd, windows.SIO_UDP_NETRESET,", "_ = syscall.WSAIoctl(fd.pfd.Sysfd, windows.SIO_UDP_NETRESET,"},
}

// writeOverlay returns the path of a file for go build -overlay.
func writeOverlay(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	replace := map[string]string{}
	for _, each := range patches {
		source := filepath.Join(strings.TrimSpace(string(root)), each.file)
		content, err := os.ReadFile(source)
		if err != nil {
			return "", err
		}
		if !bytes.Contains(content, []byte(each.old)) {
			return "", fmt.Errorf("%s has no line %q any more", source, each.old)
		}
		replacement := filepath.Join(dir, strings.ReplaceAll(each.file, "/", "-"))
		if err := os.WriteFile(replacement, bytes.Replace(content, []byte(each.old), []byte(each.fresh), 1), 0o644); err != nil {
			return "", err
		}
		replace[source] = replacement
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o644)
}
