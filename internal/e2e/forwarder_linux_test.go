package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// publicLimit is how long a public name may take at any moment, ownLimit how
// long one of ours may: an upstream has no part in that. Most of it is for
// entering the host on a machine under load.
const (
	publicLimit = 5 * time.Second
	ownLimit    = time.Second
)

// overTCP makes libc ask over TCP.
const overTCP = "use-vc"

// plainHost is a systemd host on which nothing manages resolv.conf, with a
// Causeway around it that may have the host ask us everything.
type plainHost struct {
	*rig.Stack
	system *testnet.System
	addr   string // of rig.Name
	asked  int    // public names so far: none is asked for twice
}

func newPlainHost(t *testing.T) *plainHost {
	t.Helper()
	must(t, testnet.BuildSystem(t.Context(), testnet.Plain, t.Output()))
	net, err := testnet.New(t.Context(), testnet.Public, testnet.Public)
	must(t, err)
	h := &plainHost{Stack: rig.New(net, bin, t.TempDir())}
	t.Cleanup(func() { h.close(t) })
	must(t, net.ServeNames(t.Context()))
	h.system, err = testnet.Boot(within(t, 3*time.Minute), net.Client, testnet.Plain)
	must(t, err)
	must(t, h.OnSystem(h.system))
	h.sh(t, "echo nameserver "+testnet.ResolverAddr+" > /etc/resolv.conf") // with the limits of libc
	return h
}

func (h *plainHost) close(t *testing.T) {
	err := h.Close()
	if t.Failed() {
		t.Log(h.Logs())
	}
	if h.system != nil {
		err = errors.Join(err, h.system.Close())
	}
	if err = errors.Join(err, h.Net.Close()); err != nil {
		t.Error(err)
	}
}

// sh runs a script on the host.
func (h *plainHost) sh(t *testing.T, script string) string {
	t.Helper()
	output, err := h.system.Run(within(t, time.Minute), "sh", "-ec", script)
	must(t, err)
	return output
}

// up brings the daemon up with the forwarder, and waits until the host asks it.
func (h *plainHost) up(t *testing.T) {
	t.Helper()
	must(t, h.StartDaemon(within(t, 30*time.Second), "--dns-forwarder", "on"))
	_, err := h.Causeway(within(t, 20*time.Second), "up")
	must(t, err)
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		if conf := h.sh(t, "grep ^nameserver /etc/resolv.conf"); strings.Contains(firstLine(conf), testnet.ResolverAddr) {
			return fmt.Errorf("the first name server is still that of the network: %s", conf)
		}
		// Without the files: there our names are if nobody forwards.
		output, err := h.Client(t.Context(), "getent", "-s", "dns", "ahostsv6", rig.Name)
		h.addr = firstWord(output)
		return err
	}))
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// end sends the daemon a signal and waits until it has gone.
func (h *plainHost) end(t *testing.T, signal string) {
	t.Helper()
	h.sh(t, "pid=$(pidof causewayd); kill -s "+signal+" $pid; timeout 25 tail -f --pid=$pid /dev/null")
}

// find has an application of the host look a name up, whatever files say.
func (h *plainHost) find(t *testing.T, name, database, options string) (found string, took time.Duration) {
	t.Helper()
	began := time.Now()
	output, err := h.system.Run(within(t, time.Minute), "env", "RES_OPTIONS="+options, "getent", "-s", "dns", database, name)
	took = time.Since(began)
	if err != nil {
		return err.Error(), took
	}
	return firstWord(output), took
}

// expectPublic looks one more public name up.
func (h *plainHost) expectPublic(t *testing.T, when, options string) {
	t.Helper()
	h.asked++
	found, took := h.find(t, testnet.PublicName(h.asked), "ahostsv4", options)
	figure(t, "%s a public name takes %v", when, took.Round(time.Millisecond))
	if want := testnet.PublicAddr(h.asked); found != want || took > publicLimit {
		t.Errorf("%s public name is %s after %v, want %s within %v", when, found, took, want, publicLimit)
	}
}

func (h *plainHost) expectOwn(t *testing.T, when, name, options string) {
	t.Helper()
	found, took := h.find(t, name, "ahostsv6", options)
	figure(t, "%s a name of ours takes %v", when, took.Round(time.Millisecond))
	if found != h.addr || took > ownLimit {
		t.Errorf("%s %s is %s after %v, want %s within %v", when, name, found, took, h.addr, ownLimit)
	}
}

