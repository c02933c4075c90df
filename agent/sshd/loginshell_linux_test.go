package sshd

import (
	"strings"
	"testing"
)

// TestLoginShell: without a command it is one, with a command it is none.
func TestLoginShell(t *testing.T) {
	r := newRig(t)
	const show = "tr '\\0' ' ' </proc/$$/cmdline"
	stdout, stderr, status := r.ssh(show+"\n", "-T", "127.0.0.1")
	if !strings.HasSuffix(stdout, " -l ") || status != 0 {
		t.Errorf("without a command: %q, %q, status %d", stdout, stderr, status)
	}
	stdout, stderr, status = r.ssh("", "127.0.0.1", show)
	if strings.Contains(stdout, " -l ") || !strings.Contains(stdout, " -c ") || status != 0 {
		t.Errorf("with a command: %q, %q, status %d", stdout, stderr, status)
	}
}
