package tailnet

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"time"

	"tailscale.com/net/stun"
	"tailscale.com/tailcfg"
)

const (
	// mappingWait is what the STUN servers get to answer in, and mappingAgain how
	// often those are asked that have not: a packet may be lost.
	mappingWait, mappingAgain = 1500 * time.Millisecond, 300 * time.Millisecond
	// mappingServers is how many are asked. Two that answer are enough.
	mappingServers = 4
	stunPort       = 3478
)

// mappingVaries says whether the NAT uses another port for each destination;
// nil: not known. Upstream compares the answers of two relay regions, which a
// deployment with one relay has not: its other STUN servers go by that region
// too, of which the first answer ends the measurement. So servers are asked from
// a socket made for it: a NAT treats all sockets of a host alike.
func (e *Engine) mappingVaries(ctx context.Context) *bool {
	if e.relaysOnly.Load() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mappingWait)
	defer cancel()
	e.mu.Lock()
	relays := e.relays.DERPMap
	e.mu.Unlock()
	servers := stunAddresses(ctx, relays)
	if len(servers) < 2 {
		return nil
	}
	return compareMappings(ctx, servers)
}

// stunAddresses are those of STUN servers, of different hosts.
func stunAddresses(ctx context.Context, relays *tailcfg.DERPMap) []netip.AddrPort {
	var found []netip.AddrPort
	seen := map[netip.Addr]bool{}
	if relays == nil {
		return nil
	}
	for _, id := range relays.RegionIDs() {
		if relays.Regions[id] == nil {
			continue
		}
		for _, node := range stunServers(relays.Regions[id]) {
			host := cmp.Or(node.STUNTestIP, node.IPv4, node.HostName)
			addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
			if err != nil || len(addresses) == 0 || seen[addresses[0].Unmap()] {
				continue
			}
			address := addresses[0].Unmap()
			seen[address] = true
			found = append(found, netip.AddrPortFrom(address, uint16(cmp.Or(node.STUNPort, stunPort))))
			if len(found) == mappingServers {
				return found
			}
		}
	}
	return found
}

// compareMappings asks servers from one socket, until two have said as whom they
// see it.
func compareMappings(ctx context.Context, servers []netip.AddrPort) *bool {
	socket, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return nil
	}
	defer socket.Close()
	stop := context.AfterFunc(ctx, func() { socket.Close() })
	defer stop()
	asked := map[stun.TxID]netip.AddrPort{}
	for _, server := range servers {
		asked[stun.NewTxID()] = server
	}
	ask := func() {
		for id, server := range asked {
			// One that cannot be sent to does not answer either.
			_, _ = socket.WriteToUDPAddrPort(stun.Request(id), server)
		}
	}
	ask()
	var first netip.AddrPort
	packet := make([]byte, 1500)
	for ctx.Err() == nil {
		_ = socket.SetReadDeadline(time.Now().Add(mappingAgain)) // a closed socket fails the read too
		n, from, err := socket.ReadFromUDPAddrPort(packet)
		if err != nil {
			ask()
			continue
		}
		id, seen, err := stun.ParseResponse(packet[:n])
		if err != nil || asked[id] != netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) {
			continue // nobody whom we have asked, or an answer that came before
		}
		delete(asked, id)
		if first.IsValid() {
			varies := first != seen
			return &varies
		}
		first = seen
	}
	return nil
}
