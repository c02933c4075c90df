package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/internal/testnet"
)

// lab is a real host, with a resolver of public names next to it.
type lab struct {
	*testnet.System

	asked int // public names, each of which is asked once
}

func boot(t *testing.T, flavour testnet.Flavour) *lab {
	t.Helper()
	if os.Getenv("CAUSEWAY_RIGS") != "all" || os.Geteuid() != 0 {
		t.Skip("a rig that needs root: make e2e runs it")
	}
	ctx := t.Context()
	if err := testnet.BuildSystem(ctx, flavour, os.Stderr); err != nil {
		t.Fatal(err)
	}
	topology, err := testnet.New(ctx, testnet.Public, testnet.Public)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = topology.Close() })
	if err := topology.ServeNames(ctx); err != nil {
		t.Fatal(err)
	}
	system, err := testnet.Boot(ctx, topology.Client, flavour)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = system.Close() })
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(filepath.Join(system.Share, "rig"), self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &lab{System: system, asked: 1000}
}

func (l *lab) sh(t *testing.T, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	output, err := l.Run(ctx, "sh", "-c", script)
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return output
}

// state is all on the host that we could have touched.
func (l *lab) state(t *testing.T) string {
	t.Helper()
	return l.sh(t, `find /etc /run/resolvconf -type f ! -name 'resolv.conf.bak' 2>/dev/null | sort | xargs md5sum; ls -la /etc/resolv.conf; cat /etc/resolv.conf /etc/hosts
ip -br link | awk '{print $1}'; ip -6 route show table all | sed 's/expires.*//'; ip rule; ip -6 rule`)
}

// public asks libc for a public name that was never asked before, and tells how
// long the answer took.
func (l *lab) public(t *testing.T) time.Duration {
	t.Helper()
	l.asked++
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	output, err := l.Run(ctx, "getent", "ahostsv4", testnet.PublicName(l.asked))
	took := time.Since(began)
	if err != nil || !strings.Contains(output, testnet.PublicAddr(l.asked)) {
		t.Errorf("public name after %v: %v %s", took, err, output)
	}
	return took
}

// names waits until libc has our name, and the one that is in the hosts file only
// where that is the way.
func (l *lab) names(t *testing.T, when string) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		output, err := l.Run(t.Context(), "getent", "ahostsv6", canary)
		if err == nil && strings.Contains(output, server.String()) && strings.Contains(l.sh(t, "getent ahostsv6 main."+suffix), agent.String()) {
			return time.Since(began)
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("%s: our name does not resolve: %v %s\n%s", when, err, output, l.sh(t, "cat /etc/resolv.conf /etc/hosts; ip -6 route"))
		}
	}
}

// daemon is ours on the host.
type daemon struct {
	t       *testing.T
	lab     *lab
	command *exec.Cmd
	input   io.WriteCloser
	output  *bufio.Reader
	log     text
	plain   bool // only the names of the hosts file are known
}

// text is what a process says while others read it.
type text struct {
	mu   sync.Mutex
	said strings.Builder
}

func (t *text) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.said.Write(p)
}

func (t *text) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.said.String()
}

func (l *lab) daemon(t *testing.T, forward bool) *daemon {
	t.Helper()
	args := []string{"role", "serve"}
	if forward {
		args = append(args, "forward")
	}
	d := &daemon{t: t, lab: l, command: l.Command(context.WithoutCancel(t.Context()), "/run/host/rig", args...)}
	d.command.Stderr = &d.log
	input, err := d.command.StdinPipe()
	output, outErr := d.command.StdoutPipe()
	if err := errors.Join(err, outErr, d.command.Start()); err != nil {
		t.Fatal(err)
	}
	d.input, d.output = input, bufio.NewReader(output)
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Log(d.log.String())
		}
	})
	line, err := d.output.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "applied <nil>") {
		t.Fatalf("daemon: %q %v\n%s", line, err, d.log.String())
	}
	t.Log(strings.TrimSpace(line))
	return d
}

// said is what the adapter tells of itself.
type said struct {
	Mode, Error, Trouble string
	Upstreams, Found     []string
}

func (d *daemon) ask(name string) said {
	d.t.Helper()
	if _, err := io.WriteString(d.input, name+"\n"); err != nil {
		d.t.Fatal(err)
	}
	line, err := d.output.ReadString('\n')
	var answer said
	if err == nil {
		err = json.Unmarshal([]byte(line), &answer)
	}
	if err != nil {
		d.t.Fatalf("%q: %v\n%s", line, err, d.log.String())
	}
	return answer
}

// signal goes to the daemon itself, which runs inside.
func (d *daemon) signal(name string) {
	d.t.Helper()
	d.lab.sh(d.t, "pkill -"+name+" -x rig")
	if name == "CONT" {
		// What brought it there stops with it, and lets it go on in turn.
		_ = d.command.Process.Signal(unix.SIGCONT)
	}
}

