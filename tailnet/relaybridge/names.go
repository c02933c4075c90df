package relaybridge

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"tailscale.com/tailcfg"
)

// namesEvery is how often the addresses that upstream was given are compared
// with the resolver's answers.
const namesEvery = time.Minute

// nameLocked gives upstream the known addresses of a host that the map has none
// for, so that after a restart it needs no resolver. Former are the addresses
// that it has already: giving others would close the region's connections. The
// caller holds mu.
func (b *Bridge) nameLocked(node *tailcfg.DERPNode, former map[string][]netip.Addr) {
	host := node.HostName
	if _, err := netip.ParseAddr(host); err == nil || b.config.Names == nil || node.IPv4 != "" || node.IPv6 != "" {
		return
	}
	addrs, seen := b.given[host]
	if !seen {
		if addrs, seen = former[host]; !seen {
			addrs = b.config.Names.Known(host)
			select {
			case b.named <- struct{}{}:
			default:
			}
		}
		b.given[host] = addrs
	}
	if len(addrs) == 0 {
		return
	}
	// Upstream would look up a family that is left empty.
	node.IPv4, node.IPv6 = "none", "none"
	if index := slices.IndexFunc(addrs, netip.Addr.Is4); index >= 0 {
		node.IPv4 = addrs[index].String()
	}
	if index := slices.IndexFunc(addrs, netip.Addr.Is6); index >= 0 {
		node.IPv6 = addrs[index].String()
	}
}

// checkNames asks the resolver for the hosts of each new map, so that their
// addresses are known at the next start, and later whether those that upstream
// was given still hold.
func (b *Bridge) checkNames() {
	ticker := time.NewTicker(namesEvery)
	defer ticker.Stop()
	for {
		all := true
		select {
		case <-b.ctx.Done():
			return
		case <-b.named:
		case <-ticker.C:
			all = false
		}
		var hosts []string
		b.mu.Lock()
		for host, addrs := range b.given {
			if all || len(addrs) > 0 {
				hosts = append(hosts, host)
			}
		}
		b.mu.Unlock()
		if b.checkHosts(hosts) && b.config.Changed != nil {
			b.config.Changed()
		}
	}
}

// checkHosts says whether upstream has to be given other addresses.
func (b *Bridge) checkHosts(hosts []string) (moved bool) {
	var group sync.WaitGroup
	places := make(chan struct{}, 8)
	for _, host := range hosts {
		places <- struct{}{}
		group.Go(func() {
			defer func() { <-places }()
			fresh := b.config.Names.Resolve(b.ctx, host)
			b.mu.Lock()
			defer b.mu.Unlock()
			old, current := b.given[host]
			holds := slices.ContainsFunc(old, func(addr netip.Addr) bool { return slices.Contains(fresh, addr) })
			if current && len(old) > 0 && len(fresh) > 0 && !holds {
				b.given[host], moved = fresh, true
			}
		})
	}
	group.Wait()
	return moved
}
