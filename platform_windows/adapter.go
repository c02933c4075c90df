package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Where the registry keeps what belongs to an interface, by its GUID.
const (
	tcpipInterfaces  = `SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces\`
	tcpip6Interfaces = `SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces\`
	netbtInterfaces  = `SYSTEM\CurrentControlSet\Services\NetBT\Parameters\Interfaces\Tcpip_`
)

// interfaceKey is a family's for an interface.
func interfaceKey(guid string, f family) string {
	if f == ipv4 {
		return tcpipInterfaces + guid
	}
	return tcpip6Interfaces + guid
}

// adapterValues keep Windows from taking our names elsewhere, and the adapter's
// address to others: no registration in anybody's DNS ("RegistrationEnabled",
// "DisableDynamicUpdate", "MaxNumberOfAddressesToRegister"), no LLMNR and no mDNS
// ("EnableMulticast"), no NetBIOS over TCP/IP ("NetbiosOptions", 2 is off), which
// would make single-label names wait for seconds.
func adapterValues(guid string, f family) []value {
	key := interfaceKey(guid, f)
	list := []value{
		{Key: key, Name: "RegistrationEnabled", Data: "0"},
		{Key: key, Name: "DisableDynamicUpdate", Data: "1"},
		{Key: key, Name: "MaxNumberOfAddressesToRegister", Data: "0"},
		{Key: key, Name: "EnableMulticast", Data: "0"},
	}
	if f == ipv4 {
		list = append(list, value{Key: netbtInterfaces + guid, Name: "NetbiosOptions", Data: "2"})
	}
	return list
}

// applyAdapterValues writes what differs. A key that does not come is that of a
// family which the adapter lacks.
func (o *OS) applyAdapterValues(ctx context.Context, adapter link, missing map[family]error) error {
	if err := o.journal.Record(o.change(kindAdapter, "")); err != nil {
		return fmt.Errorf("change %s: %w", adapter.Name, err)
	}
	var errs []error
	for _, f := range []family{ipv4, ipv6} {
		if missing[f] != nil {
			continue
		}
		err := o.await(ctx, adapter, func() error { return o.setAdapterValues(f) })
		if err != nil && !errors.Is(err, errMissing) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (o *OS) setAdapterValues(f family) error {
	var absent error
	for _, want := range adapterValues(o.guid, f) {
		have, err := o.system.Value(want.Key, want.Name)
		if err == nil && have == want {
			continue
		}
		if err != nil && !errors.Is(err, errMissing) {
			return fmt.Errorf(`read registry value %s\%s: %w`, want.Key, want.Name, err)
		}
		if err := o.system.SetValue(want); errors.Is(err, errMissing) {
			absent = err // the next key may be there
		} else if err != nil {
			return fmt.Errorf(`write registry value %s\%s: %w`, want.Key, want.Name, err)
		}
	}
	if err := o.clearServers(f); err != nil {
		return err
	}
	return absent
}

// clearServers makes sure that the interface has no name servers and no search
// list: whatever is there is left from another program's experiment, and Windows
// would ask it for all names.
func (o *OS) clearServers(f family) error {
	key := interfaceKey(o.guid, f)
	var set []string
	for _, name := range []string{"NameServer", "SearchList"} {
		if have, err := o.system.Value(key, name); err == nil && have.Data != "" {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return nil
	}
	err := o.system.ClearServers(o.guid, f)
	if errors.Is(err, errNoCall) {
		// Windows before 1809, or one whose DNS client is disabled.
		err = nil
		for _, name := range set {
			err = errors.Join(err, o.system.SetValue(value{Key: key, Name: name, Text: true}))
		}
	}
	if err != nil {
		return fmt.Errorf("clear %s of the adapter's %s: %w", strings.Join(set, " and "), f, err)
	}
	return nil
}

// undoAdapterValues takes away those values that are as we set them. The GUID is
// ours alone, so it is a mark that needs no journal.
func (o *OS) undoAdapterValues() error {
	var errs []error
	for _, set := range slices.Concat(adapterValues(o.guid, ipv4), adapterValues(o.guid, ipv6)) {
		have, err := o.system.Value(set.Key, set.Name)
		if errors.Is(err, errMissing) || err == nil && have != set {
			continue
		}
		if err == nil {
			err = o.system.DeleteValue(set.Key, set.Name)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf(`delete registry value %s\%s: %w`, set.Key, set.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return o.journal.Done(o.change(kindAdapter, ""))
}
