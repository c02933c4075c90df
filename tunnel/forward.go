package tunnel

import (
	"log/slog"
	"net/netip"
	"slices"

	"github.com/causewayhq/causeway/dns"
	"github.com/causewayhq/causeway/dns/forward"
	"github.com/causewayhq/causeway/proto"
)

// newResolver makes the resolver without its TCP server.
func newResolver(in ingredients) *resolver {
	r := &resolver{dns: dns.New([]string{in.kept.Suffix}, reverse...), ready: make(chan struct{}), log: in.log}
	r.buffers.New = func() any { return new([]byte) }
	if in.upstreams != nil {
		r.forward = forward.New(forward.Config{Logger: in.log, Upstreams: in.upstreams, Usable: upstreamUsable})
	}
	return r
}

// upstreamUsable refuses name servers through which a query would come back to
// us: addresses inside the tunnel, and on this host (which the unspecified
// address stands for), where a cache of the host would ask us in turn.
func upstreamUsable(addr netip.Addr) bool {
	plain := addr.Unmap()
	return !plain.IsLoopback() && !plain.IsUnspecified() && !inTunnel(addr)
}

// inTunnel says that what is sent to an address goes into our own device.
func inTunnel(addr netip.Addr) bool {
	return slices.ContainsFunc(reverse, func(prefix netip.Prefix) bool { return prefix.Contains(addr.Unmap()) })
}

// forwardPacket passes a packet on whose query is not for us. It is called on
// the way of every packet from the host.
func (r *resolver) forwardPacket(packet []byte) bool {
	if r.forward == nil {
		return false
	}
	message, foreign := r.dns.ForeignPacket(packet)
	if !foreign || !r.forward.Ready() {
		return false
	}
	from := slices.Clone(packet[:forwardedHeaders])
	r.forward.Go(message, dns.UDPLimit, func(answer []byte) {
		if answer == nil {
			return
		}
		if err := r.send(dns.ReplyPacket(nil, from, answer)); err != nil {
			r.log.Debug("forwarded DNS answer not delivered", slog.String("error", err.Error()))
		}
	})
	return true
}

// forwardedHeaders are those of IPv6 and UDP, which say whom to answer.
const forwardedHeaders = headerLen + 8

// forwardMessage is the same for a message that came over TCP.
func (r *resolver) forwardMessage(query []byte, done func(answer []byte)) bool {
	if r.forward == nil || !r.dns.Foreign(query) || !r.forward.Ready() {
		return false
	}
	r.forward.Go(query, 0, done)
	return true
}

// reverse are the tunnel's prefixes, whose reverse names we answer.
var reverse = []netip.Prefix{proto.ServicePrefix, proto.TailscalePrefix}

// hostsMode is what netcfg.OS.DNSMode calls the hosts file.
const hostsMode = "hosts"

// unforwarded says that the forwarder was asked for and cannot be had here. The
// names answer all the same, so that this is no more than a hint.
func (t *Tunnel) unforwarded(mode string) []Problem {
	applied := t.facts.applied
	if !t.config.DNSForwarder || mode != hostsMode || !applied.done || applied.err != nil {
		return nil
	}
	return []Problem{{
		CodeForwarder, "dns-forwarder is on, but the way this host asks for names does not let it be used; names stand in the hosts file instead",
		"see forward= in the daemon's log (journalctl -u causewayd | grep 'DNS mode chosen') for the reason, for example a name server on this machine; or switch dns-forwarder off",
	}}
}
