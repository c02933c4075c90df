package platform

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/windows"
	"golang.zx2c4.com/wireguard/windows/tunnel/winipcfg"
)

// winSystem is this machine's Windows.
type winSystem struct{}

var _ system = winSystem{}

// Snapshot reads the tables of the IP helper.
func (winSystem) Snapshot() (snapshot, error) {
	var now snapshot
	interfaces, err := winipcfg.GetIfTable2Ex(winipcfg.MibIfEntryNormalWithoutStatistics)
	if err != nil {
		return now, fmt.Errorf("GetIfTable2Ex: %w", err)
	}
	for i := range interfaces {
		row := &interfaces[i]
		if row.Type == winipcfg.IfTypeSoftwareLoopback {
			continue
		}
		now.Links = append(now.Links, link{
			LUID: luid(row.InterfaceLUID), Name: row.Alias(), GUID: strings.ToLower(row.InterfaceGUID.String()),
			Up: row.OperStatus == winipcfg.IfOperStatusUp,
		})
	}
	addresses, err := winipcfg.GetUnicastIPAddressTable(windows.AF_UNSPEC)
	if err != nil {
		return now, fmt.Errorf("GetUnicastIpAddressTable: %w", err)
	}
	for i := range addresses {
		row := &addresses[i]
		p := netip.PrefixFrom(row.Address.Addr().WithZone(""), int(row.OnLinkPrefixLength))
		now.Addresses = append(now.Addresses, address{LUID: luid(row.InterfaceLUID), Prefix: p})
	}
	routes, err := winipcfg.GetIPForwardTable2(windows.AF_UNSPEC)
	if err != nil {
		return now, fmt.Errorf("GetIpForwardTable2: %w", err)
	}
	for i := range routes {
		row := &routes[i]
		now.Routes = append(now.Routes, route{
			LUID: luid(row.InterfaceLUID), Prefix: row.DestinationPrefix.Prefix(), NextHop: row.NextHop.Addr().WithZone(""),
			Metric: row.Metric, Kernel: row.Protocol == winipcfg.RouteProtocolLocal,
		})
	}
	return now, nil
}

func (winSystem) Family(id luid, f family) (settings, error) {
	row, err := winipcfg.LUID(id).IPInterface(addressFamily(f))
	if err != nil {
		return settings{}, fmt.Errorf("GetIpInterfaceEntry: %w", known(err))
	}
	return settings{
		AutomaticMetric: row.UseAutomaticMetric, Metric: row.Metric, DADTransmits: row.DadTransmits,
		RouterDiscovery:  row.RouterDiscoveryBehavior != winipcfg.RouterDiscoveryDisabled,
		ManagedAddresses: row.ManagedAddressConfigurationSupported, MTU: row.NLMTU,
	}, nil
}

func (winSystem) SetFamily(id luid, f family, s settings) error {
	row, err := winipcfg.LUID(id).IPInterface(addressFamily(f))
	if err != nil {
		return fmt.Errorf("GetIpInterfaceEntry: %w", known(err))
	}
	row.UseAutomaticMetric, row.Metric, row.DadTransmits = s.AutomaticMetric, s.Metric, s.DADTransmits
	row.ManagedAddressConfigurationSupported, row.NLMTU = s.ManagedAddresses, s.MTU
	if !s.RouterDiscovery {
		row.RouterDiscoveryBehavior = winipcfg.RouterDiscoveryDisabled
	}
	// What was read may not be written: SetIpInterfaceEntry refuses an IPv4 row
	// whose SitePrefixLength is not 0 with ERROR_INVALID_PARAMETER.
	row.SitePrefixLength = 0
	if err := row.Set(); err != nil {
		return fmt.Errorf("SetIpInterfaceEntry: %w", known(err))
	}
	return nil
}

func (winSystem) AddAddress(id luid, p netip.Prefix) error {
	if err := winipcfg.LUID(id).AddIPAddress(p); err != nil {
		return fmt.Errorf("CreateUnicastIpAddressEntry: %w", known(err))
	}
	return nil
}

func (winSystem) RemoveAddress(id luid, p netip.Prefix) error {
	if err := winipcfg.LUID(id).DeleteIPAddress(p); err != nil {
		return fmt.Errorf("DeleteUnicastIpAddressEntry: %w", known(err))
	}
	return nil
}

// AddRoute adds one with the unspecified next hop, which means on-link.
func (winSystem) AddRoute(id luid, p netip.Prefix) error {
	hop := netip.IPv6Unspecified()
	if p.Addr().Is4() {
		hop = netip.IPv4Unspecified()
	}
	if err := winipcfg.LUID(id).AddRoute(p, hop, 0); err != nil {
		return fmt.Errorf("CreateIpForwardEntry2: %w", known(err))
	}
	return nil
}

func (winSystem) RemoveRoute(id luid, r route) error {
	if err := winipcfg.LUID(id).DeleteRoute(r.Prefix, r.NextHop); err != nil {
		return fmt.Errorf("DeleteIpForwardEntry2: %w", known(err))
	}
	return nil
}

// ClearServers needs Windows 10 1809 (build 17763), and its DNS client.
func (winSystem) ClearServers(guid string, f family) error {
	id, err := windows.GUIDFromString(guid)
	if err != nil {
		return fmt.Errorf("read GUID %s: %w", guid, err)
	}
	nothing := new(uint16)
	change := &winipcfg.DnsInterfaceSettings{
		Version:    winipcfg.DnsInterfaceSettingsVersion1,
		Flags:      winipcfg.DnsInterfaceSettingsFlagNameserver | winipcfg.DnsInterfaceSettingsFlagSearchList,
		NameServer: nothing, SearchList: nothing,
	}
	if f == ipv6 {
		change.Flags |= winipcfg.DnsInterfaceSettingsFlagIPv6
	}
	if err := winipcfg.SetInterfaceDnsSettings(id, change); err != nil {
		return fmt.Errorf("SetInterfaceDnsSettings: %w", known(err))
	}
	return nil
}

func addressFamily(f family) winipcfg.AddressFamily {
	if f == ipv4 {
		return windows.AF_INET
	}
	return windows.AF_INET6
}

// errServerUnavailable is RPC_S_SERVER_UNAVAILABLE (winerror.h): the service that
// the call talks to is disabled.
const errServerUnavailable = windows.Errno(1722)

// known marks the errors that have a meaning of their own.
func known(err error) error {
	switch {
	case errors.Is(err, windows.ERROR_NOT_FOUND), errors.Is(err, windows.ERROR_FILE_NOT_FOUND), errors.Is(err, windows.ERROR_PATH_NOT_FOUND):
		return fmt.Errorf("%w: %w", errMissing, err)
	case errors.Is(err, windows.ERROR_OBJECT_ALREADY_EXISTS), errors.Is(err, windows.ERROR_ALREADY_EXISTS):
		return fmt.Errorf("%w: %w", errExists, err)
	case errors.Is(err, windows.ERROR_PROC_NOT_FOUND), errors.Is(err, errServerUnavailable):
		return fmt.Errorf("%w: %w", errNoCall, err)
	}
	return err
}
