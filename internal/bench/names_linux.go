package main

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/causewayhq/causeway/dns"
	"github.com/causewayhq/causeway/internal/testnet"
	"github.com/causewayhq/causeway/proto"
)

// taskset gives the subject the first CPU and the generator the second, so that
// figures are those of one core and the two do not get into each other's way.
const taskset = "/usr/bin/taskset"

// subject starts the node program on the first CPU.
func (b *bench) subject(host *testnet.Host, name string, args ...string) (*process, error) {
	return b.start(host, name, nil, nil, taskset, append([]string{"-c", "0", filepath.Join(b.dir, "node")}, args...)...)
}

// lookups are one run of the DNS generator.
type lookups struct {
	rate float64 // answers per second
	cpu  float64 // of the answering program, in µs for each answer
	lost int
}

// ask runs the generator against a server of process p.
func (b *bench) ask(host *testnet.Host, address string, p *process) (lookups, error) {
	before, err := cpu(p.pid())
	if err != nil {
		return lookups{}, err
	}
	generator := host.Command(b.ctx, taskset, "-c", "1", filepath.Join(b.dir, "node"), "dns-load", "-addr", address, "-for", b.lasting.String())
	var output, complaint bytes.Buffer
	generator.Stdout, generator.Stderr = &output, &complaint
	if err := generator.Run(); err != nil {
		return lookups{}, fmt.Errorf("ask %s: %w: %s", p.name, err, complaint.String())
	}
	after, err := cpu(p.pid())
	if err != nil {
		return lookups{}, err
	}
	var answers, seconds float64
	var got lookups
	if _, err := fmt.Sscan(output.String(), &answers, &seconds, &got.lost); err != nil {
		return got, fmt.Errorf("read result of generator: %w: %q", err, output.String())
	}
	got.rate, got.cpu = answers/seconds, (after-before)*1e6/answers
	return got, nil
}

// asked are the runs against one server.
type asked struct {
	rates, cpus []float64
	lost        int
}

func (a *asked) by(measure func() (lookups, error)) func() error {
	return func() error {
		got, err := measure()
		if err == nil {
			a.rates, a.cpus, a.lost = append(a.rates, got.rate), append(a.cpus, got.cpu), a.lost+got.lost
		}
		return err
	}
}

// names is bar 7.
func (b *bench) names() ([]row, error) {
	rows, err := b.namesInTunnel()
	if err != nil {
		return rows, err
	}
	more, err := b.namesOnSocket()
	if err != nil {
		return rows, err
	}
	allocations, err := allocations()
	if err != nil {
		return rows, err
	}
	return append(append(rows, more...), row{
		metric: "DNS allocations for each answered message", unit: "", ours: []float64{allocations},
		target: &target{limit: 0, amount: true},
	}), nil
}

// namesInTunnel sends queries through the TUN device. Both programs have the
// same service address, so each has a host of its own.
func (b *bench) namesInTunnel() ([]row, error) {
	one := func(host *testnet.Host, service string) (*process, func() (lookups, error), error) {
		args := []string{"engine", "-device", "cw-dns", "-name", service, "-service", service}
		if b.profile {
			args = append(args, "-profile", filepath.Join(b.dir, "dns-"+service+".pprof"))
		}
		p, err := b.subject(host, "dns-"+service, args...)
		if err != nil {
			return nil, nil, err
		}
		address := net.JoinHostPort(proto.DNSAddr.String(), "53")
		return p, func() (lookups, error) { return b.ask(host, address, p) }, p.ready(b.ctx)
	}
	ours, askOurs, err := one(b.net.Client, "resolver")
	if err != nil {
		return nil, err
	}
	echo, askEcho, err := one(b.net.Agent, "echo")
	if err != nil {
		return nil, err
	}
	var a, e asked
	if err := b.inTurn(a.by(askOurs), e.by(askEcho)); err != nil {
		return nil, err
	}
	ours.stop()
	echo.stop()
	return []row{
		{
			metric: "DNS in the tunnel", unit: "answers/s", ours: a.rates, peer: e.rates, target: &target{limit: 0.8, atLeast: true, stretch: "1.0"},
			note: fmt.Sprintf("1,000 agents, 64 queries under way, one core; packet in by the TUN device, answered, out by it. The peer flips one bit of the query in the same place. Lost: ours %d, peer %d.", a.lost, e.lost),
		},
		{metric: "DNS in the tunnel, CPU of the program", unit: "µs/answer", ours: a.cpus, peer: e.cpus},
	}, nil
}

func (b *bench) namesOnSocket() ([]row, error) {
	one := func(kind, address string) (func() (lookups, error), error) {
		p, err := b.subject(b.net.Client, "socket-"+kind, "dns-serve", "-listen", address, "-kind", kind)
		if err != nil {
			return nil, err
		}
		return func() (lookups, error) { return b.ask(b.net.Client, address, p) }, p.ready(b.ctx)
	}
	askOurs, err := one("ours", "[::1]:5301")
	if err != nil {
		return nil, err
	}
	askMiekg, err := one("miekg", "[::1]:5302")
	if err != nil {
		return nil, err
	}
	var a, m asked
	if err := b.inTurn(a.by(askOurs), m.by(askMiekg)); err != nil {
		return nil, err
	}
	return []row{
		{
			metric: "DNS on a UDP socket", unit: "answers/s", ours: a.rates, peer: m.rates, target: &target{limit: 3, atLeast: true},
			note: fmt.Sprintf("ours takes and sends up to 32 packets with one system call; the peer is miekg/dns with its own server and a map. Lost: ours %d, peer %d.", a.lost, m.lost),
		},
		{metric: "DNS on a UDP socket, CPU of the program", unit: "µs/answer", ours: a.cpus, peer: m.cpus},
	}, nil
}

// allocations counts those of one message answered by the resolver.
func allocations() (float64, error) {
	const name = "main.myws.me.coder"
	message := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}},
	}
	query, err := message.Pack()
	if err != nil {
		return 0, err
	}
	addr := netip.MustParseAddr("fd60:627a:a42b::7")
	resolver := dns.New([]string{"coder"})
	resolver.Publish(dns.NewTable([]string{"coder"}, 1, maps.All(map[string]netip.Addr{name: addr}), []netip.Prefix{proto.ServicePrefix}))
	answer := make([]byte, 0, 2048)
	if answer = resolver.Answer(answer, query, 1232); len(answer) <= len(query) {
		return 0, fmt.Errorf("count allocations: %s has no answer", name)
	}
	return testing.AllocsPerRun(1000, func() { answer = resolver.Answer(answer[:0], query, 1232) }), nil
}
