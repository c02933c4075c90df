package platform

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/causewayhq/causeway/hosts"
	"github.com/causewayhq/causeway/netcfg"
)

const (
	// hostsTimeout bounds the wait for the hosts file when a section has to go.
	hostsTimeout = 5 * time.Second
	// netLimit is how many names the net may have: each program on the host
	// reads all of the file for each name that it looks up.
	netLimit = 1000
)

// applyHosts is the mode in which the hosts file is all there is: every name is
// in it, whatever their number.
func (o *OS) applyHosts(ctx context.Context, wanted *netcfg.Hosts) error {
	names, err := wanted.List()
	if err != nil {
		return err
	}
	return o.writeHosts(ctx, names, o.hosts.Set)
}

// applyNet puts the known names into the hosts file although something splits
// DNS. They are the net for the moments in which another program has taken our
// link, its settings or resolv.conf away: libc reads the file first, and so do
// resolved and dnsmasq, so that no name of ours is ever asked of a public server,
// whose "no such name" is a wrong answer. It is no more than a net: a file that
// cannot be written changes nothing. Names of our own server are not in it,
// for the canary has to see how the host really comes by our names.
func (o *OS) applyNet(ctx context.Context, dns netcfg.DNS) error {
	if dns.Hosts != o.net.of || o.net.of == nil {
		o.net = o.weave(dns)
	}
	return o.writeHosts(ctx, o.net.names, o.hosts.Offer)
}

// weave lists the net. Why there is none is told once.
func (o *OS) weave(dns netcfg.DNS) netOfNames {
	names, all, err := dns.Hosts.ListUpTo(netLimit + len(dns.Nameservers))
	why := ""
	switch {
	case err != nil:
		why = err.Error()
	case !all:
		why = fmt.Sprintf("there are more than %d", netLimit)
	}
	if why != "" && why != o.net.none {
		o.log.Info("names do not stand in the hosts file beside split DNS", slog.String("reason", why))
	}
	names = slices.DeleteFunc(names, func(h netcfg.Host) bool { return slices.Contains(dns.Nameservers, h.Addr) })
	return netOfNames{of: dns.Hosts, names: names, none: why}
}

// netOfNames is what was last listed for the net, from what, and why nothing was.
type netOfNames struct {
	of    *netcfg.Hosts
	names []netcfg.Host
	none  string
}

func (o *OS) writeHosts(ctx context.Context, names []netcfg.Host, write func([]hosts.Entry)) error {
	if len(names) == 0 {
		return o.removeHosts(ctx)
	}
	if err := o.journal.Record(o.hostsChange()); err != nil {
		return err
	}
	entries := make([]hosts.Entry, 0, len(names))
	for _, n := range names {
		entries = append(entries, hosts.Entry{Name: n.Name, Addr: n.Addr})
	}
	write(entries)
	return nil
}

// removeHosts takes our section out of the hosts file, if there is one.
func (o *OS) removeHosts(ctx context.Context) error {
	recorded := false
	for _, c := range o.journal.Entries() {
		recorded = recorded || c.Kind == kindHosts
	}
	if !recorded {
		// The journal may have been lost; the markers tell.
		if !o.hostsMarked() {
			return nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, hostsTimeout)
	defer cancel()
	if err := o.hosts.Remove(ctx); err != nil {
		return err
	}
	return o.journal.Done(o.hostsChange())
}

// hostsMarked tells that the hosts file has a section of ours.
func (o *OS) hostsMarked() bool {
	content, err := os.ReadFile(o.options.Hosts)
	if err != nil {
		return false
	}
	without, err := hosts.Remove(content)
	return err == nil && !bytes.Equal(without, content)
}

// hostsChange has no epoch: the file outlives a reboot.
func (o *OS) hostsChange() netcfg.Change {
	return netcfg.Change{Kind: kindHosts, Value: o.options.Hosts}
}
