package crashmatrix

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// journalPath is the journal of host changes on a host.
const journalPath = "/var/lib/causeway/host-changes.json"

// powerCuts damages the journal as a power cut can, with everything that the
// daemon set up still in place: the marks on it must be enough.
func (b *bench) powerCuts(t *testing.T) {
	t.Helper()
	for name, damage := range map[string]string{
		"journal cut off":   `head -c 40 $1 > $1.new; mv $1.new $1`,
		"journal all zeros": `size=$(stat -c %s $1); head -c $size /dev/zero > $1`,
		"journal empty":     `: > $1`,
		"journal lost":      `rm $1`,
	} {
		ctx := within(t, 2*time.Minute)
		must(t, b.arm(mark{}))
		must(t, b.up(ctx))
		must(t, b.kill())
		_, err := b.system.Run(ctx, "sh", "-ec", damage, "sh", journalPath)
		must(t, err)
		o := &outcome{}
		b.expectRestored(ctx, o, "cleanup")
		if len(o.faults) > 0 {
			t.Errorf("%s: %s: %s", b.name(), name, strings.Join(o.faults, "\n"))
		}
		_, err = b.system.Run(ctx, "sh", "-c", "rm -f "+journalPath+"*")
		must(t, err)
		figure(t, "%s: %s: %d faults after cleanup", b.name(), name, len(o.faults))
	}
}

// fullDisk starts the daemon with no room for its journal: nothing on the
// host may change, and status must say why.
func (b *bench) fullDisk(t *testing.T) {
	t.Helper()
	ctx := within(t, 2*time.Minute)
	_, err := b.system.Run(ctx, "sh", "-ec", `rm -f `+journalPath+`
cp -a /var/lib/causeway /var/lib/copy; mount -t tmpfs -o size=1M,mode=700 tmpfs /var/lib/causeway
cp -a /var/lib/copy/. /var/lib/causeway/; rm -r /var/lib/copy; dd if=/dev/zero of=/var/lib/causeway/full bs=4k 2>/dev/null || true`)
	must(t, err)
	must(t, b.arm(mark{}))
	must(t, b.start())
	must(t, b.wish(ctx, "up"))
	must(t, rig.Eventually(ctx, func() error {
		output, err := b.system.Run(ctx, "sh", "-c", "/run/host/causeway status --json || true")
		if err == nil && (!strings.Contains(output, "write journal") || !strings.Contains(output, "no space left")) {
			err = fmt.Errorf("status does not name the full disk:\n%s", output)
		}
		return err
	}))
	after, err := b.snapshot(ctx)
	must(t, err)
	var harm []string
	for _, difference := range compare(b.before, after) {
		if !ofDevice(difference) {
			harm = append(harm, difference)
		}
	}
	if len(harm) > 0 {
		t.Errorf("%s: changed without a journal:\n%s", b.name(), strings.Join(harm, "\n"))
	}
	must(t, b.kill())
	_, err = b.system.Run(ctx, "umount", filepath.Dir(journalPath))
	must(t, err)
	o := &outcome{}
	b.expectRestored(ctx, o, "cleanup")
	if len(o.faults) > 0 {
		t.Errorf("%s: full disk: %s", b.name(), strings.Join(o.faults, "\n"))
	}
	figure(t, "%s: disk full at the journal: %d changes made, %d faults after cleanup", b.name(), len(harm), len(o.faults))
}

// ofDevice tells a difference that there is as soon as the TUN device is: it
// goes with its process, so no journal needs it. Addresses, routes and name
// servers are none of these.
func ofDevice(difference string) bool {
	section, line, _ := strings.Cut(difference, ": ")
	switch section {
	case "link", "run":
		return true
	case "address":
		return !strings.Contains(line, "inet")
	case "resolved":
		return !strings.Contains(line, "DNS Servers") && !strings.Contains(line, "DNS Domain")
	}
	return strings.Contains(line, "causeway0") && section == "nm"
}

func (b *bench) name() string { return host{flavour: b.flavour, forward: b.forward}.String() }
