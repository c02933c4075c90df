package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/vishvananda/netlink"
	"google.golang.org/protobuf/proto"
	"tailscale.com/tailcfg"

	cwproto "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tailnet"
	"github.com/causewayhq/causeway/tun"
)

// mtu of the tunnel, as in the product.
const mtu = 1280

type engineFlags struct {
	device, name, peer, relay, service, profile string
	relayed, debug                              bool
	known                                       int
}

// runEngine is one end: a TUN device, the engine with everything that the
// product turns on, and a peer whose node arrives on stdin.
func runEngine(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var f engineFlags
	flags.StringVar(&f.device, "device", "cwbench0", "name of the TUN device")
	flags.StringVar(&f.name, "name", "a", "our name, from which id and address follow")
	flags.StringVar(&f.peer, "peer", "", "the other end's name; without it there is no peer")
	flags.StringVar(&f.relay, "relay", "", "host:port of the relay (TLS, any certificate)")
	flags.BoolVar(&f.relayed, "relayed", false, "no direct path")
	flags.StringVar(&f.service, "service", "resolver", "what answers at the DNS address: resolver, snapshots or echo")
	flags.IntVar(&f.known, "known", 0, "number of further known peers, all idle")
	flags.StringVar(&f.profile, "profile", "", "file for a CPU profile")
	flags.BoolVar(&f.debug, "debug", false, "log everything")
	if err := flags.Parse(args); err != nil {
		return err
	}
	stop, err := profile(f.profile)
	if err != nil {
		return err
	}
	defer stop()
	return f.run(ctx)
}

// idOf is the id of an end, a function of its name.
func idOf(name string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)) }

func addrOf(name string) netip.Addr { return cwproto.AddrFromUUID(cwproto.ServicePrefix, idOf(name)) }

func (f engineFlags) run(ctx context.Context) error {
	device, err := tun.Open(f.device, mtu)
	if err != nil {
		return err
	}
	service, ready, err := newService(f.service)
	if err != nil {
		return errors.Join(err, device.Close())
	}
	engine, err := tailnet.New(tailnet.Config{
		Logger: newLogger(f.debug), Device: device, DeviceName: f.device,
		Identity: tailnet.NewIdentity(), NodeID: cwproto.NodeIDFromUUID(idOf(f.name)),
		Addresses:      []netip.Prefix{netip.PrefixFrom(addrOf(f.name), 128)},
		DirectDisabled: f.relayed, Relay: tailnet.RelayDial{TLS: &tls.Config{InsecureSkipVerify: true}}, Service: service,
	})
	if err != nil {
		return err
	}
	defer engine.Close()
	ready(engine)
	reached := cwproto.DNSAddr
	if f.peer != "" {
		reached = addrOf(f.peer) // alone: several engines share a namespace
	}
	if err := addAddress(f.device, addrOf(f.name), reached); err != nil {
		return err
	}
	engine.SetControlConnected(true)
	if err := addKnown(engine, f.known); err != nil {
		return err
	}
	if f.peer == "" {
		// What the making of the peers left behind is not the engine's.
		debug.FreeOSMemory()
		fmt.Fprintf(os.Stderr, "goroutines %d\nready\n", runtime.NumGoroutine())
		<-ctx.Done()
		return nil
	}
	relays, err := relayMap(f.relay)
	if err != nil {
		return err
	}
	engine.SetRelayMap(relays)
	engine.SetNodeCallback(announce)
	// Stdin ends with the bench; nothing waits for its reader before that.
	go hear(engine, idOf(f.peer))
	if err := awaitPath(ctx, engine, addrOf(f.peer), !f.relayed); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "ready")
	<-ctx.Done()
	return nil
}

// addAddress brings the device up with our address and a route to another.
func addAddress(device string, addr, reached netip.Addr) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", device, err)
	}
	own := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(128, 128)}, Flags: 0x02} // IFA_F_NODAD
	if err := netlink.AddrAdd(link, own); err != nil {
		return fmt.Errorf("add address to %s: %w", device, err)
	}
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: &net.IPNet{IP: reached.AsSlice(), Mask: net.CIDRMask(128, 128)}}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("add route to %s: %w", device, err)
	}
	return nil
}

