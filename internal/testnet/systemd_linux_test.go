package testnet

import (
	"os"
	"strings"
	"testing"
)

// TestResolvedSystem shows what the other tests of real hosts stand on: a
// running systemd, its resolver behind both ways of asking, and nothing left
// on the machine afterwards.
func TestResolvedSystem(t *testing.T) {
	needRoot(t)
	if os.Getenv("CAUSEWAY_RIGS") == "" {
		t.Skip("a rig: make test and make e2e run it")
	}
	ctx := t.Context()
	if err := BuildSystem(ctx, Resolved, os.Stderr); err != nil {
		t.Fatal(err)
	}
	host, err := NewHost(ctx, "resolved")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	system, err := Boot(ctx, host, Resolved)
	if err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"systemctl is-system-running":                 "running",
		"systemctl is-active systemd-resolved":        "active",
		"readlink /etc/resolv.conf":                   "stub-resolv.conf",
		"getent -s resolve ahosts localhost":          "127.0.0.1",
		"grep ^hosts: /etc/nsswitch.conf":             "resolve",
		"test -c /dev/net/tun && echo there is a tun": "there is a tun",
	} {
		if output, err := system.Run(ctx, "sh", "-c", command); err != nil || !strings.Contains(output, want) {
			t.Errorf("%s: %v %s; want %q", command, err, output, want)
		}
	}
	if err := system.Close(); err != nil {
		t.Error(err)
	}
	if mounts, err := os.ReadFile("/proc/self/mounts"); err != nil || strings.Contains(string(mounts), labDir+"/run/"+system.name) {
		t.Errorf("mounts are left behind: %v\n%s", err, mounts)
	}
}
