package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/internal/testnet"
	"github.com/causewayhq/causeway/proto"
)

const (
	relayPort     = "4431"
	wireguardPort = 51900
	clientAddr    = "192.0.2.30" // of testnet's client and agent on the internet's switch
	agentAddr     = "192.0.2.40"
)

// ends are the two programs of a tunnel; address is that of the agent's end.
type ends struct {
	client, agent *process
	address       string
}

func (e ends) pids() []int { return []int{e.client.pid(), e.agent.pid()} }

// engines starts our two ends. label keeps them apart from others on the same hosts.
func (b *bench) engines(label, relay string, extra ...string) (ends, error) {
	var e ends
	// Each one's standard output is the other's standard input.
	toAgent, fromClient, err := os.Pipe()
	if err != nil {
		return e, err
	}
	toClient, fromAgent, err := os.Pipe()
	if err != nil {
		return e, err
	}
	defer func() {
		for _, file := range []*os.File{toAgent, fromClient, toClient, fromAgent} {
			file.Close()
		}
	}()
	args := func(self, peer string) []string {
		all := append([]string{"engine", "-device", "cw-" + label, "-name", label + self, "-peer", label + peer, "-relay", relay}, extra...)
		if b.profile {
			all = append(all, "-profile", filepath.Join(b.dir, label+self+".pprof"))
		}
		return all
	}
	if e.client, err = b.start(b.net.Client, label+"-client", toClient, fromClient, "node", args("c", "a")...); err != nil {
		return e, err
	}
	if e.agent, err = b.start(b.net.Agent, label+"-agent", toAgent, fromAgent, "node", args("a", "c")...); err != nil {
		return e, err
	}
	for _, end := range []*process{e.client, e.agent} {
		if err := end.ready(b.ctx); err != nil {
			return e, err
		}
	}
	e.address = proto.AddrFromUUID(proto.ServicePrefix, uuid.NewSHA1(uuid.NameSpaceOID, []byte(label+"a"))).String()
	return e, nil
}

// relayOn starts a relay on the server's host.
func (b *bench) relayOn(kind, port string) (*process, string, error) {
	address := testnet.ServerAddr + ":" + port
	args := []string{"relay", "-listen", address, "-kind", kind}
	if b.profile {
		args = append(args, "-profile", filepath.Join(b.dir, "relay-"+kind+".pprof"))
	}
	p, err := b.start(b.net.Server, "relay-"+kind, nil, nil, "node", args...)
	if err != nil {
		return nil, "", err
	}
	return p, address, p.ready(b.ctx)
}

// wgEnd is one end of the plain wireguard-go tunnel.
type wgEnd struct {
	private, public string
	address         string
}

func newWGEnd(address string) (wgEnd, error) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return wgEnd{}, err
	}
	return wgEnd{hex.EncodeToString(private.Bytes()), hex.EncodeToString(private.PublicKey().Bytes()), address}, nil
}

// config is for the UAPI.
func (e wgEnd) config(peer wgEnd, outer string) string {
	endpoint := netip.AddrPortFrom(netip.MustParseAddr(outer), wireguardPort)
	return fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nendpoint=%s\nallowed_ip=%s/128\n", e.private, wireguardPort, peer.public, endpoint, peer.address)
}

// wgEnds makes the two ends' keys.
func wgEnds() (client, agent wgEnd, err error) {
	if client, err = newWGEnd("fd77::1"); err != nil {
		return client, agent, err
	}
	agent, err = newWGEnd("fd77::2")
	return client, agent, err
}

// plainWireguard starts one end.
func (b *bench) plainWireguard(host *testnet.Host, self, peer wgEnd, outer string) (*process, error) {
	return b.start(host, "wireguard-"+host.Name, strings.NewReader(self.config(peer, outer)), nil, "wireguard", "wgpeer0", self.address+"/64")
}

// wireguard starts both ends.
func (b *bench) wireguard() (ends, error) {
	client, agent, err := wgEnds()
	if err != nil {
		return ends{}, err
	}
	e := ends{address: agent.address}
	if e.agent, err = b.plainWireguard(b.net.Agent, agent, client, clientAddr); err != nil {
		return e, err
	}
	if e.client, err = b.plainWireguard(b.net.Client, client, agent, agentAddr); err != nil {
		return e, err
	}
	if err := e.agent.ready(b.ctx); err != nil {
		return e, err
	}
	return e, e.client.ready(b.ctx)
}

// tunnel is bar 1.
func (b *bench) tunnel() ([]row, error) {
	_, relay, err := b.relayOn("ours", relayPort)
	if err != nil {
		return nil, err
	}
	ours, err := b.engines("direct", relay)
	if err != nil {
		return nil, err
	}
	peer, err := b.wireguard()
	if err != nil {
		return nil, err
	}
	sink, err := b.sink(b.net.Agent, "[::]:"+sinkPort)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, streams := range []int{1, 4} {
		var a, w collected
		if err := b.compare(ours, peer, streams, sink, &a, &w); err != nil {
			return rows, err
		}
		name := fmt.Sprintf("tunnel TCP, %d streams", streams)
		if streams == 1 {
			name = "tunnel TCP, 1 stream"
		}
		rows = append(rows,
			row{metric: name, unit: "Mbit/s", ours: a.rates, peer: w.rates, target: &target{limit: 0.95, atLeast: true, stretch: "1.00"}},
			row{metric: name + ", CPU of both ends", unit: "s/GB", ours: a.cpus, peer: w.cpus, target: &target{limit: 1.10}})
	}
	rows[0].note = "TUN to TUN, MTU 1280; ours is the tailnet engine with filter, DNS hook and path selection, direct path; the peer is golang.zx2c4.com/wireguard. CPU is of both tunnel programs, sender and sink."
	return rows, nil
}

// compare sends through both tunnels in turn.
func (b *bench) compare(ours, peer ends, streams int, sink *process, a, w *collected) error {
	via := func(e ends, into *collected, size *int) func() error {
		return func() error {
			got, err := b.transfer("["+e.address+"]:"+sinkPort, *size, streams, sink, e.pids()...)
			if err == nil {
				into.add(got)
			}
			return err
		}
	}
	// One size for both: the slower one's, so that neither takes for ever.
	size := 0
	for _, e := range []ends{ours, peer} {
		fits, err := b.sized(func(size int) (sample, error) {
			return b.transfer("["+e.address+"]:"+sinkPort, size, streams, sink, e.pids()...)
		})
		if err != nil {
			return err
		}
		if size == 0 || fits < size {
			size = fits
		}
	}
	return b.inTurn(via(ours, a, &size), via(peer, w, &size))
}
