package forward

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/dns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnswerIsPassedOn(t *testing.T) {
	s := &upstream{udp: says(2, nil)}
	f := forwarderFor(t, s)
	for _, size := range []uint16{0, 1232, 4096} {
		answer, _ := f.wait(question(size), dns.UDPLimit)
		m := unpack(t, answer)
		if len(m.Answer) != 2 || (m.IsEdns0() != nil) != (size > 0) {
			t.Errorf("EDNS size %d: %v", size, m)
		}
	}
	if s.asked.Load() != 3 || s.streamed.Load() != 0 {
		t.Errorf("asked %d times over UDP and %d over TCP", s.asked.Load(), s.streamed.Load())
	}
}

func TestIDsDiffer(t *testing.T) {
	var mu sync.Mutex
	seen := map[uint16]bool{}
	f := forwarderFor(t, &upstream{udp: func(query []byte) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		seen[binary.BigEndian.Uint16(query)] = true
		return says(1, nil)(query)
	}})
	for range 50 {
		f.wait(question(0), dns.UDPLimit)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(seen) < 45 {
		t.Errorf("%d different ids in 50 queries", len(seen))
	}
}

func TestLongAnswers(t *testing.T) {
	cut := says(0, func(m *miekg.Msg) { m.Truncated = true })
	tests := []struct {
		name    string
		server  *upstream
		size    uint16
		limit   int
		records int
		short   bool
		stream  int64
	}{
		{"cut, whole over TCP, fits", &upstream{udp: cut, tcp: says(4, nil)}, 1232, dns.UDPLimit, 4, false, 1},
		{"cut, too long for the client", &upstream{udp: cut, tcp: says(20, nil)}, 1232, dns.UDPLimit, 0, true, 1},
		{"cut, no TCP", &upstream{udp: cut}, 1232, dns.UDPLimit, 0, true, 1},
		{"too long for our packets", &upstream{udp: says(10, nil)}, 4096, dns.UDPLimit, 0, true, 0},
		{"longer than is read over UDP", &upstream{udp: says(40, nil), tcp: says(40, nil)}, 65000, dns.UDPLimit, 0, true, 1},
		{"without EDNS", &upstream{udp: says(4, nil)}, 0, dns.UDPLimit, 0, true, 0},
		{"the client uses TCP", &upstream{tcp: says(40, nil)}, 0, 0, 40, false, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := forwarderFor(t, test.server)
			answer, took := f.wait(question(test.size), test.limit)
			m := unpack(t, answer)
			if len(m.Answer) != test.records || m.Truncated != test.short || test.server.streamed.Load() != test.stream {
				t.Errorf("%d records, cut %v, %d connections, after %v", len(m.Answer), m.Truncated, test.server.streamed.Load(), took)
			}
			if (m.IsEdns0() != nil) != (test.size > 0) {
				t.Errorf("EDNS of the client's size %d: %v", test.size, m.IsEdns0())
			}
			if test.limit > 0 && len(answer) > test.limit {
				t.Errorf("%d bytes", len(answer))
			}
		})
	}
}

// lies are messages that are no answer to the query.
var lies = map[string]func(query []byte) []byte{
	"wrong id":       func(q []byte) []byte { a := says(9, nil)(q)[0]; a[0] ^= 1; return a },
	"wrong question": func(q []byte) []byte { return says(9, func(m *miekg.Msg) { m.Question[0].Name = "evil.org." })(q)[0] },
	"wrong type":     func(q []byte) []byte { return says(9, func(m *miekg.Msg) { m.Question[0].Qtype = miekg.TypeA })(q)[0] },
	"no response":    func(q []byte) []byte { return says(9, func(m *miekg.Msg) { m.Response = false })(q)[0] },
	"two questions": func(q []byte) []byte {
		return says(9, func(m *miekg.Msg) { m.Question = append(m.Question, m.Question[0]) })(q)[0]
	},
	"no question":  func(q []byte) []byte { return says(0, func(m *miekg.Msg) { m.Question = nil })(q)[0] },
	"cut in two":   func(q []byte) []byte { a := says(9, nil)(q)[0]; return a[:len(a)/2] },
	"garbage":      func(q []byte) []byte { return append(append([]byte{}, q[:2]...), strings.Repeat("\xff", 300)...) },
	"nothing":      func([]byte) []byte { return nil },
	"one byte":     func(q []byte) []byte { return q[:1] },
	"the question": func(q []byte) []byte { return q },
}

