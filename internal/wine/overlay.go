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

// Wine 8 answers the way of deleting files that Go tries first with "not
// implemented"; Go falls back on another answer only, and so cannot remove a
// test's temporary directory. Test builds get one more case.
const (
	overlaid = "src/internal/syscall/windows/at_windows.go"
	oldCase  = "case STATUS_INVALID_INFO_CLASS, //"
	newCase  = "case NTStatus(0xC0000002), STATUS_INVALID_INFO_CLASS, //"
)

// writeOverlay returns the path of a file for go test -overlay.
func writeOverlay(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), overlaid)
	content, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	patched := bytes.Replace(content, []byte(oldCase), []byte(newCase), 1)
	if bytes.Equal(patched, content) {
		return "", fmt.Errorf("%s has no line %q any more", source, oldCase)
	}
	replacement := filepath.Join(dir, "at_windows.go")
	if err := os.WriteFile(replacement, patched, 0o644); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {source: replacement}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o644)
}
