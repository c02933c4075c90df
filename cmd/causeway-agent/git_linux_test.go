package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/agent"
)

// TestSSHOfGitHearsSignals: ssh is not started with Ctrl-C or SIGTERM ignored,
// which it would keep up: a clone that hangs could not be given up.
func TestSSHOfGitHearsSignals(t *testing.T) {
	directory := t.TempDir()
	out := filepath.Join(directory, "status")
	if err := os.WriteFile(filepath.Join(directory, "ssh"), []byte("#!/bin/sh\nexec grep SigIgn: /proc/self/status >"+out+"\n"), 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	t.Setenv("PATH", directory+":"+os.Getenv("PATH"))
	t.Setenv(agent.GitDirectoryVariable, directory)
	t.Setenv("SSH_AUTH_SOCK", "")
	command := newGitSSH()
	command.SetArgs([]string{"--", "git@host", "git-upload-pack"})
	if err := command.Execute(); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := strconv.ParseUint(strings.TrimSpace(strings.TrimPrefix(string(status), "SigIgn:")), 16, 64)
	const interrupt, terminate = 1 << 1, 1 << 14
	if err != nil || ignored&(interrupt|terminate) != 0 {
		t.Errorf("%q, %v", status, err)
	}
}
