package testnet

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// RelayAddr is for a relay that runs apart from the control plane.
const RelayAddr = "192.0.2.12"

// AddHost puts a further host onto the internet.
func (t *Topology) AddHost(ctx context.Context, name, addr string) (*Host, error) {
	host, err := t.host(ctx, name)
	if err != nil {
		return nil, err
	}
	return host, t.plug(ctx, host, addr)
}

// AddUplink gives the client a second way out: eth1, 10.77.3.2, to a router of
// its own at the address. It is not used before the default route moves there.
func (t *Topology) AddUplink(ctx context.Context, addr string) (*Host, error) {
	router, err := t.AddHost(ctx, "client-router-2", addr)
	if err != nil {
		return nil, err
	}
	if _, err := router.Shell(ctx, fmt.Sprintf(`ip link add lan0 type veth peer name eth1 netns %d
ip addr add 10.77.3.1/24 dev lan0; ip link set lan0 up; sysctl -qw net.ipv4.ip_forward=1`, t.Client.PID())); err != nil {
		return nil, err
	}
	if _, err := t.Client.Shell(ctx, `ip link set eth1 addrgenmode none; ip addr add 10.77.3.2/24 dev eth1; ip link set eth1 up`); err != nil {
		return nil, err
	}
	return router, router.nft(ctx, natRules(EasyNAT))
}

// Cut drops every packet between this host and the addresses, in both
// directions and without a refusal, until Heal. Attempts to connect are
// counted meanwhile.
func (h *Host) Cut(ctx context.Context, addrs ...string) error {
	return h.nft(ctx, `table inet cut {
	set far { type ipv4_addr; elements = { `+strings.Join(addrs, ", ")+` } }
	counter attempts { }
	chain in { type filter hook input priority -10; ip saddr @far tcp flags & (syn | ack) == syn counter name attempts; ip saddr @far drop; }
	chain out { type filter hook output priority -10; ip daddr @far drop; }
}
`)
}

// Heal undoes Cut.
func (h *Host) Heal(ctx context.Context) error { return h.nft(ctx, "delete table inet cut\n") }

var packets = regexp.MustCompile(`packets (\d+)`)

// Attempts is how many packets that open a TCP connection a Cut has swallowed.
func (h *Host) Attempts(ctx context.Context) (int, error) {
	output, err := h.Run(ctx, "nft", "list", "counter", "inet", "cut", "attempts")
	if err != nil {
		return 0, err
	}
	found := packets.FindStringSubmatch(output)
	if found == nil {
		return 0, fmt.Errorf("read counter: no packets in %q", output)
	}
	return strconv.Atoi(found[1])
}

// ResetAndRedirect ends the TCP connections of the addresses to one port of
// this host at their next packet, and leads new ones to another port, until
// Unredirect.
func (h *Host) ResetAndRedirect(ctx context.Context, from, to string, addrs ...string) error {
	return h.nft(ctx, `table inet detour {
	set far { type ipv4_addr; elements = { `+strings.Join(addrs, ", ")+` } }
	chain pre { type nat hook prerouting priority dstnat; ip saddr @far tcp dport `+from+` redirect to :`+to+`; }
	chain in { type filter hook input priority -10; ip saddr @far tcp dport `+from+` reject with tcp reset; }
}
`)
}

// Unredirect undoes ResetAndRedirect for new connections; the redirected ones
// stay where they are.
func (h *Host) Unredirect(ctx context.Context) error {
	return h.nft(ctx, "delete table inet detour\n")
}

// Freeze stops every process of the system, process 1 too, as the pause of a
// virtual machine does; clocks go on. Thaw lets them run again.
func (s *System) Freeze(ctx context.Context) error { return s.freezer(ctx, "1") }

// Thaw undoes Freeze.
func (s *System) Thaw(ctx context.Context) error { return s.freezer(ctx, "0") }

func (s *System) freezer(ctx context.Context, want string) error {
	path, err := os.ReadFile(filepath.Join(labDir, "run", s.name, "cg"))
	if err != nil {
		return fmt.Errorf("freeze %s: %w", s.name, err)
	}
	group := strings.TrimSpace(string(path))
	if err := os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte(want), 0); err != nil {
		return fmt.Errorf("freeze %s: %w", s.name, err)
	}
	for {
		events, err := os.ReadFile(filepath.Join(group, "cgroup.events"))
		if err != nil {
			return fmt.Errorf("freeze %s: %w", s.name, err)
		}
		if strings.Contains(string(events), "frozen "+want) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("freeze %s: %w", s.name, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
