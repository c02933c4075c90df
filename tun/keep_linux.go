package tun

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	wgtun "github.com/tailscale/wireguard-go/tun"
	"golang.org/x/sys/unix"
)

// Store is where a descriptor outlives the process: the service manager's.
type Store interface {
	// Keep hands over a duplicate of the descriptor.
	Keep(fd int) error
	// Forget drops what was kept, and returns when that is done.
	Forget() error
}

// Keeper opens a TUN device that outlives both the data plane that reads it
// and the process: it holds a descriptor of the device itself, and so does the
// store, if there is one. As long as either does, the interface is there with
// its addresses, routes and name servers, and packets wait in its queue. Only
// Release, or the end of both holders, removes it.
type Keeper struct {
	log   *slog.Logger
	store Store

	mu   sync.Mutex
	held int // of the kept device; -1: none
	name string
	left []int // descriptors of the last process, not looked at yet
}

// NewKeeper makes a keeper of the descriptors that the last process left in
// the store, which it owns from then on. The store may be nil.
func NewKeeper(log *slog.Logger, store Store, inherited []int) *Keeper {
	return &Keeper{log: log, store: store, held: -1, left: inherited}
}

// Open gives the kept device, if it is the one asked for and still good, or
// else makes one and keeps it. A kept device that is of no use is dropped
// first, and why is logged. The device is read from Begin on, and tells by Lost
// when its interface has been taken away.
func (k *Keeper) Open(name string, mtu int) (Device, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sift(name)
	if k.held >= 0 {
		device, err := k.adopt(mtu)
		if err == nil {
			return device, nil
		}
		k.drop(err.Error())
	}
	device, err := Open(name, mtu)
	if err != nil {
		return nil, err
	}
	if err := k.keep(device, name); err != nil {
		// It works, but goes with the process.
		k.log.Warn("device is not kept over a restart", slog.String("interface", name), slog.String("error", err.Error()))
	}
	return guard(device), nil
}

// Check tells whether Open would succeed. A kept device is left as it is; the
// one that is made otherwise, as nothing less tells what the kernel will give,
// is taken away again.
func (k *Keeper) Check(name string, mtu int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sift(name)
	if k.held >= 0 {
		return checkMTU(name, mtu)
	}
	device, err := Open(name, mtu)
	if err != nil {
		return err
	}
	if err := device.Close(); err != nil {
		return fmt.Errorf("close TUN device %q: %w", name, err)
	}
	return nil
}

// Release lets the kept device go: out of the store and out of the kernel, if
// nobody reads it.
func (k *Keeper) Release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, fd := range k.left {
		if k.held < 0 {
			k.held = fd
			continue
		}
		_ = unix.Close(fd)
	}
	k.left = nil
	if k.held >= 0 {
		k.drop("")
	}
}

// sift makes the first good one of the inherited descriptors the kept one, and
// drops a kept one that is no longer good.
func (k *Keeper) sift(name string) {
	left := k.left
	k.left = nil
	for _, fd := range left {
		if k.held < 0 {
			k.held, k.name = fd, name
			if err := usable(fd, name); err != nil {
				k.drop(err.Error())
			} else {
				k.log.Info("device of the last process is kept", slog.String("interface", name))
			}
			continue
		}
		_ = unix.Close(fd)
		k.log.Warn("a second kept device is dropped", slog.Int("descriptor", fd))
		k.again()
	}
	if k.held >= 0 {
		if err := usable(k.held, name); err != nil {
			k.drop(err.Error())
		}
	}
}

// again makes the store hold the kept device and nothing else.
func (k *Keeper) again() {
	if k.store == nil {
		return
	}
	if err := errors.Join(k.store.Forget(), k.store.Keep(k.held)); err != nil {
		k.log.Warn("device is not kept over a restart", slog.String("error", err.Error()))
	}
}

// usable says what is wrong with a kept descriptor.
func usable(fd int, name string) error {
	request, err := unix.NewIfreq("")
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.TUNGETIFF, request)
	}
	const needed = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR
	switch {
	case errors.Is(err, unix.EBADFD):
		return errors.New("its interface was deleted")
	case err != nil:
		return fmt.Errorf("it is not a TUN device: %w", err)
	case request.Name() != name:
		return fmt.Errorf("it is %s, wanted is %s", request.Name(), name)
	case request.Uint16()&needed != needed:
		return fmt.Errorf("its flags %#x lack some of %#x", request.Uint16(), needed)
	}
	return nil
}

