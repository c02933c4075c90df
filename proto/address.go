package proto

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/uuid"
)

// Prefixes and addresses of the tailnet (docs of the protocol, 2.2 and 6).
var (
	// ServicePrefix holds the addresses that names resolve to.
	ServicePrefix = netip.MustParsePrefix("fd60:627a:a42b::/48")
	// TailscalePrefix holds the second address of every agent.
	TailscalePrefix = netip.MustParsePrefix("fd7a:115c:a1e0::/48")
	// LegacyAgentAddr may be announced by any agent.
	LegacyAgentAddr = netip.MustParseAddr("fd7a:115c:a1e0:49d6:b259:b7ac:b1b2:48f4")
	// DNSAddr answers DNS inside the tunnel, and is what the sentinel name resolves to.
	DNSAddr = netip.MustParseAddr("fd60:627a:a42b::53")
)

// AddrFromUUID is the UUID with its first six bytes replaced by those of the
// prefix, which must be a /48.
func AddrFromUUID(prefix netip.Prefix, id uuid.UUID) netip.Addr {
	addr := [16]byte(id)
	base := prefix.Addr().As16()
	copy(addr[:6], base[:6])
	return netip.AddrFrom16(addr)
}

// AgentAddrs are the two addresses of an agent, the Tailscale one first.
func AgentAddrs(id uuid.UUID) [2]netip.Addr {
	return [2]netip.Addr{AddrFromUUID(TailscalePrefix, id), AddrFromUUID(ServicePrefix, id)}
}

// NodeIDFromUUID is the absolute value of the last eight bytes read as a
// big-endian signed number; of the one number without an absolute value, and
// of zero (upstream's engine refuses it), it is 1.
func NodeIDFromUUID(id uuid.UUID) int64 {
	value := int64(binary.BigEndian.Uint64(id[8:]))
	if value < 0 {
		value = -value
	}
	if value <= 0 {
		return 1
	}
	return value
}
