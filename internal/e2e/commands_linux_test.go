package e2e

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// causewayScp moves a file and a directory with causeway scp.
func causewayScp(t *testing.T, stack *rig.Stack) {
	path, want := agentFile(t, stack, 5)
	run := func(args ...string) {
		t.Helper()
		_, err := stack.Client(within(t, time.Minute), "env", append([]string{"HOME=/tmp", stack.Path("causeway"), "scp", "-q"}, args...)...)
		must(t, err)
	}
	// By the short name, by the whole one, and by the address.
	address, err := stack.Client(t.Context(), "getent", "ahostsv6", rig.Name)
	must(t, err)
	for _, name := range []string{rig.Workspace, rig.Name, "root@[" + firstWord(address) + "]"} {
		run(name+":"+path, "/tmp/by-scp")
		sum, err := stack.Client(t.Context(), "sh", "-c", "sha256sum < /tmp/by-scp; rm /tmp/by-scp")
		must(t, err)
		if got := firstWord(sum); got != want {
			t.Errorf("from %s: checksum %s, want %s", name, got, want)
		}
	}
	_, err = stack.Client(t.Context(), "sh", "-c", "mkdir -p '/tmp/a tree/-x'; echo content > '/tmp/a tree/-x/leaf'")
	must(t, err)
	run("-r", "/tmp/a tree", rig.Workspace+":/tmp/")
	leaf, err := stack.Net.Agent.Run(t.Context(), "cat", "/tmp/a tree/-x/leaf")
	must(t, err)
	if leaf != "content\n" {
		t.Errorf("the agent got %q", leaf)
	}
}

// ownConfig is what the user has set before, without a line's end.
const ownConfig = "Host elsewhere\n  User nobody"

// configSSH has plain ssh work with nothing but what causeway config-ssh wrote.
func configSSH(t *testing.T, stack *rig.Stack) {
	// OpenSSH asks the system where home is: on this host it is another place.
	_, err := stack.Net.Client.Shell(t.Context(), "mount -t tmpfs tmpfs /root; mkdir -m 700 /root/.ssh; printf '"+ownConfig+"' > /root/.ssh/config")
	must(t, err)
	plain := func(args ...string) (string, error) {
		return stack.Client(within(t, 30*time.Second), "ssh", append([]string{"-o", "BatchMode=yes"}, args...)...)
	}
	config := func(args ...string) {
		t.Helper()
		_, err := stack.Client(within(t, 20*time.Second), "env", append([]string{"HOME=/root", "XDG_CONFIG_HOME=", stack.Path("causeway"), "config-ssh"}, args...)...)
		must(t, err)
	}
	if output, err := plain(rig.Name, "hostname"); err == nil {
		t.Errorf("without the section an unknown host key is taken: %s", output)
	}
	config()
	output, err := plain(rig.Name, "hostname")
	must(t, err)
	if !strings.HasSuffix(output, "agent\n") {
		t.Errorf("ssh said %q", output)
	}
	// The key is kept where causeway ssh keeps it, and asked for again.
	_, err = stack.Client(t.Context(), "ssh-keygen", "-F", rig.Name, "-f", "/root/.config/causeway/known_hosts")
	must(t, err)
	if output, err := plain("-o", "StrictHostKeyChecking=yes", rig.Name, "hostname"); err != nil {
		t.Errorf("a kept key is not known: %s", output)
	}
	for _, other := range []string{"elsewhere", "main.myws.me.example"} {
		settings, err := plain("-G", other)
		must(t, err)
		if strings.Contains(settings, "accept-new") || strings.Contains(settings, "causeway") {
			t.Errorf("it reaches other hosts, such as %s:\n%s", other, settings)
		}
	}
	config("--remove")
	after, err := stack.Client(t.Context(), "cat", "/root/.ssh/config")
	must(t, err)
	if after != ownConfig {
		t.Errorf("after --remove the file is %q", after)
	}
}

// portForward leads bytes through causeway port-forward, both ways.
func portForward(t *testing.T, stack *rig.Stack) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, sink := range []*exec.Cmd{
		stack.Net.Agent.Command(ctx, stack.Path("probe"), "tcp-sink", "127.0.0.1:9110"),
		stack.On(ctx, stack.Path("probe"), "tcp-sink", "127.0.0.1:9210"),
	} {
		must(t, sink.Start())
		t.Cleanup(func() { sink.Process.Kill(); sink.Wait() })
	}
	command := []string{"HOME=/tmp", stack.Path("causeway"), "port-forward", rig.Workspace, "-L", "9111:127.0.0.1:9110", "-R", "9211:127.0.0.1:9210"}
	forwarding, err := stack.Start("port-forward", stack.On(ctx, "env", command...))
	must(t, err)
	must(t, forwarding.WaitFor(within(t, 30*time.Second), "listening: localhost:9111 here to 127.0.0.1:9110, localhost:9211 in the workspace to 127.0.0.1:9210"))
	// What it says is so: there is no need to try again.
	_, err = stack.Client(within(t, 30*time.Second), stack.Path("probe"), "tcp-send", "127.0.0.1:9111", "10000000", "2")
	must(t, err)
	_, err = stack.Net.Agent.Run(within(t, 30*time.Second), stack.Path("probe"), "tcp-send", "127.0.0.1:9211", "10000000", "2")
	must(t, err)
	// The port is taken: said at once, with ssh's code.
	_, err = stack.Client(within(t, 30*time.Second), "env", command...)
	if got := exitCode(unwrapped(err)); got != 255 {
		t.Errorf("a port that is taken: %v, want exit code 255", err)
	}
	must(t, syscall.Kill(forwarding.PID(), syscall.SIGTERM))
	select {
	case <-forwarding.Done():
	case <-time.After(10 * time.Second):
		t.Error("it does not end")
	}
	if _, err := stack.Client(within(t, 10*time.Second), "sh", "-c", "! ss -ltn | grep 9111"); err != nil {
		t.Error("the port still listens")
	}
}
