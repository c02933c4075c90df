package hostfaults

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// commands holds what the command line promises of a real daemon on this host:
// that names are put back, and that what waits and watches outlives a daemon.
// The load's session ends with it.
func (h *house) commands(t *testing.T) {
	t.Run("DNSRepair", h.dnsRepair)
	if h.flavour == testnet.Resolved {
		t.Run("DNSFlush", h.dnsFlush)
		t.Run("Wait", h.waitOutlives)
		t.Run("Watch", h.watchOutlives)
	}
}

// tramples are what other programs do to names, and how it is seen that they are
// back. The daemon sees it by itself too, only later.
func (h *house) tramples() map[string]string {
	if h.flavour == testnet.Resolved {
		return map[string]string{
			"resolvectl revert " + device:                       "resolvectl domain " + device + " | grep -q coder; resolvectl dns " + device + " | grep -q " + sentinelAddr,
			"resolvectl dns " + device + " 192.0.2.99":          "resolvectl dns " + device + " | grep -q " + sentinelAddr + "; ! resolvectl dns " + device + " | grep -q 192.0.2.99",
			"ip -6 route del fd60:627a:a42b::/48 dev " + device: "ip -6 route get " + sentinelAddr + " | grep -q " + device,
			"resolvectl dnsovertls " + device + " yes":          "! resolvectl dnsovertls " + device + " | grep -q yes",
		}
	}
	return map[string]string{
		`printf '127.0.0.1 localhost\n10.1.1.1 kept\n' > /etc/hosts`:                 "grep -q " + rig.Name + " /etc/hosts; grep -q kept /etc/hosts",
		`sed -i s/` + rig.Name + `/wrong.name/ /etc/hosts`:                           "grep -q " + rig.Name + " /etc/hosts; ! grep -q wrong.name /etc/hosts",
		`grep -v causeway /etc/hosts > /etc/hosts.new; mv /etc/hosts.new /etc/hosts`: "grep -q " + rig.Name + " /etc/hosts; test $(grep -c 'BEGIN' /etc/hosts) -le 1",
	}
}

// dnsRepair: when the command has ended well, names are as they should be. A
// resolver that has just been led to a dead server may still wait for it, at which
// the command says that names do not answer; people type it again.
func (h *house) dnsRepair(t *testing.T) {
	for trample, mended := range h.tramples() {
		began := time.Now()
		repair := h.inside("causeway") + " dns repair"
		said, err := h.system.Run(within(t, time.Minute), "sh", "-ec", trample+"\n"+repair+" || "+repair+" || "+repair+"\n"+strings.ReplaceAll(mended, "; ", "\n"))
		if err != nil {
			t.Errorf("%s: %v", trample, err)
			continue
		}
		figure(t, "%s: mended after %.2f s: %s", trample, time.Since(began).Seconds(), strings.TrimSpace(said))
		h.sh(t, "getent ahostsv6 "+rig.Name)
	}
}

// inside is where a program of ours is on the host.
func (h *house) inside(name string) string { return "/run/host/" + name }

// dnsFlush: resolved itself says that it has been asked.
func (h *house) dnsFlush(t *testing.T) {
	asked := func() string {
		return h.sh(t, "journalctl -q --no-pager -u systemd-resolved | grep -c 'Flushed all caches' || :")
	}
	before := asked()
	_, err := h.Causeway(within(t, 20*time.Second), "dns", "flush")
	must(t, err)
	must(t, rig.Eventually(within(t, 5*time.Second), func() error {
		if now := asked(); now == before {
			return fmt.Errorf("the cache was emptied %s times before and after", now)
		}
		return nil
	}))
}

// waitOutlives: a wait sees one daemon go, that has nothing up, and is content
// with the next.
func (h *house) waitOutlives(t *testing.T) {
	_, err := h.Causeway(within(t, 20*time.Second), "down")
	must(t, err)
	h.sh(t, "systemctl stop "+unit)
	ctx := within(t, time.Minute)
	ended := make(chan string, 3)
	var waiting sync.WaitGroup
	for _, what := range []string{"dns", "workspace/" + rig.Workspace, rig.Name} {
		waiting.Go(func() {
			said, err := h.Causeway(ctx, "wait", "--timeout", "50s", "--for", what)
			ended <- fmt.Sprintf("%s: %v %s", what, err, said)
		})
	}
	defer waiting.Wait()
	none := func(when string) {
		hold(t, time.Second)
		select {
		case said := <-ended:
			t.Errorf("%s a wait ended: %s", when, said)
		default:
		}
	}
	none("without a daemon")
	h.sh(t, "systemctl start "+unit)
	none("with the tunnel down")
	h.sh(t, "systemctl restart "+unit)
	none("after a restart")
	_, err = h.Causeway(within(t, 20*time.Second), "up")
	must(t, err)
	for range 3 {
		if said := <-ended; !strings.Contains(said, ": <nil>") {
			t.Error(said)
		}
	}
	h.sh(t, "getent ahostsv6 "+rig.Name)
}

// watchOutlives has the full-screen view on a terminal while the daemon goes and
// comes.
func (h *house) watchOutlives(t *testing.T) {
	cmd := h.On(within(t, time.Minute), "env", "TERM=xterm", h.inside("causeway"), "status", "--watch")
	master, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
	must(t, err)
	var shown screenText
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(&shown, master) }) // ends with the terminal
	defer func() {
		_ = cmd.Process.Kill()
		master.Close()
		reading.Wait()
	}()
	sees := func(text string) {
		t.Helper()
		must(t, rig.Eventually(within(t, 20*time.Second), func() error {
			if !strings.Contains(shown.since(), text) {
				return fmt.Errorf("%q is not shown: %q", text, shown.since())
			}
			return nil
		}))
		shown.forget()
	}
	sees("connected")
	h.sh(t, "systemctl stop "+unit)
	sees("daemon is away")
	h.sh(t, "systemctl start "+unit)
	sees("connected")
	h.sh(t, "systemctl kill --signal=KILL "+unit)
	sees("daemon is away")
	sees("connected")
	_, err = master.WriteString("q")
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
}

// screenText is what a terminal was sent.
type screenText struct {
	mu   sync.Mutex
	text strings.Builder
	from int
}

func (s *screenText) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(data)
}

func (s *screenText) since() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()[s.from:]
}

func (s *screenText) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.from = s.text.Len()
}
