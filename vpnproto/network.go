package vpnproto

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/vpnv1"
)

// Network is the whole state of interface, routes and DNS that a manager is to
// set up, where the system lets only it do so (macOS).
type Network struct {
	MTU       int
	Addresses []netip.Prefix
	Routes    []netip.Prefix
	Excluded  []netip.Prefix // routes that stay outside
	// DNS: who answers for which suffixes, without trailing dots.
	Nameservers []netip.Addr
	Suffixes    []string
}

// message puts it into the protocol's words.
func (n Network) message() *vpnv1.NetworkSettingsRequest {
	request := &vpnv1.NetworkSettingsRequest{Mtu: uint32(n.MTU)}
	if len(n.Suffixes) > 0 {
		request.DnsSettings = &vpnv1.NetworkSettingsRequest_DNSSettings{DomainName: n.Suffixes[0], MatchDomains: n.Suffixes}
		for _, server := range n.Nameservers {
			request.DnsSettings.Servers = append(request.DnsSettings.Servers, server.String())
		}
	}
	if len(n.Addresses)+len(n.Routes)+len(n.Excluded) == 0 {
		return request
	}
	request.Ipv6Settings = &vpnv1.NetworkSettingsRequest_IPv6Settings{IncludedRoutes: routes(n.Routes), ExcludedRoutes: routes(n.Excluded)}
	for _, address := range n.Addresses {
		request.Ipv6Settings.Addrs = append(request.Ipv6Settings.Addrs, address.Addr().String())
		request.Ipv6Settings.PrefixLengths = append(request.Ipv6Settings.PrefixLengths, uint32(address.Bits()))
	}
	return request
}

func routes(list []netip.Prefix) []*vpnv1.NetworkSettingsRequest_IPv6Settings_IPv6Route {
	var messages []*vpnv1.NetworkSettingsRequest_IPv6Settings_IPv6Route
	for _, route := range list {
		messages = append(messages, &vpnv1.NetworkSettingsRequest_IPv6Settings_IPv6Route{
			Destination: route.Addr().String(), PrefixLength: uint32(route.Bits()),
		})
	}
	return messages
}

// apply has the manager set up the network. What it has already is not sent
// again; a failure is tried anew.
func (s *session) apply(ctx context.Context, want Network) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	request := want.message()
	if s.applied != nil && proto.Equal(s.applied, request) {
		return nil
	}
	s.applied = nil
	answer, err := s.link.ask(ctx, &vpnv1.TunnelMessage{Msg: &vpnv1.TunnelMessage_NetworkSettings{NetworkSettings: request}})
	if err != nil {
		return fmt.Errorf("have the manager set up the network: %w", err)
	}
	response := answer.GetNetworkSettings()
	switch {
	case response == nil:
		return errors.New("have the manager set up the network: it answered something else")
	case !response.GetSuccess():
		return fmt.Errorf("have the manager set up the network: %s", response.GetErrorMessage())
	}
	s.applied = request
	return nil
}
