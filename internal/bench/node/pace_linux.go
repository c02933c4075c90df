package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// paceTick is how often the generator sends what is due.
const paceTick = time.Millisecond

// paceDNS asks at a fixed rate, whatever the answers do: a server that stalls
// is late for every query of that time, not for one.
func paceDNS(ctx context.Context, flags *flag.FlagSet, args []string) error {
	addr := flags.String("addr", "", "server")
	rate := flags.Int("rate", 5000, "queries each second")
	lasting := flags.Duration("for", 3*time.Second, "how long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	conn, err := net.Dial("udp", *addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	p := &pace{conn: conn}
	if err := p.prepare(); err != nil {
		return err
	}
	received := make(chan error, 1)
	go func() { received <- p.receive() }()
	sendErr := p.send(ctx, *rate, *lasting)
	time.Sleep(500 * time.Millisecond) // for the last answers
	if err := errors.Join(sendErr, conn.SetReadDeadline(time.Now()), <-received); err != nil {
		return err
	}
	result := figures{}
	for name, percent := range map[string]float64{"p50": 50, "p99": 99, "p99.9": 99.9, "max": 100} {
		result.add(name, micros(percentile(p.took, percent)))
	}
	result.add("lost", float64(p.sent-len(p.took)))
	return result.print()
}

type pace struct {
	conn    net.Conn
	queries [][]byte
	sent    int
	took    []time.Duration

	mu  sync.Mutex
	due [1 << 16]time.Time // by query id; zero: answered
}

func (p *pace) prepare() error {
	for i := range agents {
		name, err := dnsmessage.NewName(fmt.Sprintf("main.ws%d.me.%s.", i, suffix))
		if err != nil {
			return err
		}
		message := dnsmessage.Message{
			Header:    dnsmessage.Header{RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}},
		}
		packed, err := message.Pack()
		if err != nil {
			return err
		}
		p.queries = append(p.queries, packed)
	}
	return nil
}

// send counts from when a query was due, not from when the generator came to it.
func (p *pace) send(ctx context.Context, rate int, lasting time.Duration) error {
	began := time.Now()
	ticker := time.NewTicker(paceTick)
	defer ticker.Stop()
	for ctx.Err() == nil && time.Since(began) < lasting {
		<-ticker.C
		for until := int(time.Since(began).Seconds() * float64(rate)); p.sent < until; p.sent++ {
			query := p.queries[p.sent%len(p.queries)]
			binary.BigEndian.PutUint16(query, uint16(p.sent))
			p.mu.Lock()
			p.due[uint16(p.sent)] = began.Add(time.Duration(p.sent) * time.Second / time.Duration(rate))
			p.mu.Unlock()
			if _, err := p.conn.Write(query); err != nil {
				return fmt.Errorf("send query: %w", err)
			}
		}
	}
	return nil
}

func (p *pace) receive() error {
	answer := make([]byte, 2048)
	for {
		count, err := p.conn.Read(answer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		now := time.Now()
		if count < 12 || answer[2]&0x80 == 0 || answer[3]&0x0f != 0 || binary.BigEndian.Uint16(answer[6:]) != 1 {
			return fmt.Errorf("read answer: %x is not an address for a name that exists all the time", answer[:count])
		}
		id := binary.BigEndian.Uint16(answer)
		p.mu.Lock()
		due := p.due[id]
		p.due[id] = time.Time{}
		p.mu.Unlock()
		if !due.IsZero() {
			p.took = append(p.took, now.Sub(due))
		}
	}
}