// TestForwarder has a host without split DNS ask us for every name. The crash
// matrix kills the daemon at each of its steps; this is what applications see
// while it runs, and of a network whose server does not answer.
func TestForwarder(t *testing.T) {
	needRig(t, true)
	h := newPlainHost(t)
	ctx := within(t, time.Minute)
	must(t, h.StartServer(ctx))
	user, err := h.AddUser(ctx, rig.Owner)
	must(t, err)
	agent, err := h.AddAgent(ctx, rig.Owner, rig.Workspace, rig.Agent)
	must(t, err)
	must(t, h.StartAgent(ctx, agent))
	const look = "stat -c '%F %a %u %g %s' /etc/resolv.conf; cat /etc/resolv.conf"
	before := h.sh(t, look)
	h.expectPublic(t, "before", "")
	must(t, h.StartDaemon(ctx, "--dns-forwarder", "on"))
	must(t, h.Login(ctx, user))
	h.end(t, "TERM")

	h.up(t)
	for _, options := range []string{"", overTCP} {
		h.expectPublic(t, "up "+options, options)
		for _, name := range []string{rig.Name, strings.ToUpper(rig.Name), rig.Workspace + ".coder"} {
			h.expectOwn(t, "up "+options, name, options)
		}
		for _, absent := range []string{"absent.public.example", "absent.me.coder"} {
			found, took := h.find(t, absent, "ahostsv6", options)
			if !strings.Contains(found, "exit status 2") || took > ownLimit {
				t.Errorf("%s: %s after %v, want that it is not there within %v", absent, found, took, ownLimit)
			}
		}
	}
	h.silentUpstream(t)
	h.end(t, "KILL")
	h.expectPublic(t, "after kill -9", "")
	if h.sh(t, look) == before {
		t.Error("the daemon that was killed had not changed resolv.conf")
	}
	h.up(t)
	h.expectOwn(t, "started again", rig.Name, "")
	h.expectPublic(t, "started again", "")
	h.end(t, "TERM")
	if after := h.sh(t, look); after != before {
		t.Errorf("resolv.conf after the stop:\n%s\nbefore the start:\n%s", after, before)
	}
	h.expectPublic(t, "stopped", "")
}

// silentUpstream takes the network's server away for a while.
func (h *plainHost) silentUpstream(t *testing.T) {
	t.Helper()
	_, err := h.Net.Internet.Shell(within(t, 10*time.Second), `nft -f - <<'END'
table inet silent { chain input { type filter hook input priority 0; ip daddr `+testnet.ResolverAddr+` drop; }; }
END`)
	must(t, err)
	began := time.Now()
	waiting := h.On(t.Context(), "getent", "-s", "dns", "ahostsv4", "n999.public.example")
	must(t, waiting.Start())
	for range 5 {
		h.expectOwn(t, "while the server of the network is silent", rig.Name, "")
		h.expectOwn(t, "while the server of the network is silent, over TCP", rig.Name, overTCP)
	}
	if err := waiting.Wait(); err == nil {
		t.Error("a public name was found although the server of the network is silent")
	}
	figure(t, "without that server a public name fails after %v", time.Since(began).Round(time.Millisecond))
	_, err = h.Net.Internet.Run(within(t, 10*time.Second), "nft", "delete", "table", "inet", "silent")
	must(t, err)
	h.expectPublic(t, "right after that", "")
}

// TestForwarderIsAChoice: without it resolv.conf is nobody's but the user's.
func TestForwarderIsAChoice(t *testing.T) {
	needRig(t, false)
	h := newPlainHost(t)
	must(t, h.StartAll(within(t, time.Minute)))
	before := h.sh(t, "cat /etc/resolv.conf")
	_, err := h.Causeway(within(t, 20*time.Second), "up")
	must(t, err)
	must(t, rig.Eventually(within(t, 20*time.Second), func() error {
		_, err := h.Client(t.Context(), "getent", "ahostsv6", rig.Name)
		return err
	}))
	if after := h.sh(t, "cat /etc/resolv.conf"); after != before {
		t.Errorf("resolv.conf is now:\n%s", after)
	}
}
