package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// resolver answers one query after the other as it is told; nil is silence.
func resolver(t *testing.T, answers ...func(*dnsmessage.Message)) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for _, answer := range answers {
			count, peer, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var message dnsmessage.Message
			if message.Unpack(buffer[:count]) != nil || answer == nil {
				continue
			}
			message.Response = true
			answer(&message)
			packet, err := message.Pack()
			if err == nil {
				_, _ = conn.WriteTo(packet, peer)
			}
		}
	}()
	return conn.LocalAddr().String()
}

var right = netip.MustParseAddr("fd60:627a:a42b::7")

func good(m *dnsmessage.Message) {
	m.Answers = []dnsmessage.Resource{{
		Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET},
		Body:   &dnsmessage.AAAAResource{AAAA: right.As16()},
	}}
}

func code(code dnsmessage.RCode) func(*dnsmessage.Message) {
	return func(m *dnsmessage.Message) { m.RCode = code }
}

// TestAsk holds that a lookup is judged as glibc would have it.
func TestAsk(t *testing.T) {
	foreign := func(m *dnsmessage.Message) { m.ID++ }
	for name, test := range map[string]struct {
		answers []func(*dnsmessage.Message)
		refused int
		wrong   bool
		failed  bool
	}{
		"right":          {answers: []func(*dnsmessage.Message){good}},
		"second try":     {answers: []func(*dnsmessage.Message){code(dnsmessage.RCodeServerFailure), good}, refused: 1},
		"refused twice":  {answers: []func(*dnsmessage.Message){code(dnsmessage.RCodeServerFailure), code(dnsmessage.RCodeRefused), good}, refused: 2, failed: true},
		"does not exist": {answers: []func(*dnsmessage.Message){code(dnsmessage.RCodeNameError), good}, wrong: true},
		"no address":     {answers: []func(*dnsmessage.Message){code(dnsmessage.RCodeSuccess), good}, wrong: true},
		"silence":        {answers: []func(*dnsmessage.Message){nil, good}, failed: true},
		"not for us":     {answers: []func(*dnsmessage.Message){foreign}, failed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock, stop := newClock(func(time.Duration) {}), make(chan struct{})
			go clock.run(stop)
			defer close(stop)
			began := time.Now()
			addrs, refused, err := ask(clock, resolver(t, test.answers...), "main.myws.me.coder", dnsmessage.TypeAAAA)
			if refused != test.refused || (err != nil) != (test.failed || test.wrong) || errors.Is(err, errWrong) != test.wrong {
				t.Errorf("refused %d times, %v; want %+v", refused, err, test)
			}
			if err == nil && (len(addrs) != 1 || addrs[0] != right) {
				t.Errorf("addresses %v", addrs)
			}
			if took := time.Since(began); took > lookupLimit+2*time.Second {
				t.Errorf("judged after %v", took)
			}
		})
	}
}

// TestRecord holds that no record can be taken for another.
func TestRecord(t *testing.T) {
	seen := map[string]bool{}
	for flow := range uint64(10) {
		for count := range uint64(1000) {
			seen[string(record(flow, count))] = true
		}
	}
	if len(seen) != 10000 {
		t.Errorf("%d different records, want 10000", len(seen))
	}
}

func TestClockStandsStillWhileFrozen(t *testing.T) {
	var told time.Duration
	c := newClock(func(gap time.Duration) { told = gap })
	c.now()
	c.began = c.began.Add(-time.Minute) // nobody asked for a minute
	if now := c.now(); now > time.Second || told < time.Minute {
		t.Errorf("the clock shows %v, and told of %v", now, told)
	}
	c.began = c.began.Add(-time.Second) // a busy machine
	if now := c.now(); now < time.Second {
		t.Errorf("the clock shows %v", now)
	}
}

// TestHole holds what the proxy lets through.
func TestHole(t *testing.T) {
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	go func() {
		for {
			conn, err := far.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
	for line, passes := range map[string]bool{"GET /api/v2/tailnet?version=2.3 HTTP/1.1": true, "GET /derp HTTP/1.1": true, "GET /api/v2/users/me HTTP/1.1": false} {
		here, there := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- forward(there, far.Addr().String()); there.Close() }()
		if _, err := io.WriteString(here, line+"\r\n"); err != nil {
			t.Fatal(err)
		}
		here.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		got, _ := io.ReadAll(here)
		here.Close()
		<-done
		if (string(got) == "hello") != passes {
			t.Errorf("%s: %q came back", line, got)
		}
	}
}

func TestRelayKeyIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	first, err := keptKey(file)
	if err != nil {
		t.Fatal(err)
	}
	second, err := keptKey(file)
	if err != nil || !second.Equal(first) {
		t.Errorf("another key after a restart: %v", err)
	}
	if err := os.WriteFile(file, []byte(strings.Repeat("x", 9)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keptKey(file); err == nil {
		t.Error("a broken key is taken")
	}
}
