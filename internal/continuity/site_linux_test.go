package continuity

import (
	"context"
	"fmt"

	"github.com/causewayhq/causeway/internal/testnet"
)

// wan is the public address of a router of the client, of two that it may have.
func wan(router, number int) string { return fmt.Sprintf("192.0.2.%d", 30+router+2*number) }

// everywhere are all public addresses that the client may come from.
var everywhere = []string{wan(0, 0), wan(0, 1), wan(1, 0), wan(1, 1)}

// site is where the client is: behind which router, with which addresses. Each
// of its changes can be made again and again.
type site struct {
	client   *testnet.Host
	routers  [2]*testnet.Host
	uplink   int
	lan, wan [2]int
}

// network of the uplink, without the last number.
func (s *site) network(uplink int) string { return fmt.Sprintf("10.77.%d", 1+2*uplink) }

// changeAddress gives the client another address in its network, as a new
// lease does.
func (s *site) changeAddress(ctx context.Context) error {
	network, old := s.network(s.uplink), 2+s.lan[s.uplink]
	s.lan[s.uplink] = 1 - s.lan[s.uplink]
	_, err := s.client.Shell(ctx, fmt.Sprintf(`ip addr del %[1]s.%[2]d/24 dev eth%[4]d
ip addr add %[1]s.%[3]d/24 dev eth%[4]d
ip route replace default via %[1]s.1 dev eth%[4]d`, network, old, 2+s.lan[s.uplink], s.uplink))
	return err
}

// rebind gives the client's router another public address. With the old one
// the kernel forgets every translation that used it.
func (s *site) rebind(ctx context.Context) error {
	old := wan(s.uplink, s.wan[s.uplink])
	s.wan[s.uplink] = 1 - s.wan[s.uplink]
	_, err := s.routers[s.uplink].Shell(ctx, fmt.Sprintf(`ip addr del %s/24 dev eth0
ip addr add %s/24 dev eth0
ip route replace default via 192.0.2.1 dev eth0`, old, wan(s.uplink, s.wan[s.uplink])))
	return err
}

// moveRoute leads the client's traffic out of its other interface.
func (s *site) moveRoute(ctx context.Context) error {
	s.uplink = 1 - s.uplink
	_, err := s.client.Shell(ctx, fmt.Sprintf(`ip route replace default via %s.1 dev eth%d`, s.network(s.uplink), s.uplink))
	return err
}

// blockUDP leaves only the relay, on every way out.
func (s *site) blockUDP(ctx context.Context) error {
	for _, router := range s.routers {
		if err := router.BlockUDP(ctx); err != nil {
			return err
		}
	}
	return nil
}
