package packagetest

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/internal/testnet"
)

// parts are what a host is compared by: a command each, whose lines are counted.
var parts = map[string]string{
	"files":       `find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run \) -prune -o -not -type d -printf '%p %y %m %U:%G %l\n'`,
	"directories": `find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run \) -prune -o -type d -printf '%p %m %U:%G\n'`,
	"settings":    `find /etc -xdev -type f -exec sha256sum {} +`,
	"runtime":     `find /run -maxdepth 1 -printf '%p %y\n'; find /run -path /run/host -prune -o -name '*causeway*' -print`,
	"units":       `systemctl list-units --all --plain --no-legend --full | awk '{print $1, $2}' | grep -v -e '\.scope ' -e '\.device '`,
	"unit files":  `systemctl list-unit-files --no-legend --full | awk '{print $1, $2}'`,
	"failed":      `systemctl list-units --failed --plain --no-legend | awk '{print $1}'`,
	"users":       `getent passwd; getent group`,
	"links":       `ip -o link | sed -E 's/^[0-9]+: ([^:@]+).*/\1/'`,
	"addresses":   `ip -o addr | awk '{print $2, $3, $4}'`,
	"routes":      `ip -4 route show table all; ip -6 route show table all; ip -4 rule; ip -6 rule`,
	"DNS":         `cat /etc/resolv.conf; readlink /etc/resolv.conf || :; resolvectl dns 2>/dev/null || :; resolvectl domain 2>/dev/null || :`,
	"processes":   `ps -e -o comm= | grep causeway || :`,
	"sockets":     `ss -H -l -x -n | awk '{print $5}' | grep -v -e '^/run/host' | grep / ; ss -H -l -t -u -n | awk '{print $1, $5}'`,
}

// noise changes by itself, or is the packet manager's own memory of what it has
// done: that is kept of any package.
var noise = regexp.MustCompile(strings.Join([]string{
	`^/var/lib/dpkg/`, `^/var/lib/apt/`, `^/var/cache/`, `^/var/log/`, `^/var/lib/systemd/`, `^/var/tmp/systemd-private`, `^/tmp/`,
	`^/etc/ld\.so\.cache`, `  /etc/(ld\.so\.cache|passwd-|group-|shadow-|gshadow-)$`, `^/root/`, `^/home/alice/\.(ssh|cache)`,
	`^/run/(lab-|user)`, `^(user|session|systemd-tmpfiles|apt-daily|dpkg-db|e2scrub|fstrim|logrotate|man-db|user-runtime-dir|run-user|run-credentials|run-lock)[^ ]*\.(slice|service|timer|mount) `,
}, "|"))

// inventory is what a host is made of, by part.
type inventory map[string]map[string]bool

func (h *host) inventory(t *testing.T) inventory {
	t.Helper()
	all := inventory{}
	for part, command := range parts {
		lines := map[string]bool{}
		for line := range strings.Lines(h.sh(t, command)) {
			if line = strings.TrimSpace(line); !noise.MatchString(line) {
				lines[line] = true
			}
		}
		all[part] = lines
	}
	return all
}

// size is how many things were compared: a comparison of nothing shows nothing.
func (i inventory) size() int {
	count := 0
	for _, lines := range i {
		count += len(lines)
	}
	return count
}

// changes are the lines that one has and the other lacks.
func (i inventory) changes(now inventory) []string {
	var found []string
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		for _, line := range slices.Sorted(maps.Keys(now[part])) {
			if !i[part][line] {
				found = append(found, part+": + "+line)
			}
		}
		for _, line := range slices.Sorted(maps.Keys(i[part])) {
			if !now[part][line] {
				found = append(found, part+": - "+line)
			}
		}
	}
	return found
}

// same holds that nothing has changed but what is allowed, each of which must
// have.
func (h *host) same(t *testing.T, when string, before inventory, allowed ...string) {
	t.Helper()
	now := h.inventory(t)
	used := map[string]bool{}
	for _, change := range before.changes(now) {
		at := slices.IndexFunc(allowed, func(want string) bool { return regexp.MustCompile("^" + want + "$").MatchString(change) })
		if at < 0 {
			t.Errorf("%s: %s", when, change)
			continue
		}
		used[allowed[at]] = true
	}
	for _, want := range allowed {
		if !used[want] {
			t.Errorf("%s: no such change: %s", when, want)
		}
	}
	figure(t, "%s: %d things compared, %d allowed to differ", when, now.size(), len(allowed))
	if now.size() < 5000 {
		t.Errorf("%s: only %d things were compared", when, now.size())
	}
}

// plants are leftovers, each with the part that has to show it and how to take
// it away.
var plants = []struct{ part, plant, remove string }{
	{"files", "touch /var/lib/causeway.lock", "rm /var/lib/causeway.lock"},
	{"files", "ln -s /usr/bin/causeway /usr/local/bin/cw", "rm /usr/local/bin/cw"},
	{"directories", "mkdir /etc/causeway", "rmdir /etc/causeway"},
	{"settings", "echo fd60:627a:a42b::1 left.me.coder >>/etc/hosts", "sed -i /left.me.coder/d /etc/hosts"},
	{"runtime", "mkdir /run/causeway", "rmdir /run/causeway"},
	{"unit files", "printf '[Service]\\nExecStart=/bin/true\\n' >/etc/systemd/system/causewayd.service; systemctl daemon-reload", "rm /etc/systemd/system/causewayd.service; systemctl daemon-reload"},
	{"failed", "systemd-run -q --unit=causewayd --property=Type=oneshot /bin/false || :", "systemctl reset-failed causewayd"},
	{"users", "useradd --system causeway-left", "userdel causeway-left"},
	{"links", "ip link add causeway9 type veth peer name left9", "ip link del causeway9"},
	{"addresses", "ip addr add fd60:627a:a42b::9/128 dev lo", "ip addr del fd60:627a:a42b::9/128 dev lo"},
	{"routes", "ip -6 route add unreachable fd60:627a:a42b::/48", "ip -6 route del unreachable fd60:627a:a42b::/48"},
	{"routes", "ip -6 rule add to fd60:627a:a42b::/48 table 52", "ip -6 rule del to fd60:627a:a42b::/48 table 52"},
	{"processes", "cp /bin/sleep /tmp/causewayd; systemd-run -q --unit=left /tmp/causewayd 1000", "systemctl stop left; rm /tmp/causewayd"},
}

// notices holds that the comparison sees each leftover: one that sees nothing
// proves nothing.
func (h *host) notices(t *testing.T, before inventory) {
	all := plants
	if h.flavour == testnet.Resolved {
		all = append(slices.Clone(plants), struct{ part, plant, remove string }{"DNS", "resolvectl domain eth0 '~coder'", "resolvectl revert eth0"})
	}
	for _, leftover := range all {
		h.sh(t, leftover.plant)
		changes := before.changes(h.inventory(t))
		if !slices.ContainsFunc(changes, func(change string) bool { return strings.HasPrefix(change, leftover.part+": +") }) {
			t.Errorf("%s is not noticed among the %s: %q", leftover.plant, leftover.part, changes)
		}
		h.sh(t, leftover.remove)
	}
	figure(t, "%d planted leftovers, each noticed", len(all))
}
