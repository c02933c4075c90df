package platform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causewayhq/causeway/netcfg"
	netwatch "github.com/causewayhq/causeway/netcfg/watch"
)

// How long to wait before the kernel's messages are listened to again: at first,
// doubled each time, and at most. A stream that lasted longer than that begins
// from the start.
const (
	listenRetryFirst = time.Second
	listenRetryMost  = 30 * time.Second
)

// listenBuffer takes several messages, in bytes; the longest has 64 KiB.
const listenBuffer = 128 << 10

// noisy begin the names of interfaces that come, go and change by themselves:
// AirDrop and its low-latency link, tunnels of the system and of other VPNs'
// making, whose coming up shows in the default route.
var noisy = []string{"awdl", "llw", "ipsec", "gif", "stf"}

func isNoisy(name string) bool {
	return slices.ContainsFunc(noisy, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// Watch reports changes of the network and wakes until the context ends, and
// repairs what others take away. Its goroutines have ended when it returns.
// changed is called from one goroutine and must not block for long.
//
// A wake is noticed by the clocks, exactly and within 5 s: one of the kernel's
// stands still in sleep. To be told at once needs IOKit, which needs cgo.
func (o *OS) Watch(ctx context.Context, changed func(netcfg.Event)) error {
	messages, err := o.system.Listen()
	if err != nil {
		return fmt.Errorf("listen to route messages: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	notices := make(chan netwatch.Notice)
	var group sync.WaitGroup
	group.Go(func() { o.listen(ctx, messages, notices) })
	loop := netwatch.Loop{
		Notices: notices, Clocks: o.system.Clocks, Fingerprint: o.fingerprint, Changed: changed, Failing: o.failed.Load,
		Repair: func(ctx context.Context, force bool) {
			if err := o.again(ctx, force); err != nil && ctx.Err() == nil {
				o.log.Warn("cannot put the host's configuration back", slog.String("error", err.Error()))
			}
		},
	}
	loop.Run(ctx)
	cancel()
	group.Wait()
	return context.Cause(ctx)
}

// listen reads messages until the context ends, and opens a stream that failed
// anew: what was missed meanwhile may be anything.
func (o *OS) listen(ctx context.Context, messages io.ReadCloser, notices chan<- netwatch.Notice) {
	wait := listenRetryFirst
	for {
		if messages != nil {
			stop := context.AfterFunc(ctx, func() { _ = messages.Close() })
			began := time.Now()
			err := o.read(ctx, messages, notices)
			if stop() {
				_ = messages.Close()
			}
			if time.Since(began) > listenRetryMost {
				wait = listenRetryFirst
			}
			if ctx.Err() == nil {
				o.log.Warn("lost the kernel's route messages", slog.String("error", err.Error()))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, listenRetryMost)
		var err error
		if messages, err = o.system.Listen(); err != nil {
			o.log.Warn("cannot listen to route messages", slog.String("error", err.Error()))
			messages = nil
			continue
		}
		notify(ctx, notices, netwatch.Foreign, netwatch.Own)
	}
}

// errLost says that messages were dropped, and that more will come.
var errLost = errors.New("route messages were lost")

func (o *OS) read(ctx context.Context, messages io.Reader, notices chan<- netwatch.Notice) error {
	buffer := make([]byte, listenBuffer)
	for {
		n, err := messages.Read(buffer)
		switch {
		case errors.Is(err, errLost):
			notify(ctx, notices, netwatch.Foreign, netwatch.Own)
		case err != nil:
			return err
		default:
			notify(ctx, notices, sortMessages(decode(buffer[:n]), int(o.ownIndex.Load()), o.pid, o.nameOf)...)
		}
	}
}

func notify(ctx context.Context, notices chan<- netwatch.Notice, list ...netwatch.Notice) {
	for _, n := range list {
		select {
		case notices <- n:
		case <-ctx.Done():
			return
		}
	}
}

// nameOf is "" for an interface that is not there.
func (o *OS) nameOf(index int) string {
	links, err := o.system.Links()
	if err != nil {
		return ""
	}
	for _, l := range links {
		if l.index == index {
			return l.name
		}
	}
	return ""
}

// sortMessages tells whether our interface, others, or both are concerned. Left
// out is what is no change (a lookup, or its failure: RTM_MISS comes for each
// packet that has no route), what follows from the use of the network
// (neighbours, clones), link-local and multicast routes, our own requests, and
// the interfaces that are never still.
func sortMessages(list []message, own, pid int, nameOf func(int) string) []netwatch.Notice {
	var seen []netwatch.Notice
	for _, m := range list {
		if !tells(m, pid) {
			continue
		}
		n := netwatch.Foreign
		switch {
		case own != 0 && m.index == own:
			n = netwatch.Own
		case m.link != "" && isNoisy(m.link) || m.link == "" && m.index != 0 && isNoisy(nameOf(m.index)):
			continue
		}
		if !slices.Contains(seen, n) {
			seen = append(seen, n)
		}
	}
	return seen
}

// tells says whether a message is of a change.
func tells(m message, pid int) bool {
	switch m.kind {
	case rtmAdd, rtmDelete, rtmChange:
		dst := m.dst.Addr()
		return m.flags&(rtfWasCloned|rtfLLInfo) == 0 && m.sender != pid &&
			!dst.IsLinkLocalUnicast() && !dst.IsMulticast()
	case rtmNewAddr, rtmDelAddr, rtmIfInfo, rtmIfInfo2:
		return true
	}
	return false
}

// fingerprint describes the network without us: the interfaces that are up,
// their addresses, and the default routes. An error makes it unlike any other,
// which is an event too many rather than one too few.
func (o *OS) fingerprint() string {
	own := int(o.ownIndex.Load())
	var lines []string
	links, err := o.system.Links()
	for _, l := range links {
		if !l.up || l.loopback || l.index == own || isNoisy(l.name) {
			continue
		}
		for _, p := range l.addresses {
			if !p.Addr().IsLinkLocalUnicast() {
				lines = append(lines, fmt.Sprintf("address %s %s", l.name, p))
			}
		}
	}
	table, routeErr := o.routes()
	for _, m := range table {
		if m.index == own || m.dst.Bits() != 0 || m.flags&(rtfWasCloned|rtfLLInfo) != 0 || isNoisy(linkNamed(links, m.index)) {
			continue
		}
		gateway, _ := addrOf(m.addrs[rtaxGateway])
		lines = append(lines, fmt.Sprintf("route %s via %s %s scoped %v", m.dst, gateway, linkNamed(links, m.index), m.flags&rtfIfScope != 0))
	}
	if err := errors.Join(err, routeErr); err != nil {
		lines = append(lines, fmt.Sprintf("error %v at %d", err, time.Now().UnixNano()))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
