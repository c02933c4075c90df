package agent

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestNothingButLocalhost: a port leads to the loopback addresses and to no other
// of the machine.
func TestNothingButLocalhost(t *testing.T) {
	elsewhere, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skipf("no second loopback address: %v", err)
	}
	defer elsewhere.Close()
	f := newForwarder()
	defer f.close()
	near, far := tcpPair(t)
	handle, _ := f.tcp(uint16(elsewhere.Addr().(*net.TCPAddr).Port))
	handle(far)
	near.SetDeadline(time.Now().Add(patience))
	if _, err := near.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
	for _, host := range loopback {
		if !netip.MustParseAddr(host).IsLoopback() {
			t.Errorf("%s is not loopback", host)
		}
	}
}

// TestIPv4ComesFirst: of two programs on one port the one on 127.0.0.1 is asked,
// and the other when there is none.
func TestIPv4ComesFirst(t *testing.T) {
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6: %v", err)
	}
	defer six.Close()
	port := uint16(six.Addr().(*net.TCPAddr).Port)
	go sayAndClose(six, "six")
	ask := func() string {
		f := newForwarder()
		defer f.close()
		near, far := tcpPair(t)
		handle, _ := f.tcp(port)
		go handle(far)
		near.SetDeadline(time.Now().Add(patience))
		answer, _ := io.ReadAll(near)
		return string(answer)
	}
	if got := ask(); got != "six" {
		t.Errorf("only IPv6: %q", got)
	}
	four, err := net.Listen("tcp", address("127.0.0.1", port))
	if err != nil {
		t.Skipf("the port is taken: %v", err)
	}
	defer four.Close()
	go sayAndClose(four, "four")
	if got := ask(); got != "four" {
		t.Errorf("both: %q", got)
	}
}

func sayAndClose(listener net.Listener, what string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		io.WriteString(conn, what)
		conn.Close()
	}
}