func relayMap(address string) (cwproto.RelayMap, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return cwproto.RelayMap{}, fmt.Errorf("read relay: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return cwproto.RelayMap{}, fmt.Errorf("read relay: %w", err)
	}
	node := &tailcfg.DERPNode{Name: "bench1", RegionID: 1, HostName: host, DERPPort: port, STUNPort: port, InsecureForTests: true}
	return cwproto.RelayMap{DERPMap: &tailcfg.DERPMap{OmitDefaultRegions: true, Regions: map[int]*tailcfg.DERPRegion{
		1: {RegionID: 1, RegionCode: "bench", RegionName: "Bench", Nodes: []*tailcfg.DERPNode{node}},
	}}}, nil
}

var stdout sync.Mutex

// announce writes our node as one line.
func announce(node *tailnetv2.Node) {
	stdout.Lock()
	defer stdout.Unlock()
	encoded, err := proto.Marshal(node)
	if err == nil {
		fmt.Println(base64.StdEncoding.EncodeToString(encoded))
	}
}

// hear gives the engine every node that the other end announces.
func hear(engine *tailnet.Engine, id uuid.UUID) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		encoded, err := base64.StdEncoding.DecodeString(lines.Text())
		node := &tailnetv2.Node{}
		if err == nil {
			err = proto.Unmarshal(encoded, node)
		}
		if err == nil {
			err = engine.UpdatePeers([]*tailnetv2.CoordinateResponse_PeerUpdate{{
				Id: id[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE, Node: node,
			}})
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "node: peer:", err)
		}
	}
}

// awaitPath pings until the other end answers on the path that is wanted.
func awaitPath(ctx context.Context, engine *tailnet.Engine, addr netip.Addr, direct bool) error {
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		result, err := engine.Ping(try, addr)
		cancel()
		if err == nil && result.Direct == direct {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for path: %w", errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// knownBatch is how many updates one response of a coordinator holds.
const knownBatch = 1024

// addKnown makes peers known that nothing is sent to, and prints how long the
// engine took for them.
func addKnown(engine *tailnet.Engine, count int) error {
	var took time.Duration
	for first := 0; first < count; first += knownBatch {
		updates, err := knownPeers(first, min(first+knownBatch, count))
		if err != nil {
			return err
		}
		began := time.Now()
		for _, update := range updates { // as a desktop does with every agent
			engine.SetTunnelDestination(uuid.UUID(update.GetId()))
		}
		if err := engine.UpdatePeers(updates); err != nil {
			return err
		}
		took += time.Since(began)
	}
	fmt.Fprintf(os.Stderr, "added %.3f\n", millis(took))
	return nil
}

func knownPeers(from, to int) ([]*tailnetv2.CoordinateResponse_PeerUpdate, error) {
	var updates []*tailnetv2.CoordinateResponse_PeerUpdate
	for i := from; i < to; i++ {
		name := "known" + strconv.Itoa(i)
		id := idOf(name)
		identity := tailnet.NewIdentity()
		public, err := identity.Node.Public().MarshalBinary()
		if err != nil {
			return nil, err
		}
		disco, err := identity.Disco.Public().MarshalText()
		if err != nil {
			return nil, err
		}
		prefix := netip.PrefixFrom(addrOf(name), 128).String()
		updates = append(updates, &tailnetv2.CoordinateResponse_PeerUpdate{
			Id: id[:], Kind: tailnetv2.CoordinateResponse_PeerUpdate_NODE,
			Node: &tailnetv2.Node{
				Id: cwproto.NodeIDFromUUID(id), Key: public, Disco: string(disco), PreferredDerp: 1,
				Addresses: []string{prefix}, AllowedIps: []string{prefix}, Endpoints: []string{"192.0.2.77:" + strconv.Itoa(10000+i)},
			},
		})
	}
	return updates, nil
}
