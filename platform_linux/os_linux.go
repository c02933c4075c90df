package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/hosts"
	"github.com/causewayhq/causeway/netcfg"
)

// The kinds of change in the journal.
const (
	kindLink     = "link"
	kindAddress  = "address"
	kindRoute    = "route"
	kindResolved = "resolved"
	kindHosts    = "hosts"
	// kindDropIn is the file for NetworkManager's dnsmasq, kindReload that it
	// may not have read it; kindResolvConf our lines in resolv.conf itself,
	// kindResolvconf a record of the program of that name.
	kindDropIn     = "dnsmasq"
	kindReload     = "dnsmasq-reload"
	kindResolvConf = "resolv.conf"
	kindResolvconf = "resolvconf"
)

// journalName is the journal's file in the state directory.
const journalName = "host-changes.json"

// Options of New. Logger and StateDir are needed, the rest has defaults.
type Options struct {
	Logger *slog.Logger
	// StateDir holds the journal. It must exist.
	StateDir string
	// Bus is the D-Bus address of the system bus; "" means the system's own.
	Bus string
	// ResolvConf and Nsswitch are the files that decide who resolves, Hosts
	// is the hosts file; "" means those in /etc.
	ResolvConf, Nsswitch, Hosts string
	// DnsmasqDir has the drop-ins of NetworkManager's dnsmasq, ResolvconfRun
	// the records of resolvconf; "" means the usual ones.
	DnsmasqDir, ResolvconfRun string
	// LinkState is where resolved keeps what each link was told, one file for
	// each: it announces only a part of it on the bus.
	LinkState string
}

// OS implements netcfg.OS on Linux.
type OS struct {
	log      *slog.Logger
	journal  *netcfg.Journal
	hosts    *hosts.Writer
	bus      *bus
	resolved *resolved
	netlink  *netlink.Handle
	options  Options
	epoch    string        // of this boot
	failed   atomic.Bool   // the last attempt to apply what is wanted failed
	deeds    atomic.Int64  // counts what was changed on the host
	sixless  atomic.Value  // string: the interface that lacks IPv6, "" if none
	lacksSix chan struct{} // holds one word for watchIPv6 that sixless names an interface
	ownIndex atomic.Int64  // of our interface, 0 if none; read by the watchers

	mu     sync.Mutex // serialises everything that touches the host
	want   *netcfg.Config
	asked  bool   // this apply is the caller's wish, not a repair
	trail  string // of the last DNS decision, to log changes only
	placed bool   // our server was first in resolv.conf when we last looked
	net    netOfNames

	modeMu    sync.Mutex // never held across a call
	mode      string
	upstreams []netip.Addr
	fight     fight
	split     string // the mode that split DNS before applications were led past it
	bypass    error  // by what
	refusal   error  // of resolvconf, to list our server first
	rivals    error  // that lead our packets away
	repair    error  // why what was taken away could not be put back
}

var _ netcfg.OS = (*OS)(nil)

