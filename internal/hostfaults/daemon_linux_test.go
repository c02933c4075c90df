package hostfaults

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// handover is what a daemon may cost that goes and comes again: with the device
// in systemd's store, nothing but a pause.
var handover = limits{silence: 2 * time.Second, back: 5 * time.Second, unhurt: true}

// kills is how often the daemon is killed in a row.
const kills = 5

// daemonFaults are those of the daemon itself.
func daemonFaults() []fault {
	resolved := []testnet.Flavour{testnet.Resolved}
	return []fault{
		{name: "Kill", flavours: resolved, short: true, run: kill, limits: handover, settle: 3 * time.Second, after: sameDevice},
		{name: "Restart", flavours: resolved, short: true, run: restart, limits: handover, settle: 3 * time.Second, after: sameDevice},
		{name: "Upgrade", flavours: resolved, short: true, run: upgrade, limits: handover, settle: 3 * time.Second, after: sameDevice},
	}
}

// stored is how many descriptors systemd keeps for the unit.
func (h *house) stored(t *testing.T) string {
	t.Helper()
	return h.sh(t, "systemctl show -P NFileDescriptorStore "+unit)
}

// index of our interface, which tells one device from the next.
func (h *house) index(t *testing.T) string {
	t.Helper()
	return h.sh(t, "cat /sys/class/net/"+device+"/ifindex")
}

// before is the interface's index of the fault under way.
var before string

// kill ends the daemon as a crash does, several times, each after the next one
// works.
func kill(t *testing.T, h *house) time.Time {
	before = h.index(t)
	for range kills {
		h.another(t, func(pid string) { h.sh(t, "kill -9 "+pid) })
	}
	return time.Now()
}

// another waits for another daemon to work after what ends this one.
func (h *house) another(t *testing.T, end func(pid string)) {
	t.Helper()
	ctx := within(t, 20*time.Second)
	old, err := h.pid(ctx)
	must(t, err)
	began := time.Now()
	end(old)
	must(t, rig.Eventually(ctx, func() error {
		now, err := h.pid(ctx)
		if err == nil && (now == old || now == "0") {
			err = errors.New("no other daemon")
		}
		if err != nil {
			return err
		}
		_, err = h.Causeway(ctx, "version", "--daemon")
		return err
	}))
	figure(t, "another daemon answers after %.2f s", time.Since(began).Seconds())
	_, err = h.load.Healthy(ctx, time.Now(), time.Second)
	must(t, err)
}

func restart(t *testing.T, h *house) time.Time {
	before = h.index(t)
	h.another(t, func(string) { h.sh(t, "systemctl restart "+unit) })
	return time.Now()
}

// upgrade does what a package does: the new program is renamed over the old
// one, and the unit is started anew.
func upgrade(t *testing.T, h *house) time.Time {
	before = h.index(t)
	h.another(t, func(string) {
		h.sh(t, fmt.Sprintf(`cp %[1]s %[1]s.new
printf 'the next version' >> %[1]s.new
mv %[1]s.new %[1]s
systemctl daemon-reload
systemctl restart %[2]s`, program, unit))
	})
	return time.Now()
}

// sameDevice holds that it is the very interface of before, with all that hangs
// on it.
func sameDevice(t *testing.T, h *house, _ time.Time) {
	if now := h.index(t); now != before {
		t.Errorf("the interface was %s and is %s", before, now)
	}
	for command, want := range map[string]string{
		"ip -6 addr show dev " + device:  "fd60:627a:a42b:",
		"ip -6 route show dev " + device: "fd60:627a:a42b::/48",
		"resolvectl domain " + device:    "~coder",
	} {
		if got := h.sh(t, command); !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s", command, got, want)
		}
	}
}
