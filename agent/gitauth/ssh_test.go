//go:build unix

package gitauth

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// TestSSH runs real ssh-add-like questions through what ssh is given: the
// socket named by its option lists the keys of both agents.
func TestSSH(t *testing.T) {
	p := newPlane(t)
	own, private := newKey(t)
	p.answers(map[string]string{"private_key": private})
	directory, _, _ := start(t, p)
	forwarded := agent.NewKeyring()
	_, mine, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := forwarded.Add(agent.AddedKey{PrivateKey: mine, Comment: "mine"}); err != nil {
		t.Fatal(err)
	}
	socket := serveKeyring(t, forwarded)
	// Stands for ssh: it asks the agent that it is told to, with the system's client.
	bin := t.TempDir()
	script := "#!/bin/sh\n[ \"$1\" = -o ] && { eval SSH_AUTH_SOCK=${2#IdentityAgent=}; export SSH_AUTH_SOCK; shift 2; }\n[ \"$*\" = 'host command' ] || exit 99\nssh-add -L || echo none\nexit 7\n"
	if err := os.WriteFile(filepath.Join(bin, "ssh"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("ssh-add"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("SSH_AUTH_SOCK", "")
	ownLine := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(own.PublicKey())))
	for name, test := range map[string]struct {
		directory, forwarded string
		own, mine            bool
		warns                bool
	}{
		"ours alone": {directory, "", true, false, false}, "both": {directory, socket, true, true, false},
		"a forwarded one that is gone": {directory, socket + ".gone", true, false, false}, "no agent, forwarded": {t.TempDir(), socket, false, true, true},
		"no agent at all": {t.TempDir(), "", false, false, true},
	} {
		var out, errs bytes.Buffer
		code, err := SSH{Directory: test.directory, Forwarded: test.forwarded, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs}.Run(t.Context(), []string{"host", "command"})
		if err != nil || code != 7 {
			t.Errorf("%s: %d, %v: %s", name, code, err, errs.String())
		}
		if strings.Contains(out.String(), ownLine) != test.own || strings.Contains(out.String(), " mine") != test.mine || strings.Contains(errs.String(), "not at hand") != test.warns {
			t.Errorf("%s: %s, %s", name, out.String(), errs.String())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "causeway-git-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func serveKeyring(t *testing.T, keyring agent.Agent) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "fwd")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(directory, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_ = agent.ServeAgent(keyring, conn)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
		os.RemoveAll(directory)
	})
	return socket
}
