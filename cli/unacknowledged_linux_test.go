package cli

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNoticeSilence: the kernel is told to end a silent connection after 14 s, and
// not while the tunnel may be looking for another path.
func TestNoticeSilence(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := noticeSilence(conn.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for name, option := range map[string]struct{ number, want int }{
		"TCP_KEEPIDLE": {unix.TCP_KEEPIDLE, 3}, "TCP_KEEPINTVL": {unix.TCP_KEEPINTVL, 1}, "TCP_KEEPCNT": {unix.TCP_KEEPCNT, 8}, "TCP_USER_TIMEOUT": {unix.TCP_USER_TIMEOUT, 14_000},
	} {
		var got int
		var failed error
		if err := raw.Control(func(descriptor uintptr) {
			got, failed = unix.GetsockoptInt(int(descriptor), unix.IPPROTO_TCP, option.number)
		}); err != nil || failed != nil || got != option.want {
			t.Errorf("%s is %d, want %d: %v, %v", name, got, option.want, err, failed)
		}
	}
}
