package crashmatrix

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// snapshotScript prints everything on a host that a daemon could have changed,
// in sections. Aside are only its state directory, that of its socket, logs, and
// what the system itself writes while nothing happens, such as NetworkManager's
// notes of every device that it ever saw, and the directory that resolved makes
// for the first link that somebody sets.
const snapshotScript = `
section() { echo "== $1"; }
section etc-content; find /etc -xdev -type f -exec sha256sum {} + | sort -k2
section etc-mode;    find /etc -xdev ! -type l -printf '%M %p\n' | sort -k2
section etc-owner;   find /etc -xdev -printf '%U:%G %p\n' | sort -k2
section etc-link;    find /etc -xdev -type l -printf '%p -> %l\n' | sort
section files;       find / -xdev \( -path /etc -o -path /proc -o -path /sys -o -path /var/lib/causeway -o -path /var/log -o -path /var/tmp \
  -o -path /var/lib/systemd -o -path /var/lib/NetworkManager -o -path '/tmp/systemd-private-*' \) -prune -o -type d -printf '%y %M %U:%G %p\n' -o -printf '%y %M %U:%G %s %p\n' | sort -k4
section run;         ls -A /run | grep -vxE 'host|utmp|causeway'; for dir in resolvconf systemd/resolve NetworkManager; do
  find /run/$dir \( -path /run/NetworkManager/devices -o -name '*.pid' \) -prune -o -type f -exec sha256sum {} + 2>/dev/null | sort -k2
  find /run/$dir -path /run/NetworkManager/devices -prune -o ! -type f ! -path /run/systemd/resolve/netif -printf '%y %M %U:%G %p %l\n' 2>/dev/null | sort; done
section link;        ip -d link
section address;     ip -d addr | sed -E 's/ (valid_lft|preferred_lft) [0-9a-z]+//g'
section route;       for f in -4 -6; do ip -d $f route show table all | sed -E 's/ expires [0-9a-z]+//'; done
section rule;        for f in -4 -6; do ip -d $f rule; done
section resolved;    if command -v resolvectl >/dev/null; then resolvectl status --no-pager | grep -v 'Current DNS Server' | sed 's/^ *//'; fi
section nm;          if command -v nmcli >/dev/null; then nmcli -t -f DEVICE,TYPE,STATE,CONNECTION device; nmcli -t -f NAME,UUID,TYPE,DEVICE,FILENAME connection
  nmcli -t -f DNS-MANAGER general 2>/dev/null; nmcli -t device show eth0; fi
`

// snapshot is what was found, by section.
type snapshot map[string]string

func (b *bench) snapshot(ctx context.Context) (snapshot, error) {
	text, err := b.system.Run(ctx, "sh", "/run/host/snapshot.sh")
	if err != nil {
		return nil, err
	}
	// The system has no nft of its own; its network namespace is that of the
	// topology's client.
	rules, err := b.stack.Net.Client.Run(ctx, "nft", "list", "ruleset")
	if err != nil {
		return nil, err
	}
	found := snapshot{"nft": rules}
	for _, section := range strings.Split("\n"+text, "\n== ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		found[name] = body
	}
	return found, nil
}

// compare names each line that is in only one of two snapshots.
func compare(before, after snapshot) []string {
	var differences []string
	for name := range before {
		if after[name] == before[name] {
			continue
		}
		count := map[string]int{}
		for line := range strings.SplitSeq(strings.TrimSpace(before[name]), "\n") {
			count[line]++
		}
		for line := range strings.SplitSeq(strings.TrimSpace(after[name]), "\n") {
			if count[line]--; count[line] < 0 {
				differences = append(differences, fmt.Sprintf("%s: + %s", name, line))
			}
		}
		for line, left := range count {
			for range left {
				differences = append(differences, fmt.Sprintf("%s: - %s", name, line))
			}
		}
	}
	slices.Sort(differences)
	return differences
}

// unlike gives the host a moment to become like before: what other programs do
// after us takes them some time. The last differences are returned.
func (b *bench) unlike(ctx context.Context, before snapshot) []string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var differences []string
	err := rig.Eventually(ctx, func() error {
		after, err := b.snapshot(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		if differences = compare(before, after); len(differences) > 0 {
			return fmt.Errorf("%d differences", len(differences))
		}
		return nil
	})
	if err != nil && len(differences) == 0 {
		return []string{err.Error()}
	}
	return differences
}

