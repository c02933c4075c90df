package tcp53

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
)

func readAnswer(t *testing.T, conn net.Conn) *miekg.Msg {
	t.Helper()
	var prefix [2]byte
	if _, err := io.ReadFull(conn, prefix[:]); err != nil {
		t.Fatal(err)
	}
	wire := make([]byte, binary.BigEndian.Uint16(prefix[:]))
	if _, err := io.ReadFull(conn, wire); err != nil {
		t.Fatal(err)
	}
	m := new(miekg.Msg)
	if err := m.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	return m
}

// Answers of others come when they come; ours do not wait for them.
func TestOwnNamesOvertakeForwardedOnes(t *testing.T) {
	type held struct {
		query []byte
		done  func([]byte)
	}
	forwarded := make(chan held, maxPending+1)
	c := startForwarding(t, time.Minute, func(query []byte, done func([]byte)) bool {
		m := new(miekg.Msg)
		if m.Unpack(query) != nil || m.Question[0].Name != "example.org." {
			return false
		}
		forwarded <- held{append([]byte(nil), query...), done}
		return true
	})
	conn := c.mustDial(t)
	for range maxPending {
		if _, err := conn.Write(framed(t, query("example.org."))); err != nil {
			t.Fatal(err)
		}
	}
	own := query("myws.coder.")
	if _, err := conn.Write(framed(t, own)); err != nil {
		t.Fatal(err)
	}
	if m := readAnswer(t, conn); m.Id != own.Id || len(m.Answer) != 1 {
		t.Fatalf("first came %v", m)
	}
	if _, err := conn.Write(framed(t, query("example.org."))); err != nil {
		t.Fatal(err)
	}
	if m := readAnswer(t, conn); m.Rcode != miekg.RcodeRefused {
		t.Fatalf("one too many got %v", m)
	}
	for range maxPending {
		one := <-forwarded
		one.done(append([]byte{one.query[0], one.query[1], 0x80}, one.query[3:]...))
	}
	for range maxPending {
		if m := readAnswer(t, conn); m.Question[0].Name != "example.org." {
			t.Errorf("got %v", m)
		}
	}
}

func TestForwardedQueryWithoutAnswer(t *testing.T) {
	c := startForwarding(t, time.Minute, func(_ []byte, done func([]byte)) bool { go done(nil); return true })
	conn := c.mustDial(t)
	if _, err := conn.Write(framed(t, query("example.org."))); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) != 0 {
		t.Errorf("%x %v", rest, err)
	}
}