// New opens the journal and a netlink socket and starts the hosts file's writer;
// it changes nothing on the host. The caller closes what it returns.
// A corrupt journal is kept aside, logged, and no reason to fail.
func New(options Options) (*OS, error) {
	for path, usual := range map[*string]string{
		&options.ResolvConf: "/etc/resolv.conf", &options.Nsswitch: "/etc/nsswitch.conf", &options.Hosts: "/etc/hosts",
		&options.DnsmasqDir: "/etc/NetworkManager/dnsmasq.d", &options.ResolvconfRun: "/run/resolvconf",
		&options.LinkState: "/run/systemd/resolve/netif/" + anyFile,
	} {
		if *path == "" {
			*path = usual
		}
	}
	journal, err := netcfg.OpenJournal(filepath.Join(options.StateDir, journalName))
	if corrupt := new(netcfg.CorruptJournalError); errors.As(err, &corrupt) {
		options.Logger.Warn("journal of host changes is corrupt; going by ownership marks",
			slog.String("kept", corrupt.Aside), slog.String("error", corrupt.Err.Error()))
	} else if err != nil {
		return nil, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, fmt.Errorf("read boot id: %w", err)
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	system := &bus{address: options.Bus, timeout: busTimeout}
	return &OS{
		lacksSix: make(chan struct{}, 1),
		log:      options.Logger, journal: journal, netlink: handle, options: options,
		hosts:    hosts.NewWriter(options.Hosts, options.Logger),
		epoch:    strings.TrimSpace(string(boot)),
		bus:      system,
		resolved: &resolved{bus: system},
	}, nil
}

// Apply brings the host to the wanted state and remembers it, so that Watch can
// bring it back there.
func (o *OS) Apply(ctx context.Context, want netcfg.Config) error {
	if err := want.Validate(); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	clone := want.Clone()
	o.want, o.asked = &clone, true
	err := o.apply(ctx, clone)
	o.failed.Store(err != nil)
	o.note(nil) // the caller is told
	return err
}

// again applies the last wanted state, if there is one. With force it sends
// even what it believes to be in place.
func (o *OS) again(ctx context.Context, force bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.want == nil {
		return nil
	}
	o.asked = false
	if force {
		o.resolved.forget()
	}
	err := o.apply(ctx, *o.want)
	o.failed.Store(err != nil)
	if ctx.Err() == nil {
		o.note(err)
	}
	return err
}

// apply does all parts in an order in which no name points to a network that
// is not there: link, addresses, routes, names; then what is too much goes.
func (o *OS) apply(ctx context.Context, want netcfg.Config) error {
	errs := []error{o.undoElsewhere(ctx, want.Interface)}
	if want.Interface == "" {
		o.ownIndex.Store(0)
		o.noteRivals(nil)
		return errors.Join(append(errs, o.applyDNS(ctx, nil, want))...)
	}
	link, err := o.ourLink(want.Interface)
	if err != nil {
		o.ownIndex.Store(0)
		// The hosts file needs no interface, and its names are right.
		return errors.Join(append(errs, err, o.applyDNS(ctx, nil, want))...)
	}
	o.ownIndex.Store(int64(link.Attrs().Index))
	deeds := o.deeds.Load()
	errs = append(errs, o.applyLink(link, want.MTU))
	surplusAddresses, err := o.addAddresses(link, want.Addresses)
	errs = append(errs, err)
	surplusRoutes, err := o.addRoutes(link, want.Routes)
	if o.deeds.Load() != deeds {
		o.resolved.cutOff()
	}
	errs = append(errs, err,
		o.applyDNS(ctx, link, want),
		o.removeRoutes(surplusRoutes),
		o.removeAddresses(link, surplusAddresses))
	if left := o.noteRivals(o.findRivals(link, want)); left {
		o.resolved.cutOff()
		errs = append(errs, o.applyDNS(ctx, link, want))
	}
	err = errors.Join(errs...)
	o.sixless.Store("")
	if errors.Is(err, ErrIPv6Disabled) {
		o.sixless.Store(want.Interface)
		select {
		case o.lacksSix <- struct{}{}:
		default:
		}
	}
	return err
}

// did logs a change to the host, and counts it.
func (o *OS) did(what string, attrs ...slog.Attr) {
	o.deeds.Add(1)
	o.log.LogAttrs(context.Background(), slog.LevelInfo, what, attrs...)
}

// DNSMode names the mechanism in use, "" before the first Apply.
func (o *OS) DNSMode() string {
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	return o.mode
}

func (o *OS) setMode(mode string) {
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	o.mode = mode
}

// Trouble is what Apply cannot tell: that the hosts file has not been written
// for 30 s, that what others took away could not be put back, that another
// program's route takes our packets, that one fights over resolv.conf, or has
// led applications past the resolver that we had set up.
func (o *OS) Trouble() error {
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	return errors.Join(o.hosts.Status().Err, o.repair, o.bypass, o.refusal, o.rivals, o.fight.trouble(o.options.ResolvConf, time.Now()))
}

func (o *OS) hasRivals() bool {
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	return o.rivals != nil
}

// note takes down why a repair failed.
func (o *OS) note(repair error) {
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	o.repair = repair
}

// noteBypass takes down that applications asked a resolver that splits DNS, and
// are led past it now. It was another program's doing; who never asked one is
// not told anything.
func (o *OS) noteBypass(mode string, env dnsEnv) {
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	o.bypass = nil
	if mode == ModeResolved || mode == ModeNetworkManager || mode == "" {
		o.split = mode
		return
	}
	if past := leadsPast(o.split, env.resolvConf, env.nsswitch); past != "" {
		o.bypass = errors.New(past + "; until that is mended, names come by way of " + mode)
	}
}

// setRefusal takes down that resolvconf orders its records in a way that is of
// no use to us. It is not asked again by this process: each time would change
// resolv.conf twice.
func (o *OS) setRefusal(refusal error) {
	o.modeMu.Lock()
	defer o.modeMu.Unlock()
	o.refusal = refusal
}

// noteRivals takes down what leads our packets away, and logs it if it is new.
// It tells that the last one has left.
func (o *OS) noteRivals(rivals error) (left bool) {
	o.modeMu.Lock()
	before := o.rivals
	o.rivals = rivals
	o.modeMu.Unlock()
	if rivals != nil && (before == nil || before.Error() != rivals.Error()) {
		o.log.Warn("another program leads packets of ours away", slog.String("error", rivals.Error()))
	}
	return before != nil && rivals == nil
}

// Close releases the sockets and ends the hosts writer; the host stays as it
// is. Watch must have returned.
func (o *OS) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.netlink.Close()
	return errors.Join(o.bus.close(), o.hosts.Close())
}

// change names a thing on a link that a reboot destroys.
func (o *OS) change(kind string, link netlink.Link, value string) netcfg.Change {
	return netcfg.Change{
		Kind: kind, Interface: link.Attrs().Name, Index: link.Attrs().Index, Value: value, Epoch: o.epoch,
	}
}
