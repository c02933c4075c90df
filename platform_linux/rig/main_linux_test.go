// Package rig runs the Linux adapter on real systemd hosts, one for each way in
// which Debian resolves names.
package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/netcfg"
	platform "github.com/causewayhq/causeway/platform_linux"
	"github.com/causewayhq/causeway/tun"
)

const (
	device = "causeway0"
	suffix = "coder"
	// canary stands for the server itself, as the sentinel does: the net lacks it.
	canary   = "canary." + suffix
	stateDir = "/var/lib/causeway-rig"
)

var (
	// server is on the interface itself, so that the kernel does what the
	// tunnel would: hand our resolver its queries.
	server = netip.MustParseAddr("fd60:627a:a42b::53")
	agent  = netip.MustParseAddr("fd60:627a:a42b:1::2")
)

// TestMain is also the daemon: the word "role" makes it one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "role" {
		if err := play(os.Args[2], len(os.Args) > 3); err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// play is a daemon ("serve") or a cleanup ("cleanup"). A daemon answers its
// standard input line by line, with what the adapter says of itself.
func play(role string, forward bool) error {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	host, err := platform.New(platform.Options{Logger: logger, StateDir: stateDir})
	if err != nil {
		return err
	}
	defer host.Close()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if role == "cleanup" {
		return host.Cleanup(ctx)
	}
	opened, err := tun.Open(device, 1280)
	if err != nil {
		return err
	}
	go func() {
		for range opened.Events() {
		}
	}()
	want := netcfg.Config{
		Interface: device, MTU: 1280,
		Addresses: []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b:1::1/128"), netip.PrefixFrom(server, 128)},
		Routes:    []netip.Prefix{netip.MustParsePrefix("fd60:627a:a42b::/48")},
		DNS: netcfg.DNS{
			Nameservers: []netip.Addr{server}, Suffixes: []string{suffix}, Forward: forward,
			Hosts: netcfg.ListHosts(netcfg.Host{Name: "main." + suffix, Addr: agent}, netcfg.Host{Name: canary, Addr: server}),
		},
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		_ = host.Watch(ctx, func(e netcfg.Event) { logger.Info("event", slog.Int("event", int(e))) })
	}()
	began := time.Now()
	err = host.Apply(ctx, want)
	fmt.Printf("applied %v %d ms\n", err, time.Since(began).Milliseconds())
	if err := serve(host); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch lines.Text() {
		case "down":
			err := host.Apply(ctx, netcfg.Config{})
			fmt.Println("down", err)
			stop()
			<-watched
			return host.Cleanup(context.Background())
		default:
			answer(ctx, host, lines.Text())
		}
	}
	<-ctx.Done()
	return nil
}

func answer(ctx context.Context, host *platform.OS, question string) {
	said := map[string]any{"mode": host.DNSMode(), "upstreams": host.Upstreams()}
	if err := host.Trouble(); err != nil {
		said["trouble"] = err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	found, err := host.Lookup(ctx, question)
	said["found"] = found
	if err != nil {
		said["error"] = err.Error()
	}
	text, _ := json.Marshal(said)
	fmt.Println(string(text))
}

// serve is our resolver: it knows one suffix, and forwards what else it is
// asked to whom the adapter names.
func serve(host *platform.OS) error {
	socket, err := net.ListenPacket("udp", netip.AddrPortFrom(server, 53).String())
	if err != nil {
		return err
	}
	go func() {
		_ = (&dns.Server{PacketConn: socket, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			name := q.Question[0].Name
			if !dns.IsSubDomain(suffix+".", name) {
				for _, upstream := range host.Upstreams() {
					if reply, _, err := new(dns.Client).Exchange(q, netip.AddrPortFrom(upstream, 53).String()); err == nil {
						_ = w.WriteMsg(reply)
						return
					}
				}
				_ = w.WriteMsg(new(dns.Msg).SetRcode(q, dns.RcodeServerFailure))
				return
			}
			reply := new(dns.Msg).SetReply(q)
			of := agent
			if name == canary+"." {
				of = server
			}
			if q.Question[0].Qtype == dns.TypeAAAA {
				reply.Answer = append(reply.Answer, &dns.AAAA{
					Hdr:  dns.RR_Header{Name: name, Rrtype: dns.TypeAAAA, Class: dns.ClassINET, Ttl: 1},
					AAAA: of.AsSlice(),
				})
			}
			_ = w.WriteMsg(reply)
		})}).ActivateAndServe()
	}()
	return nil
}