func TestWhatIsNoAnswerIsPassedOver(t *testing.T) {
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			f := forwarderFor(t, &upstream{udp: func(q []byte) [][]byte { return [][]byte{lie(q), says(1, nil)(q)[0]} }})
			answer, took := f.wait(question(0), dns.UDPLimit)
			if m := unpack(t, answer); len(m.Answer) != 1 || m.Rcode != 0 || took > patience {
				t.Errorf("after %v: %v", took, m)
			}
			overTCP := forwarderFor(t, &upstream{tcp: func(q []byte) [][]byte { return [][]byte{lie(q)} }})
			answer, took = overTCP.wait(question(0), 0)
			if m := unpack(t, answer); m.Rcode != miekg.RcodeServerFailure || took > 2*time.Second {
				t.Errorf("over TCP, after %v: %v", took, m)
			}
		})
	}
}

func TestFloodOfStrangePacketsEnds(t *testing.T) {
	f := forwarderFor(t, &upstream{udp: func([]byte) [][]byte {
		flood := make([][]byte, 4*maxStrange)
		for i := range flood {
			flood[i] = []byte("no answer")
		}
		return flood
	}})
	answer, took := f.wait(question(0), dns.UDPLimit)
	if m := unpack(t, answer); m.Rcode != miekg.RcodeServerFailure || took > time.Second {
		t.Errorf("%v after %v", m, took)
	}
}

func TestNextServer(t *testing.T) {
	soon := 400 * time.Millisecond
	tests := []struct {
		name    string
		servers []*upstream
		within  time.Duration
		records int
		rcode   int
	}{
		{"silent first", []*upstream{{}, {udp: says(1, nil)}}, patience + soon, 1, 0},
		{"failing first", []*upstream{{udp: rcode(miekg.RcodeServerFailure)}, {udp: says(1, nil)}}, soon, 1, 0},
		{"refusing first", []*upstream{{udp: rcode(miekg.RcodeRefused)}, {udp: says(1, nil)}}, soon, 1, 0},
		{"no such name is believed", []*upstream{{udp: rcode(miekg.RcodeNameError)}, {udp: says(1, nil)}}, soon, 0, miekg.RcodeNameError},
		{"all fail", []*upstream{{udp: rcode(miekg.RcodeServerFailure)}, {udp: rcode(miekg.RcodeServerFailure)}}, soon, 0, miekg.RcodeServerFailure},
		{"all silent", []*upstream{{}, {}, {}, {udp: says(1, nil)}}, 2 * time.Second, 0, miekg.RcodeServerFailure},
		{"one silent", []*upstream{{}}, 2 * time.Second, 0, miekg.RcodeServerFailure},
		{"nobody", nil, soon, 0, miekg.RcodeServerFailure},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := forwarderFor(t, test.servers...)
			answer, took := f.wait(question(1232), dns.UDPLimit)
			if m := unpack(t, answer); len(m.Answer) != test.records || m.Rcode != test.rcode || took > test.within {
				t.Errorf("after %v: %v", took, m)
			}
		})
	}
}

func TestLostPacketIsRepeated(t *testing.T) {
	s := &upstream{}
	s.udp = func(q []byte) [][]byte {
		if s.asked.Load() == 1 {
			return nil
		}
		return says(1, nil)(q)
	}
	answer, took := forwarderFor(t, s).wait(question(0), dns.UDPLimit)
	if m := unpack(t, answer); len(m.Answer) != 1 || took > patience+400*time.Millisecond {
		t.Errorf("after %v: %v", took, m)
	}
}

