package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestReservedPortsAreNotForwarded(t *testing.T) {
	f := newForwarder()
	defer f.close()
	for port, want := range map[uint16]bool{0: false, 1: false, 8: false, 9: true, 22: true, 65535: true} {
		if _, ok := f.tcp(port); ok != want {
			t.Errorf("TCP port %d: %v", port, ok)
		}
		if _, ok := f.udp(port); ok != want {
			t.Errorf("UDP port %d: %v", port, ok)
		}
	}
}

// tcpPair is a connection with both its ends.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	near, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if far, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		near.Close()
		far.Close()
	})
	return near, far
}

func TestForwardKeepsHalfClosedConnections(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		text, _ := io.ReadAll(conn) // ends with the other side's half
		fmt.Fprintf(conn, "%d bytes", len(text))
	}()
	f := newForwarder()
	defer f.close()
	near, far := tcpPair(t)
	handle, _ := f.tcp(uint16(listener.Addr().(*net.TCPAddr).Port))
	go handle(far)
	io.WriteString(near, strings.Repeat("x", 1<<20))
	near.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(near); err != nil || string(answer) != "1048576 bytes" {
		t.Errorf("got %q, %v", answer, err)
	}
	<-served
}

func TestForwardsEndWithTheirNetwork(t *testing.T) {
	f := newForwarder()
	near, far := tcpPair(t)
	handle, _ := f.tcp(echoTCP(t, "127.0.0.1:0"))
	handled := make(chan struct{})
	go func() {
		defer close(handled)
		handle(far)
	}()
	near.SetDeadline(time.Now().Add(patience))
	io.WriteString(near, "x")
	if _, err := io.ReadFull(near, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	near.(*net.TCPConn).CloseWrite() // half of it is over, the other half idle
	f.close()
	<-handled
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
	late, lateFar := tcpPair(t)
	handle(lateFar)
	if _, err := late.Read(make([]byte, 1)); err == nil {
		t.Error("a late connection is served")
	}
}

func TestNobodyListens(t *testing.T) {
	f := newForwarder()
	defer f.close()
	near, far := tcpPair(t)
	handle, _ := f.tcp(freePort(t))
	handle(far)
	near.SetDeadline(time.Now().Add(patience))
	if _, err := near.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	// UDP: the flow ends as soon as both addresses have said that nobody is there.
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(closed.LocalAddr().(*net.UDPAddr).Port)
	closed.Close()
	handleUDP, _ := f.udp(port)
	client, server := net.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		handleUDP(server)
	}()
	client.SetDeadline(time.Now().Add(patience))
	for {
		if _, err := client.Write([]byte("anybody?")); err != nil {
			break
		}
	}
	<-ended
}

func TestTooManyFlows(t *testing.T) {
	f := newForwarder()
	defer f.close()
	for range maxFlows {
		f.flows <- struct{}{}
	}
	handle, _ := f.udp(9)
	client, server := net.Pipe()
	handle(server) // returns at once
	if _, err := client.Write([]byte("x")); err == nil {
		t.Error("a flow beyond the limit was served")
	}
}

// pipeFlow is a flow between two in-memory connections.
func pipeFlow() (client, backend net.Conn, ended chan struct{}) {
	client, near := net.Pipe()
	backend, far := net.Pipe()
	ended = make(chan struct{})
	go func() {
		defer close(ended)
		newFlow(near, []func() (net.Conn, error){func() (net.Conn, error) { return far, nil }}).run(context.Background())
	}()
	return client, backend, ended
}

func TestFlowEndsWhenIdle(t *testing.T) {
	for _, talker := range []string{"client", "backend", "nobody"} {
		t.Run(talker, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, backend, ended := pipeFlow()
				started, packets := time.Now(), 0
				from, to := client, backend
				if talker == "backend" {
					from, to = backend, client
				}
				for talker != "nobody" && packets < 3 {
					time.Sleep(flowIdle - time.Second)
					if _, err := from.Write([]byte("packet")); err != nil {
						t.Fatal(err)
					}
					if count, err := to.Read(make([]byte, 100)); err != nil || count != 6 {
						t.Fatalf("read %d bytes, %v", count, err)
					}
					packets++
				}
				<-ended
				want := time.Duration(packets)*(flowIdle-time.Second) + flowIdle
				if lived := time.Since(started); lived != want {
					t.Errorf("lived %s, want %s", lived, want)
				}
			})
		})
	}
}

// refusing is a backend of which the kernel says that nobody listens.
type refusing struct {
	net.Conn
	atWrite bool
	written chan struct{}
}

func (r refusing) Write(packet []byte) (int, error) {
	select {
	case r.written <- struct{}{}:
	default:
		if r.atWrite {
			return 0, syscall.ECONNREFUSED
		}
	}
	return len(packet), nil
}

func (r refusing) Read(packet []byte) (int, error) {
	if !r.atWrite {
		<-r.written
		return 0, syscall.ECONNREFUSED
	}
	return r.Conn.Read(packet)
}

func TestFlowTriesTheNextAddress(t *testing.T) {
	for _, atWrite := range []bool{true, false} {
		t.Run(fmt.Sprintf("error at write %v", atWrite), func(t *testing.T) {
			client, near := net.Pipe()
			backend, far := net.Pipe()
			_, hole := net.Pipe()
			first := refusing{Conn: hole, atWrite: atWrite, written: make(chan struct{}, 1)}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				newFlow(near, []func() (net.Conn, error){
					func() (net.Conn, error) { return nil, errors.New("no such family") },
					func() (net.Conn, error) { return first, nil },
					func() (net.Conn, error) { return far, nil },
				}).run(context.Background())
			}()
			go func() {
				client.Write([]byte("one"))
				if atWrite {
					client.Write([]byte("two")) // the error of the first is told here
				}
			}()
			backend.SetDeadline(time.Now().Add(patience))
			buffer := make([]byte, 100)
			if count, err := backend.Read(buffer); err != nil || string(buffer[:count]) != "one" {
				t.Fatalf("the second address got %q, %v", buffer[:count], err)
			}
			client.Close()
			backend.Close()
			<-ended
		})
	}
}
