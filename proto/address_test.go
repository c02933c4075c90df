package proto

import (
	"net/netip"
	"testing"

	"github.com/google/uuid"
)

func TestAddrFromUUID(t *testing.T) {
	id := uuid.MustParse("01234567-89ab-cdef-fedc-ba9876543210")
	want := [2]netip.Addr{
		netip.MustParseAddr("fd7a:115c:a1e0:cdef:fedc:ba98:7654:3210"),
		netip.MustParseAddr("fd60:627a:a42b:cdef:fedc:ba98:7654:3210"),
	}
	if got := AgentAddrs(id); got != want {
		t.Errorf("AgentAddrs(%v) = %v, want %v", id, got, want)
	}
}

// TestServicePrefixes: each is the whole /48, to its last address and not beyond.
func TestServicePrefixes(t *testing.T) {
	for prefix, last := range map[netip.Prefix]string{
		TailscalePrefix: "fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff",
		ServicePrefix:   "fd60:627a:a42b:ffff:ffff:ffff:ffff:ffff",
	} {
		end := netip.MustParseAddr(last)
		first := netip.PrefixFrom(end, 48).Masked().Addr()
		for addr, want := range map[netip.Addr]bool{first: true, end: true, first.Prev(): false, end.Next(): false} {
			if prefix.Contains(addr) != want {
				t.Errorf("%s contains %s: %v", prefix, addr, !want)
			}
		}
		// An id fills all that the prefix leaves.
		if got := AddrFromUUID(prefix, uuid.Max); got != end {
			t.Errorf("the last address is %s, want %s", got, end)
		}
	}
}

func TestNodeIDFromUUID(t *testing.T) {
	for text, want := range map[string]int64{
		"00000000-0000-0000-0000-000000000001": 1,
		"00000000-0000-0000-7fff-ffffffffffff": 1<<63 - 1,
		"ffffffff-ffff-ffff-ffff-ffffffffffff": 1,                  // -1
		"01234567-89ab-cdef-fedc-ba9876543210": 0x0123456789abcdf0, // negative
		"11111111-1111-1111-8000-000000000000": 1,                  // has no absolute value
		"11111111-1111-1111-0000-000000000000": 1,                  // zero is not a node id upstream
	} {
		if got := NodeIDFromUUID(uuid.MustParse(text)); got != want {
			t.Errorf("NodeIDFromUUID(%s) = %#x, want %#x", text, got, want)
		}
	}
}
