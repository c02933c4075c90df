package testnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// ResolverAddr is the name server that every systemd host is set up to use, in
// the way of its flavour. Nobody answers there before ServeNames.
const ResolverAddr = "192.0.2.253"

// publicSuffix is below the top-level domain of examples (RFC 2606).
const publicSuffix = ".public.example."

// PublicName is a name of the stand-in for the public internet, and PublicAddr
// its only address: each number has one of its own, in the range of
// benchmarks (RFC 2544), so that no cache can answer for a name never asked.
func PublicName(number int) string { return "n" + strconv.Itoa(number) + ".public.example" }

// PublicAddr is the address of PublicName.
func PublicAddr(number int) string {
	return fmt.Sprintf("198.%d.%d.%d", 18+number>>16&1, number>>8&255, number&255)
}

// ServeNames answers at ResolverAddr, as the public internet would: PublicName
// for each number, and that no other name exists. It ends with the topology.
func (t *Topology) ServeNames(ctx context.Context) error {
	if _, err := t.Internet.Run(ctx, "ip", "addr", "add", ResolverAddr+"/32", "dev", "wan"); err != nil {
		return err
	}
	var packets net.PacketConn
	var streams net.Listener
	err := t.Internet.inNetwork(func() (err error) {
		if packets, err = net.ListenPacket("udp", ResolverAddr+":53"); err != nil {
			return err
		}
		streams, err = net.Listen("tcp", ResolverAddr+":53")
		return err
	})
	if err != nil {
		return fmt.Errorf("serve names on %s: %w", t.Internet.Name, err)
	}
	servers := []*dns.Server{
		{PacketConn: packets, Handler: dns.HandlerFunc(answerPublic)},
		{Listener: streams, Handler: dns.HandlerFunc(answerPublic)},
	}
	for _, server := range servers {
		up := make(chan struct{})
		server.NotifyStartedFunc = func() { close(up) }
		go func() { _ = server.ActivateAndServe() }() // ends by Shutdown
		<-up
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closers = append(t.closers, func() error {
		return errors.Join(servers[0].Shutdown(), servers[1].Shutdown())
	})
	return nil
}

func answerPublic(writer dns.ResponseWriter, query *dns.Msg) {
	answer := new(dns.Msg).SetReply(query)
	answer.RecursionAvailable = true
	question := query.Question[0]
	number, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSuffix(strings.ToLower(question.Name), publicSuffix), "n"))
	switch {
	case err != nil:
		answer.Rcode = dns.RcodeNameError
	case question.Qtype == dns.TypeA:
		answer.Answer = append(answer.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
			A:   net.ParseIP(PublicAddr(number)),
		})
	}
	_ = writer.WriteMsg(answer) // the asker asks again
}

// inNetwork runs a function in the host's network namespace. Sockets that it
// opens stay there. The thread is brought back, and does not end: programs that
// it started for other goroutines would be killed with it (Pdeathsig is told of
// threads, not of processes).
func (h *Host) inNetwork(do func() error) error {
	done := make(chan error)
	go func() { done <- h.enter(do) }()
	return <-done
}

func (h *Host) enter(do func() error) error {
	// Of any thread: those that could not be brought back have ended.
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer own.Close()
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", h.PID()))
	if err != nil {
		return err
	}
	defer theirs.Close()
	runtime.LockOSThread()
	if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = do()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back) // a thread in a foreign network has to end
	}
	runtime.UnlockOSThread()
	return err
}
