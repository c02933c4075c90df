package platform

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/causewayhq/causeway/hosts"
	"github.com/causewayhq/causeway/netcfg"
)

// The ways to give the host our names, as DNSMode tells them.
const (
	// ModeNRPT is split DNS by rules of the Name Resolution Policy Table.
	ModeNRPT = "nrpt"
	// ModeHosts is a section of the hosts file with all known names.
	ModeHosts = "hosts"
)

// hostsTimeout bounds the wait for the hosts file when the tunnel goes down.
const hostsTimeout = 5 * time.Second

// chooseDNS decides how the host learns our names, and tells its reasons.
//
// The DNS client is what reads the rules. Where it does not run, as after the
// advice of some tuning guides, each program asks the interface's servers
// itself and knows of no rule; the hosts file it still reads.
func chooseDNS(state client, err error, dns netcfg.DNS) (mode string, trail []string) {
	mode = ModeNRPT
	switch {
	case err != nil:
		// Not to know is no reason to leave the usual way.
		trail = append(trail, "dns-client=unknown")
	case state == clientDisabled:
		trail, mode = append(trail, "dns-client=disabled"), ModeHosts
	case state == clientStopped:
		trail, mode = append(trail, "dns-client=stopped"), ModeHosts
	default:
		trail = append(trail, "dns-client=running")
	}
	if mode == ModeNRPT && (len(dns.Suffixes) == 0 || len(dns.Nameservers) == 0) {
		trail, mode = append(trail, "suffix-or-server=missing"), ModeHosts
	}
	return mode, append(trail, "mode="+mode)
}

// applyDNS makes our names known. Rules that cannot be written are replaced by
// the hosts file until the next attempt, so that names do not go dark; the
// error is reported all the same, and rules that stand are left.
func (o *OS) applyDNS(ctx context.Context, dns netcfg.DNS) error {
	if dns.IsZero() {
		o.setMode("")
		return errors.Join(o.rules.Cleanup(ctx), o.removeHosts(ctx))
	}
	state, err := o.system.Client()
	mode, trail := chooseDNS(state, err, dns)
	o.logTrail(trail, err)
	if mode == ModeHosts {
		o.setMode(ModeHosts)
		// The rules stay if they serve nobody now: a DNS client that is started
		// again must not have a gap.
		return errors.Join(o.applyHosts(dns.Hosts), o.setRules(ctx, dns))
	}
	if failed := o.setRules(ctx, dns); failed != nil {
		o.log.Warn("name resolution rules failed; names go to the hosts file", slog.String("error", failed.Error()))
		o.setMode(ModeHosts)
		return errors.Join(failed, o.applyHosts(dns.Hosts))
	}
	o.setMode(ModeNRPT)
	return o.dropHosts()
}

func (o *OS) setRules(ctx context.Context, dns netcfg.DNS) error {
	if len(dns.Suffixes) == 0 || len(dns.Nameservers) == 0 {
		return o.rules.Cleanup(ctx)
	}
	return o.rules.SetDNS(ctx, dns.Suffixes, dns.Nameservers)
}

func (o *OS) logTrail(trail []string, clientErr error) {
	text := strings.Join(trail, " ")
	if text == o.trail {
		return
	}
	o.trail = text
	attrs := []slog.Attr{slog.String("reasons", text)}
	if clientErr != nil {
		attrs = append(attrs, slog.String("dns-client", clientErr.Error()))
	}
	o.log.LogAttrs(context.Background(), slog.LevelInfo, "DNS mode chosen", attrs...)
}

// applyHosts asks the background writer for the names; nothing waits for the
// file here.
func (o *OS) applyHosts(wanted *netcfg.Hosts) error {
	names, err := wanted.List()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return o.dropHosts()
	}
	if err := o.journal.Record(o.hostsChange()); err != nil {
		return err
	}
	entries := make([]hosts.Entry, 0, len(names))
	for _, n := range names {
		entries = append(entries, hosts.Entry{Name: n.Name, Addr: n.Addr})
	}
	o.hosts.Set(entries)
	return nil
}

// dropHosts has the section go while the host keeps our names by rules: nothing
// waits for the file. The journal's entry goes when a later call finds the
// section gone.
func (o *OS) dropHosts() error {
	marked, err := o.hostsMarked()
	switch {
	case marked || o.hostsRecorded() && (err != nil || o.hosts.Status().Pending):
		o.hosts.Set(nil)
		return nil
	case err != nil:
		return nil // nothing is known of ours in a file that cannot be read
	}
	return o.journal.Done(o.hostsChange())
}

// removeHosts takes our section out of the hosts file, if there is one, and waits
// until it is gone: the journal tells, and if it was lost, the markers do.
func (o *OS) removeHosts(ctx context.Context) error {
	if marked, _ := o.hostsMarked(); !marked && !o.hostsRecorded() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, hostsTimeout)
	defer cancel()
	if err := o.hosts.Remove(ctx); err != nil {
		return err
	}
	return o.journal.Done(o.hostsChange())
}

func (o *OS) hostsRecorded() bool {
	return slices.ContainsFunc(o.journal.Entries(), func(c netcfg.Change) bool { return c.Kind == kindHosts })
}

// hostsMarked says whether the file has a section of ours.
func (o *OS) hostsMarked() (bool, error) {
	content, err := os.ReadFile(o.file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	without, err := hosts.Remove(content)
	return err == nil && !bytes.Equal(without, content), err
}

func (o *OS) hostsChange() netcfg.Change { return netcfg.Change{Kind: kindHosts, Value: o.file} }
