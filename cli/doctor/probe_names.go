package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/causewayhq/causeway/proto"
)

const (
	resolvConfPath = "/etc/resolv.conf"
	// directLimit bounds the question to one server, and libcLimit that to libc,
	// which by resolv.conf(5) asks each server twice for five seconds.
	directLimit, libcLimit = 3 * time.Second, 8 * time.Second
)

// Names asks for the sentinel in each way in which programs do.
func (m *Machine) Names(ctx context.Context, tunnel Tunnel) Names {
	n := Names{Mode: tunnel.Status.GetDnsMode()}
	text, err := os.ReadFile(resolvConfPath)
	target, _ := os.Readlink(resolvConfPath)
	n.ResolvConf = readResolvConf(string(text))
	n.ResolvConf.Err, n.ResolvConf.Target = err, target
	n.Resolved = askResolved(ctx, tunnel.Status.GetInterface())
	if tunnel.Sentinel == "" {
		return n
	}
	libc, cancel := context.WithTimeout(ctx, libcLimit)
	defer cancel()
	var group sync.WaitGroup
	group.Go(func() { n.Libc = judged(lookupLibc(libc, tunnel.Sentinel)) })
	if servers := n.ResolvConf.Servers; len(servers) > 0 {
		group.Go(func() { n.Direct = judged(lookupDirect(ctx, servers[0], tunnel.Sentinel)) })
	}
	group.Wait()
	return n
}

// judged compares an answer with what the sentinel has.
func judged(addrs []netip.Addr, err error) Lookup {
	lookup := Lookup{Asked: true, Right: slices.Contains(addrs, proto.DNSAddr), Silent: isSilence(err), Err: err}
	if !lookup.Right && err == nil {
		lookup.Err = fmt.Errorf("got %s, want %s", listed(addrs), proto.DNSAddr)
	}
	return lookup
}

// readResolvConf reads servers as libc does, and who says that it wrote it.
func readResolvConf(text string) ResolvConf {
	var conf ResolvConf
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if comment, found := strings.CutPrefix(line, "#"); found {
			_, writer, generated := strings.Cut(comment, "enerated by ")
			if generated && conf.Writer == "" {
				conf.Writer = strings.TrimRight(strings.TrimSpace(writer), ".")
			}
			continue
		}
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "nameserver" {
			if server, err := netip.ParseAddr(fields[1]); err == nil {
				conf.Servers = append(conf.Servers, server)
			}
		}
	}
	return conf
}

// lookupDirect asks one server, as programs do that read resolv.conf themselves.
func lookupDirect(ctx context.Context, server netip.Addr, name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, directLimit)
	defer cancel()
	packed, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return nil, err
	}
	question := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(time.Now().UnixNano()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: packed, Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}},
	}
	data, err := question.Pack()
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(server, 53).String())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.Write(data); err != nil {
		return nil, err
	}
	return readDirect(conn, question.ID)
}

// answeredError is an answer without addresses.
type answeredError struct{ code dnsmessage.RCode }

func (e answeredError) Error() string { return fmt.Sprintf("it answers %s", e.code) }

// isSilence says that nothing came back in time.
func isSilence(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}

func readDirect(conn net.Conn, id uint16) ([]netip.Addr, error) {
	buffer := make([]byte, 4096)
	for {
		size, err := conn.Read(buffer)
		if err != nil {
			return nil, err
		}
		var answer dnsmessage.Message
		if answer.Unpack(buffer[:size]) != nil || answer.ID != id || !answer.Response {
			continue // not ours; the deadline ends the wait
		}
		var addrs []netip.Addr
		for _, record := range answer.Answers {
			if body, ok := record.Body.(*dnsmessage.AAAAResource); ok {
				addrs = append(addrs, netip.AddrFrom16(body.AAAA))
			}
		}
		if len(addrs) == 0 {
			return nil, answeredError{answer.RCode}
		}
		return addrs, nil
	}
}
