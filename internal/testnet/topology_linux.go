package testnet

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Addresses of the small internet of a Topology (the documentation range).
const (
	ServerAddr = "192.0.2.10"
	proxyAddr  = "192.0.2.11"
	// ProxyAddr is a second public host, for a reverse proxy.
	ProxyAddr = proxyAddr
)

// NAT says how a site reaches the internet.
type NAT int

const (
	// Public: the host is on the internet's switch itself.
	Public NAT = iota
	// EasyNAT keeps the source port, and filters by address and port.
	EasyNAT
	// HardNAT takes a random source port for each destination.
	HardNAT
)

// Topology is an internet (one switch), a server and a proxy on it, and a
// client and an agent which are on it too or behind a router each.
type Topology struct {
	Internet, Server, Proxy, Client, Agent *Host
	// ClientRouter and AgentRouter are nil on a public site.
	ClientRouter, AgentRouter *Host

	mu      sync.Mutex
	hosts   []*Host
	closers []func() error
}

// New builds a topology. Close it also after an error of yours; after an error
// of New there is nothing to close.
func New(ctx context.Context, client, agent NAT) (*Topology, error) {
	t := &Topology{}
	if err := t.build(ctx, client, agent); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Topology) build(ctx context.Context, client, agent NAT) error {
	for name, host := range map[string]**Host{
		"internet": &t.Internet, "server": &t.Server, "proxy": &t.Proxy, "client": &t.Client, "agent": &t.Agent,
	} {
		made, err := t.host(ctx, name)
		if err != nil {
			return err
		}
		*host = made
	}
	if _, err := t.Internet.Shell(ctx, `ip link add wan type bridge forward_delay 0; ip link set wan up; ip addr add 192.0.2.1/24 dev wan`); err != nil {
		return err
	}
	for host, addr := range map[*Host]string{t.Server: ServerAddr, t.Proxy: proxyAddr} {
		if err := t.plug(ctx, host, addr); err != nil {
			return err
		}
	}
	var err error
	if t.ClientRouter, err = t.site(ctx, t.Client, client, "192.0.2.30", "10.77.1"); err != nil {
		return err
	}
	t.AgentRouter, err = t.site(ctx, t.Agent, agent, "192.0.2.40", "10.77.2")
	return err
}

func (t *Topology) host(ctx context.Context, name string) (*Host, error) {
	host, err := NewHost(ctx, name)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hosts = append(t.hosts, host)
	return host, nil
}

// plug connects a host's eth0 to the internet. It gets no link-local address,
// which would settle only seconds later and look like a change of the host.
func (t *Topology) plug(ctx context.Context, host *Host, addr string) error {
	port := "p" + addr[len("192.0.2."):]
	_, err := t.Internet.Shell(ctx, fmt.Sprintf(`ip link add %s type veth peer name eth0 netns %d; ip link set %s master wan up`, port, host.PID(), port))
	if err != nil {
		return err
	}
	_, err = host.Shell(ctx, fmt.Sprintf(`ip link set eth0 addrgenmode none; ip addr add %s/24 dev eth0; ip link set eth0 up; ip route add default via 192.0.2.1`, addr))
	return err
}

// site puts a host onto the internet, by itself or behind a router of its own,
// which it returns.
func (t *Topology) site(ctx context.Context, host *Host, nat NAT, addr, lan string) (*Host, error) {
	if nat == Public {
		return nil, t.plug(ctx, host, addr)
	}
	router, err := t.host(ctx, host.Name+"-router")
	if err != nil {
		return nil, err
	}
	if err := t.plug(ctx, router, addr); err != nil {
		return nil, err
	}
	if _, err := router.Shell(ctx, fmt.Sprintf(`ip link add lan0 type veth peer name eth0 netns %d
ip addr add %s.1/24 dev lan0; ip link set lan0 up; sysctl -qw net.ipv4.ip_forward=1`, host.PID(), lan)); err != nil {
		return nil, err
	}
	if _, err := host.Shell(ctx, fmt.Sprintf(`ip link set eth0 addrgenmode none; ip addr add %s.2/24 dev eth0; ip link set eth0 up; ip route add default via %s.1`, lan, lan)); err != nil {
		return nil, err
	}
	return router, router.nft(ctx, natRules(nat))
}

// natRules also drop what nobody asked for on the way in: otherwise a packet
// that comes early takes the connection-tracking entry of the one that goes
// out, whose port is then remapped, and no direct path forms.
func natRules(nat NAT) string {
	masquerade := "masquerade"
	if nat == HardNAT {
		masquerade = "masquerade fully-random"
	}
	return `table inet site {
	chain post { type nat hook postrouting priority srcnat; oifname "eth0" ` + masquerade + `; }
	chain input { type filter hook input priority 0; iifname "eth0" ct state new drop; }
	chain forward { type filter hook forward priority 0; iifname "eth0" ct state new drop; }
}
`
}

// BlockUDP drops every UDP packet that a router forwards, in both directions
// and without a refusal; UnblockUDP ends that.
func (h *Host) BlockUDP(ctx context.Context) error {
	return h.nft(ctx, `table inet blackhole {
	chain forward { type filter hook forward priority -10; meta l4proto udp drop; }
}
`)
}

// UnblockUDP undoes BlockUDP.
func (h *Host) UnblockUDP(ctx context.Context) error {
	return h.nft(ctx, "delete table inet blackhole\n")
}

func (h *Host) nft(ctx context.Context, rules string) error {
	_, err := h.Run(ctx, "sh", "-c", `printf %s "$1" | nft -f -`, "sh", rules)
	return err
}

// Close ends all hosts.
func (t *Topology) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var errs []error
	for _, end := range t.closers {
		errs = append(errs, end())
	}
	t.closers = nil
	for _, host := range t.hosts {
		errs = append(errs, host.Close())
	}
	t.hosts = nil
	return errors.Join(errs...)
}
