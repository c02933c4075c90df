package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	miekg "github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/ipv6"
)

// serveDNS answers from the same names on a UDP socket, by our resolver or by
// miekg/dns with its own server.
func serveDNS(ctx context.Context, flags *flag.FlagSet, args []string) error {
	listen := flags.String("listen", "[::1]:5300", "address")
	kind := flags.String("kind", "ours", "ours or miekg")
	profileTo := flags.String("profile", "", "file for a CPU profile")
	if err := flags.Parse(args); err != nil {
		return err
	}
	stop, err := profile(*profileTo)
	if err != nil {
		return err
	}
	defer stop()
	addr, err := netip.ParseAddrPort(*listen)
	if err != nil {
		return err
	}
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	fmt.Fprintln(os.Stderr, "ready")
	if *kind == "miekg" {
		err = serveMiekg(conn)
	} else {
		err = serveOurs(conn)
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// batch is how many queries one system call takes at most.
const batch = 32

// serveOurs takes what queries there are, and answers them, with one system
// call each: the resolver does not mind, and calls are most of the cost.
func serveOurs(conn *net.UDPConn) error {
	resolver, packets := newResolver(), ipv6.NewPacketConn(conn)
	queries, answers := make([]ipv6.Message, batch), make([]ipv6.Message, batch)
	for i := range batch {
		queries[i].Buffers = [][]byte{make([]byte, 2048)}
		answers[i].Buffers = [][]byte{make([]byte, 0, 2048)}
	}
	for {
		got, err := packets.ReadBatch(queries, 0)
		if err != nil {
			return err
		}
		count := 0
		for _, query := range queries[:got] {
			answer := &answers[count]
			answer.Buffers[0] = resolver.Answer(answer.Buffers[0][:0], query.Buffers[0][:query.N], 1232)
			if answer.Addr = query.Addr; len(answer.Buffers[0]) > 0 {
				count++
			}
		}
		for sent := 0; sent < count; {
			n, err := packets.WriteBatch(answers[sent:count], 0)
			if err != nil {
				return err
			}
			sent += n
		}
	}
}

func serveMiekg(conn *net.UDPConn) error {
	names := map[string]net.IP{}
	for name, addr := range hosts() {
		names[name+"."] = addr.AsSlice()
	}
	handler := func(w miekg.ResponseWriter, query *miekg.Msg) {
		answer := new(miekg.Msg)
		answer.SetReply(query)
		answer.Authoritative = true
		question := query.Question[0]
		if addr, found := names[strings.ToLower(question.Name)]; !found {
			answer.Rcode = miekg.RcodeNameError
		} else if question.Qtype == miekg.TypeAAAA {
			header := miekg.RR_Header{Name: question.Name, Rrtype: miekg.TypeAAAA, Class: miekg.ClassINET, Ttl: 2}
			answer.Answer = append(answer.Answer, &miekg.AAAA{Hdr: header, AAAA: addr})
		}
		if err := w.WriteMsg(answer); err != nil {
			fmt.Fprintln(os.Stderr, "node: miekg:", err)
		}
	}
	server := &miekg.Server{PacketConn: conn, Handler: miekg.HandlerFunc(handler)}
	return server.ActivateAndServe()
}

// loadDNS keeps a window of queries under way on one socket.
func loadDNS(_ context.Context, flags *flag.FlagSet, args []string) error {
	addr := flags.String("addr", "", "server")
	lasting := flags.Duration("for", 3*time.Second, "how long")
	window := flags.Int("window", 64, "unanswered queries at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := net.Dial("udp", *addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	l, err := newLoad(conn.(*net.UDPConn), *window)
	if err != nil {
		return err
	}
	began := time.Now()
	for time.Since(began) < *lasting {
		if err := l.round(); err != nil {
			return err
		}
	}
	fmt.Printf("%d %.6f %d\n", l.answers, time.Since(began).Seconds(), l.lost)
	return nil
}

// load sends and receives in batches, so that the generator costs less than
// what it measures.
type load struct {
	conn          *net.UDPConn
	batch         *ipv6.PacketConn
	queries, read []ipv6.Message
	answers, lost int
}

func newLoad(conn *net.UDPConn, window int) (*load, error) {
	l := &load{conn: conn, batch: ipv6.NewPacketConn(conn)}
	for i := range window {
		name, err := dnsmessage.NewName(fmt.Sprintf("main.ws%d.me.%s.", i*agents/window, suffix))
		if err != nil {
			return nil, err
		}
		message := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: uint16(i), RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}},
		}
		packed, err := message.Pack()
		if err != nil {
			return nil, err
		}
		l.queries = append(l.queries, ipv6.Message{Buffers: [][]byte{packed}})
		l.read = append(l.read, ipv6.Message{Buffers: [][]byte{make([]byte, 2048)}})
	}
	return l, l.send(l.queries)
}

func (l *load) send(queries []ipv6.Message) error {
	for len(queries) > 0 {
		sent, err := l.batch.WriteBatch(queries, 0)
		if err != nil {
			return fmt.Errorf("send queries: %w", err)
		}
		queries = queries[sent:]
	}
	return nil
}

// round takes the answers that are there and asks the same number anew.
func (l *load) round() error {
	if err := l.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		return err
	}
	got, err := l.batch.ReadBatch(l.read, 0)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		l.lost += len(l.queries)
		return l.send(l.queries)
	}
	if err != nil {
		return fmt.Errorf("read answers: %w", err)
	}
	var again []ipv6.Message
	for _, message := range l.read[:got] {
		answer := message.Buffers[0][:message.N]
		id := 0
		if len(answer) >= 12 {
			id = int(answer[0])<<8 | int(answer[1])
		}
		if len(answer) < 12 || answer[2]&0x80 == 0 || answer[3]&0x0f != 0 || id >= len(l.queries) {
			return fmt.Errorf("read answers: %d bytes are no answer to a query of ours: %x", len(answer), answer)
		}
		again = append(again, l.queries[id])
	}
	l.answers += got
	return l.send(again)
}