// A server that is away costs its time once, not with each query.
func TestSilentServerIsAskedLast(t *testing.T) {
	silent := &upstream{}
	f := forwarderFor(t, silent, &upstream{udp: says(1, nil)})
	f.wait(question(0), dns.UDPLimit)
	for range 5 {
		if _, took := f.wait(question(0), dns.UDPLimit); took > patience/2 {
			t.Errorf("%v for a query after the first", took)
		}
	}
	if asked := silent.asked.Load(); asked != 1 {
		t.Errorf("the silent server was asked %d times", asked)
	}
}

func TestDeadPortFailsAtOnce(t *testing.T) {
	s := &upstream{}
	f := forwarderFor(t, s)
	s.packet.Close()
	answer, took := f.wait(question(0), dns.UDPLimit)
	if m := unpack(t, answer); m.Rcode != miekg.RcodeServerFailure || took > 500*time.Millisecond {
		t.Errorf("after %v: %v", took, m)
	}
}

func TestServersThatAreNotUsableAreNotAsked(t *testing.T) {
	ours := netip.MustParseAddr("fd60:627a:a42b::53")
	f := New(Config{
		Logger: slog.New(slog.DiscardHandler),
		Upstreams: func() []netip.Addr {
			return []netip.Addr{ours, {}, netip.IPv4Unspecified(), netip.MustParseAddr("ff02::1")}
		},
		Usable: func(addr netip.Addr) bool { return addr != ours },
	})
	defer f.Close()
	if f.Ready() {
		t.Errorf("ready to ask %v", f.servers(time.Now()))
	}
}

func TestTooManyQueriesFailAtOnce(t *testing.T) {
	f := forwarderFor(t, &upstream{})
	var failed atomic.Int64
	var wait sync.WaitGroup
	for range maxQueries + 10 {
		wait.Add(1)
		began := time.Now()
		f.Go(question(0), dns.UDPLimit, func(answer []byte) {
			if time.Since(began) < patience && answer[3]&15 == miekg.RcodeServerFailure {
				failed.Add(1)
			}
			wait.Done()
		})
	}
	wait.Wait()
	if failed.Load() != 10 {
		t.Errorf("%d failed at once, want 10", failed.Load())
	}
}

func TestCloseEndsQueries(t *testing.T) {
	f := forwarderFor(t, &upstream{})
	done := make(chan []byte, 2)
	f.Go(question(0), dns.UDPLimit, func(a []byte) { done <- a })
	began := time.Now()
	f.Close()
	f.Go(question(0), dns.UDPLimit, func(a []byte) { done <- a })
	for range 2 {
		if answer := <-done; answer != nil {
			t.Errorf("answer %x after the end", answer)
		}
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("closed after %v", took)
	}
}

func FuzzAnswers(f *testing.F) {
	asked := question(1232)
	for _, answer := range says(3, nil)(asked) {
		f.Add(answer)
	}
	f.Add(asked)
	f.Add([]byte{})
	f.Add(append(append([]byte{}, asked[:2]...), 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, message []byte) {
		if !answers(message, asked) {
			return
		}
		if string(message[:2]) != string(asked[:2]) || message[2]&0x80 == 0 {
			t.Fatalf("taken for an answer: %x", message)
		}
		if short := dns.Fit(message, asked, dns.UDPLimit); len(short) > dns.UDPLimit {
			t.Fatalf("%d bytes", len(short))
		}
	})
}

func BenchmarkForward(b *testing.B) {
	f, query := forwarderFor(b, &upstream{udp: says(1, nil)}), question(1232)
	for b.Loop() {
		f.wait(query, dns.UDPLimit)
	}
}
