package sshd

import (
	"context"
	"net/netip"
	"testing"
)

// TestNoSearchForNobody: a connection that ends does not wait for searches that
// its forwards still had before them, one after the other.
func TestNoSearchForNobody(t *testing.T) {
	searches := 0
	p := processes{find: func(context.Context, netip.AddrPort) string {
		searches++
		return "line"
	}}
	address := netip.MustParseAddrPort("127.0.0.1:8080")
	ctx, cancel := context.WithCancel(t.Context())
	if got := p.commandLine(ctx, address); got != "line" || searches != 1 {
		t.Errorf("%q after %d searches", got, searches)
	}
	cancel()
	other := netip.MustParseAddrPort("127.0.0.1:8081")
	if got := p.commandLine(ctx, other); got != "" || searches != 1 {
		t.Errorf("%q after %d searches", got, searches)
	}
	if got := p.commandLine(t.Context(), other); got != "line" || searches != 2 {
		t.Errorf("%q after %d searches", got, searches)
	}
}