// adopt makes a device of a duplicate of the kept descriptor.
func (k *Keeper) adopt(mtu int) (Device, error) {
	fd, err := unix.FcntlInt(uintptr(k.held), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate its descriptor: %w", err)
	}
	device, err := Adopt(fd, mtu)
	if err != nil {
		return nil, err
	}
	return guard(device), nil
}

// keep holds on to a new device, here and in the store.
func (k *Keeper) keep(device Device, name string) error {
	conn, err := device.File().SyscallConn()
	if err != nil {
		return fmt.Errorf("reach its descriptor: %w", err)
	}
	held, duplicateErr := -1, error(nil)
	if err := conn.Control(func(fd uintptr) {
		held, duplicateErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	}); err != nil {
		return fmt.Errorf("reach its descriptor: %w", err)
	}
	if duplicateErr != nil {
		return fmt.Errorf("duplicate its descriptor: %w", duplicateErr)
	}
	k.held, k.name = held, name
	if k.store == nil {
		return nil
	}
	return k.store.Keep(held)
}

// drop lets the kept descriptor go everywhere. The store comes first: as long
// as it holds the interface, the name is taken.
func (k *Keeper) drop(why string) {
	if why != "" {
		k.log.Warn("kept device is dropped", slog.String("interface", k.name), slog.String("reason", why))
	}
	if k.store != nil {
		if err := k.store.Forget(); err != nil {
			k.log.Warn("kept device is not taken out of the service manager's store", slog.String("error", err.Error()))
		}
	}
	_ = unix.Close(k.held)
	k.held, k.name = -1, ""
}

// guarded is a device that is not read before Begin, and tells when it has
// ended by itself.
type guarded struct {
	wgtun.GRODevice
	lost   chan struct{}
	begun  chan struct{}
	paused chan struct{} // by Pause
	idle   chan struct{} // nobody reads any more, after Pause
	closed chan struct{} // by Close

	losing, beginning, pausing, idling, closing sync.Once
}

// pauseLimit bounds how long Pause waits for the last packets to be dealt with.
const pauseLimit = 200 * time.Millisecond

// guard wraps a device; one of another kind than ours is given back as it is.
func guard(device Device) Device {
	native, ok := device.(wgtun.GRODevice)
	if !ok {
		return device
	}
	return &guarded{
		GRODevice: native, lost: make(chan struct{}), begun: make(chan struct{}),
		paused: make(chan struct{}), idle: make(chan struct{}), closed: make(chan struct{}),
	}
}

// Lost is closed when a read failed for good and Close was not the reason: the
// interface has been taken away. WireGuard reads no more after such a failure.
func (g *guarded) Lost() <-chan struct{} { return g.lost }

// Begin lets packets be read. Those that came before wait in the interface's
// queue: a process that has just started would drop what it cannot answer yet,
// and whoever asked would ask again only seconds later.
func (g *guarded) Begin() { g.beginning.Do(func() { close(g.begun) }) }

// Pause leaves further packets in the interface's queue, for the next reader,
// and returns when those that were read have been dealt with: whoever reads
// comes back for more only then.
func (g *guarded) Pause() {
	g.pausing.Do(func() { close(g.paused) })
	// Without a deadline only the next packet would end the read that waits.
	if err := g.File().SetReadDeadline(time.Unix(1, 0)); err != nil {
		return
	}
	timer := time.NewTimer(pauseLimit)
	defer timer.Stop()
	select {
	case <-g.idle:
	case <-g.closed:
	case <-timer.C:
	}
}

// Read reads packets.
func (g *guarded) Read(buffers [][]byte, sizes []int, offset int) (int, error) {
	select {
	case <-g.begun:
	case <-g.closed:
		return 0, os.ErrClosed
	}
	n, err := g.GRODevice.Read(buffers, sizes, offset)
	select {
	case <-g.closed:
		return n, err
	case <-g.paused:
		if errors.Is(err, os.ErrDeadlineExceeded) {
			g.idling.Do(func() { close(g.idle) })
			<-g.closed
			return 0, os.ErrClosed
		}
	default:
	}
	if err != nil && !errors.Is(err, wgtun.ErrTooManySegments) {
		g.losing.Do(func() { close(g.lost) })
	}
	return n, err
}

// Close ends the reads; the interface stays for as long as it is kept.
func (g *guarded) Close() error {
	g.closing.Do(func() { close(g.closed) })
	return g.GRODevice.Close()
}
