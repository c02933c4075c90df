package platform

import (
	"errors"
	"net/netip"
)

// Failures that have a remedy of their own.
var (
	// ErrNoInterface: the adapter of the configuration is not there.
	ErrNoInterface = errors.New("adapter not found")
	// ErrForeignInterface: an adapter has the name, but not our GUID.
	ErrForeignInterface = errors.New("adapter is not ours")
	// ErrIPv6Disabled: the adapter has no IPv6.
	ErrIPv6Disabled = errors.New("IPv6 is disabled")
	// ErrIPv4Disabled: the adapter has no IPv4.
	ErrIPv4Disabled = errors.New("IPv4 is disabled")
	// ErrAddressTaken: another adapter that is up has the address.
	ErrAddressTaken = errors.New("address is taken")
)

// What a system says of things; its errors wrap these.
var (
	errMissing = errors.New("not found")                     // ERROR_NOT_FOUND, ERROR_FILE_NOT_FOUND
	errExists  = errors.New("exists already")                // ERROR_OBJECT_ALREADY_EXISTS
	errNoCall  = errors.New("this Windows has no such call") // ERROR_PROC_NOT_FOUND, RPC_S_SERVER_UNAVAILABLE
)

// family is one of the two protocols of an interface.
type family int

const (
	ipv4 family = 4
	ipv6 family = 6
)

func (f family) String() string {
	if f == ipv4 {
		return "IPv4"
	}
	return "IPv6"
}

func familyOf(a netip.Addr) family {
	if a.Is4() {
		return ipv4
	}
	return ipv6
}

// luid is a NET_LUID: an interface until the next reboot.
type luid uint64

// link is an interface.
type link struct {
	LUID luid
	Name string // its alias, as people see it
	GUID string // {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}, lower case
	Up   bool
}

// address is one of an interface.
type address struct {
	LUID   luid
	Prefix netip.Prefix
}

// route is one of the host.
type route struct {
	LUID    luid
	Prefix  netip.Prefix
	NextHop netip.Addr // unspecified: on-link
	Metric  uint32
	Kernel  bool // made by Windows itself (MIB_IPPROTO_LOCAL), not by a program
}

// snapshot is the network of a host, as it was at one moment.
type snapshot struct {
	Links     []link
	Addresses []address
	Routes    []route
}

// name is that of an interface, for messages.
func (s snapshot) name(id luid) string {
	for _, l := range s.Links {
		if l.LUID == id {
			return l.Name
		}
	}
	return "unknown"
}

// settings are those of one family on an interface (MIB_IPINTERFACE_ROW).
type settings struct {
	AutomaticMetric  bool
	Metric           uint32
	DADTransmits     uint32
	RouterDiscovery  bool
	ManagedAddresses bool // ManagedAddressConfigurationSupported
	MTU              uint32
}

// value is one of the registry: a number (REG_DWORD) or a text (REG_SZ).
type value struct {
	Key  string // below HKEY_LOCAL_MACHINE
	Name string
	Text bool
	Data string // of a number, decimal
}

// client is the state of the DNS client, which the rules for names need.
type client int

const (
	clientRunning client = iota
	clientStopped
	clientDisabled
)

// system is Windows, as thin as can be: each method is one or two calls.
type system interface {
	Snapshot() (snapshot, error)
	// Family and SetFamily wrap errMissing if the interface lacks the family.
	Family(id luid, f family) (settings, error)
	SetFamily(id luid, f family, s settings) error
	// AddAddress wraps errExists, RemoveAddress errMissing.
	AddAddress(id luid, p netip.Prefix) error
	RemoveAddress(id luid, p netip.Prefix) error
	// AddRoute adds one that is on-link; it wraps errExists, RemoveRoute errMissing.
	AddRoute(id luid, p netip.Prefix) error
	RemoveRoute(id luid, r route) error
	// ClearServers takes name servers and search list off an interface; it
	// wraps errNoCall.
	ClearServers(guid string, f family) error
	// Value wraps errMissing if the value or its key is not there; SetValue if
	// the key is not, for it makes none; DeleteValue never.
	Value(key, name string) (value, error)
	SetValue(v value) error
	DeleteValue(key, name string) error
	Client() (client, error)
}
