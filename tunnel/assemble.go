package tunnel

import (
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"

	"github.com/causewayhq/causeway/dns"
	"github.com/causewayhq/causeway/dns/forward"
	"github.com/causewayhq/causeway/dns/tcp53"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tun"
	"github.com/causewayhq/causeway/workspace"
)

// answers is the resolver, as far as the tunnel needs it.
type answers interface {
	// replace sets all names anew, which are about size; change goes on from there.
	replace(suffix string, size int, names iter.Seq2[string, netip.Addr])
	change(names []workspace.NameChange)
	query(message []byte) []byte
	close()
}

// ingredients are what the concrete parts of a tunnel are made of.
type ingredients struct {
	log       *slog.Logger
	profile   Profile
	headers   func() http.Header // of the present
	device    tun.Device
	name      string // of the device's interface
	kept      saved
	addresses *addressBook
	began     func() // a peer has a session for the first time; does not block
	homed     func() // the home relay may have come or gone; does not block
	// upstreams are the name servers to ask for all other names; nil: none.
	upstreams func() []netip.Addr
}

// parts makes the concrete parts of a tunnel.
type parts func(ingredients) (Engine, answers, error)

// The protocols of IPv6 that the service address answers.
const (
	headerLen   = 40
	nextHeader  = 6 // offset in the packet
	protocolTCP = 6
	protocolUDP = 17
)

// resolver answers the packets that the host sends to the service address.
type resolver struct {
	dns     *dns.Resolver
	forward *forward.Forwarder // nil: what is not ours is refused
	tcp     *tcp53.Server
	engine  *tailnet.Engine
	ready   chan struct{} // closed when engine is set
	log     *slog.Logger
	buffers sync.Pool
}

// realParts starts the data plane with the resolver behind its service address.
func realParts(in ingredients) (Engine, answers, error) {
	r := newResolver(in)
	tcp, err := tcp53.New(proto.DNSAddr, r.dns, r.forwardMessage, r.send, in.log)
	if err != nil {
		r.forward.Close()
		in.device.Close()
		return nil, nil, fmt.Errorf("start DNS over TCP: %w", err)
	}
	r.tcp = tcp
	engine, err := tailnet.New(tailnet.Config{
		Logger: in.log, Device: in.device, DeviceName: in.name,
		Identity: in.kept.Identity, NodeID: proto.NodeIDFromUUID(in.kept.ClientID),
		Addresses:      []netip.Prefix{in.kept.address()},
		DirectDisabled: in.kept.DisableDirect, ForceWebsocket: in.kept.ForceWebsockets,
		Relay: tailnet.RelayDial{
			Headers: in.headers, TLS: in.profile.TLS, Proxy: in.profile.proxy(), Connect: in.addresses.dial, Names: in.addresses,
		},
		Service:      &tailnet.Service{Addr: proto.DNSAddr, Handle: r.handle},
		SessionBegan: in.began, HomeRelayChanged: in.homed,
	})
	if err != nil {
		r.close()
		return nil, nil, err
	}
	r.engine = engine
	close(r.ready)
	return engine, r, nil
}

// handle is called on the way of every packet from the host: it must not wait.
func (r *resolver) handle(packet []byte) {
	if len(packet) < headerLen {
		return
	}
	switch packet[nextHeader] {
	case protocolTCP:
		r.tcp.Deliver(packet)
	case protocolUDP:
		if r.forwardPacket(packet) {
			return
		}
		buffer, _ := r.buffers.Get().(*[]byte)
		if reply := r.dns.AnswerPacket((*buffer)[:0], packet); len(reply) > 0 {
			if err := r.send(reply); err != nil {
				r.log.Debug("DNS answer not delivered", slog.String("error", err.Error()))
			}
			*buffer = reply
		}
		r.buffers.Put(buffer)
	}
}

// send gives a packet to the host. Before the engine is known it is dropped:
// the client asks again.
func (r *resolver) send(packet []byte) error {
	select {
	case <-r.ready:
		return r.engine.SendToHost(packet)
	default:
		return nil
	}
}

// replace makes a new table. Until it is there the old one is answered from.
func (r *resolver) replace(suffix string, size int, names iter.Seq2[string, netip.Addr]) {
	r.dns.SetSuffixes([]string{suffix})
	r.dns.Publish(dns.NewTable([]string{suffix}, size, names, reverse))
}

// change makes the next table from the last, so that one workspace among
// thousands costs little.
func (r *resolver) change(names []workspace.NameChange) {
	if len(names) == 0 {
		return
	}
	changes := make([]dns.Change, 0, len(names))
	for _, n := range names {
		changes = append(changes, dns.Change{Name: n.Name, Addr: n.After})
	}
	r.dns.Publish(r.dns.Table().With(changes))
}

func (r *resolver) query(message []byte) []byte { return r.dns.Answer(nil, message, 0) }

// close ends the forwarder first: connections wait for its answers.
func (r *resolver) close() {
	r.forward.Close()
	r.tcp.Close()
}
