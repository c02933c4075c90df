package userspace_test

import (
	"context"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/causewayhq/causeway/tailnet/userspace"
)

// TestTrafficIsCounted compares what both ends of a transfer saw.
func TestTrafficIsCounted(t *testing.T) {
	relays := startRelay(t, nil)
	var meterA, meterB userspace.Meter
	a := newUserspace(t, relays, func(c *userspace.Config) { c.Meter = &meterA })
	b := newUserspace(t, relays, func(c *userspace.Config) { c.Meter = &meterB })
	if got := b.engine.Latencies(t.Context()); len(got) != 0 {
		t.Errorf("latencies %v without a peer", got)
	}
	introduce(t, a, b)
	b.net.HandleTCP(func(port uint16) (func(net.Conn), bool) { return echo, port == 7 })
	b.net.HandleUDP(func(port uint16) (func(net.Conn), bool) { return echo, port == 7 })
	const size = 4 << 20
	for range 2 {
		conn := dialTCP(t, a, netip.AddrPortFrom(b.service(), 7))
		go func() {
			_, _ = conn.Write(make([]byte, size))
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
		}()
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, conn); n != size || err != nil {
			t.Fatal(n, err)
		}
		conn.Close()
	}
	datagrams, err := a.net.DialUDP(t.Context(), netip.AddrPortFrom(b.service(), 7))
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	eventually(t, "an echo", func() bool {
		_, _ = datagrams.Write(make([]byte, 1000))
		_ = datagrams.SetReadDeadline(time.Now().Add(time.Second))
		n, err := datagrams.Read(make([]byte, 2000))
		return n == 1000 && err == nil
	})
	sawA, sawB := meterA.Take(), meterB.Take()
	for _, saw := range []userspace.Traffic{sawA, sawB} {
		if saw.RxBytes < 2*size || saw.TxBytes < 2*size || saw.RxBytes > 3*size || saw.TxBytes > 3*size {
			t.Errorf("counted %+v", saw)
		}
		if saw.RxPackets < 2*size/1280 || saw.TxPackets < 2*size/1280 {
			t.Errorf("counted %+v", saw)
		}
		if saw.Flows["UDP"] != 1 || saw.Flows["TCP"] < 2 {
			t.Errorf("flows %v", saw.Flows)
		}
	}
	// What one sent the other received, but for what is on the way or was lost.
	if lost := sawA.TxPackets - sawB.RxPackets; max(lost, -lost) > sawA.TxPackets/10 {
		t.Errorf("a sent %d packets, b received %d", sawA.TxPackets, sawB.RxPackets)
	}
	if lost := sawB.TxBytes - sawA.RxBytes; max(lost, -lost) > sawB.TxBytes/10 {
		t.Errorf("b sent %d bytes, a received %d", sawB.TxBytes, sawA.RxBytes)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if got := b.engine.Latencies(ctx); len(got) != 1 || got[0] <= 0 || got[0] > patience {
		t.Errorf("latencies %v", got)
	}
	t.Logf("a saw %+v, b saw %+v", sawA, sawB)
}