func (d *daemon) kill() {
	if d.command.ProcessState != nil {
		return
	}
	_, _ = d.lab.Run(context.Background(), "pkill", "-KILL", "-x", "rig")
	_ = d.command.Process.Signal(unix.SIGCONT)
	_ = d.command.Wait()
}

// What other programs do to us.
const (
	anotherResolv = `printf '# Generated by another\nnameserver 192.0.2.253\n' > /etc/r && mv /etc/r /etc/resolv.conf`
	anotherHosts  = `printf '127.0.0.1 localhost\n' > /etc/hosts`
	restartNM     = "systemctl restart NetworkManager"
	withoutDropIn = "rm /etc/NetworkManager/dnsmasq.d/causeway.conf && nmcli general reload dns-full"
	anotherRecord = `printf '# Generated by resolvconf\nnameserver 192.0.2.253\n' > /etc/resolv.conf`
)

// hosts are the flavours and what we do on each.
var hosts = []struct {
	flavour testnet.Flavour
	forward bool
	mode    string
	trample string
	setup   string // leaves the host as the trampling will
}{
	{flavour: testnet.Dnsmasq, mode: "hosts", trample: restartNM},
	{flavour: testnet.Dnsmasq, forward: true, mode: "networkmanager", trample: restartNM},
	{flavour: testnet.Dnsmasq, forward: true, mode: "networkmanager", trample: withoutDropIn},
	{flavour: testnet.Plain, forward: true, mode: "resolv.conf", trample: anotherResolv, setup: anotherResolv},
	{flavour: testnet.Plain, mode: "hosts", trample: anotherHosts, setup: anotherHosts},
	{flavour: testnet.NetworkManager, forward: true, mode: "resolv.conf", trample: restartNM},
	{flavour: testnet.NetworkManager, mode: "hosts", trample: restartNM},
	{flavour: testnet.OpenResolv, forward: true, mode: "openresolv", trample: anotherRecord},
	{flavour: testnet.Resolvconf, forward: true, mode: "resolvconf", trample: "resolvconf -d tun-causeway.inet"},
	{flavour: testnet.Resolved, mode: "resolved", trample: "resolvectl revert " + device},
	{flavour: testnet.Resolved, forward: true, mode: "resolved", trample: "systemctl restart systemd-resolved"},
}

// TestModes goes through the life of the adapter on each kind of host.
func TestModes(t *testing.T) {
	for _, h := range hosts {
		t.Run(string(h.flavour)+" forward "+strconv.FormatBool(h.forward), func(t *testing.T) {
			l := boot(t, h.flavour)
			if h.setup != "" {
				l.sh(t, h.setup)
			}
			before := l.state(t)
			d := l.daemon(t, h.forward)
			t.Logf("names after %v", l.names(t, "at first"))
			answer := d.ask(canary)
			if answer.Mode != h.mode || answer.Error != "" || answer.Trouble != "" || len(answer.Found) != 1 {
				t.Errorf("at first: %+v", answer)
			}
			wantUpstreams := h.forward && (h.mode == "resolv.conf" || h.mode == "openresolv" || h.mode == "resolvconf")
			if got := strings.Join(answer.Upstreams, " "); wantUpstreams != (got == testnet.ResolverAddr) {
				t.Errorf("upstreams %q", got)
			}
			t.Logf("public name in %v; resolv.conf:\n%s", l.public(t), l.sh(t, "cat /etc/resolv.conf"))

			l.sh(t, h.trample)
			t.Logf("names %v after %q", l.names(t, h.trample), h.trample)
			for range 50 { // the repair may come after an answer from a cache
				if answer = d.ask(canary); answer.Mode == h.mode && answer.Error == "" {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			if answer.Mode != h.mode || answer.Error != "" {
				t.Errorf("after %q: %+v", h.trample, answer)
			}
			l.public(t)

			d.signal("STOP")
			took := l.public(t)
			t.Logf("public name with a daemon that is stopped: %v", took)
			if took > 5*time.Second {
				t.Error("slow")
			}
			d.signal("CONT")
			d.kill()
			took = l.public(t)
			t.Logf("public name with a daemon that was killed: %v", took)
			if took > 5*time.Second {
				t.Error("slow")
			}
			d = l.daemon(t, h.forward)
			l.names(t, "again")
			d.kill()
			// What resolved is told, it keeps itself, and only for the link.
			if h.mode != "resolved" && l.state(t) == before {
				t.Error("the comparison does not see what is left")
			}
			for range 2 {
				l.sh(t, "/run/host/rig role cleanup")
			}
			if after := l.state(t); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
			l.public(t)
		})
	}
}