// baseline is the state before the first start: two snapshots a second apart
// that are the same.
func (b *bench) baseline(t *testing.T) snapshot {
	t.Helper()
	ctx := within(t, 30*time.Second)
	last, err := b.snapshot(ctx)
	must(t, err)
	must(t, rig.Eventually(ctx, func() error {
		time.Sleep(time.Second) // the quiet itself is what is waited for
		now, err := b.snapshot(ctx)
		if err != nil {
			return err
		}
		differences := compare(last, now)
		if last = now; len(differences) > 0 {
			return fmt.Errorf("the host does not come to rest:\n%s", strings.Join(differences, "\n"))
		}
		return nil
	}))
	return last
}

// leftover is planted to show that its section of the comparison sees it.
type leftover struct{ section, plant, remove string }

var leftovers = []leftover{
	{"etc-content", `cp -p /etc/hosts /tmp/kept; echo '::1 left' >> /etc/hosts`, `cp -p /tmp/kept /etc/hosts; rm /tmp/kept`},
	{"etc-content", `touch /etc/left`, `rm /etc/left`},
	{"etc-mode", `chmod 600 /etc/hostname`, `chmod 644 /etc/hostname`},
	{"etc-owner", `chown 1:1 /etc/hostname`, `chown 0:0 /etc/hostname`},
	{"etc-link", `ln -s hosts /etc/left`, `rm /etc/left`},
	{"files", `touch /usr/lib/left`, `rm /usr/lib/left`},
	{"run", `mkdir /run/left`, `rmdir /run/left`},
	{"run", `mkdir -p /run/resolvconf/interface; echo > /run/resolvconf/interface/left`, `rm /run/resolvconf/interface/left; rmdir /run/resolvconf/interface /run/resolvconf 2>/dev/null || true`},
	{"link", `ip link add left0 type bridge`, `ip link del left0`},
	{"address", `ip addr add fd60:627a:a42b::1/128 dev lo`, `ip addr del fd60:627a:a42b::1/128 dev lo`},
	{"route", `ip route add fd60:627a:a42b::/48 dev lo`, `ip route del fd60:627a:a42b::/48 dev lo`},
	{"route", `ip route add fd60:627a:a42b::/48 dev lo table 52`, `ip route del fd60:627a:a42b::/48 dev lo table 52`},
	{"rule", `ip rule add pref 5000 table 52`, `ip rule del pref 5000`},
	{"rule", `ip -6 rule add pref 5000 table 52`, `ip -6 rule del pref 5000`},
	{"resolved", `! command -v resolvectl || resolvectl domain eth0 '~left'`, `! command -v resolvectl || resolvectl revert eth0`},
	{"nm", `! command -v nmcli || nmcli connection add save no type bridge ifname left0 con-name left autoconnect no`, `! command -v nmcli || nmcli connection del left`},
}

// noticesLeftovers plants one of each kind and takes it away again. What the
// host has no program for is not looked for.
func (b *bench) noticesLeftovers(t *testing.T) {
	t.Helper()
	ctx := within(t, time.Minute)
	planted := 0
	for _, left := range leftovers {
		if b.before[left.section] == "" {
			continue // no such program on this flavour
		}
		_, err := b.system.Run(ctx, "sh", "-ec", left.plant)
		must(t, err)
		b.mustNotice(ctx, t, left.section, left.plant)
		_, err = b.system.Run(ctx, "sh", "-ec", left.remove)
		must(t, err)
		planted++
	}
	_, err := b.stack.Net.Client.Run(ctx, "nft", "add", "table", "inet", "left")
	must(t, err)
	b.mustNotice(ctx, t, "nft", "nft add table inet left")
	_, err = b.stack.Net.Client.Run(ctx, "nft", "delete", "table", "inet", "left")
	must(t, err)
	if differences := b.unlike(ctx, b.before); len(differences) > 0 {
		t.Fatalf("what was planted did not go:\n%s", strings.Join(differences, "\n"))
	}
	figure(t, "%d kinds of leftovers planted on %s, all noticed", planted+1, b.flavour)
}

func (b *bench) mustNotice(ctx context.Context, t *testing.T, section, plant string) {
	t.Helper()
	after, err := b.snapshot(ctx)
	must(t, err)
	for _, difference := range compare(b.before, after) {
		if strings.HasPrefix(difference, section+": ") {
			return
		}
	}
	t.Errorf("leftover not noticed in section %s: %s", section, plant)
}
