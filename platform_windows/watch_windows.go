package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.zx2c4.com/wireguard/windows/tunnel/winipcfg"

	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/netcfg/watch"
)

// Watch reports changes of the network and wakes until the context ends, and
// repairs what others take away. It returns early only if it cannot listen to
// the IP helper at all; its goroutines have ended when it returns. changed is
// called from one goroutine and must not block for long.
func (o *OS) Watch(ctx context.Context, changed func(netcfg.Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	notices := make(chan watch.Notice)
	tables, err := o.watchTables(ctx, notices)
	if err != nil {
		return err
	}
	defer tables.close()
	defer cancel() // before close, which waits for callbacks that are under way
	defer o.watchPower()()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { o.watchSignals(ctx, notices) })
	if rules, ok := o.rules.(interface{ Watch(context.Context) error }); ok {
		group.Go(func() {
			if err := rules.Watch(ctx); err != nil && ctx.Err() == nil {
				o.log.Warn("name resolution rules are not watched; they are checked once a minute", slog.String("error", err.Error()))
			}
		})
	}
	loop := watch.Loop{
		Notices: notices, Clocks: readClocks, Fingerprint: o.fingerprint, Changed: changed, Failing: o.failed.Load,
		Repair: func(ctx context.Context, _ bool) {
			if err := o.again(ctx); err != nil && ctx.Err() == nil {
				o.log.Warn("cannot put the host's configuration back", slog.String("error", err.Error()))
			}
		},
	}
	loop.Run(ctx)
	return context.Cause(ctx)
}

// fingerprint is that of this moment; an error makes it unlike any other, which
// is an event too many rather than one too few.
func (o *OS) fingerprint() string {
	now, err := o.system.Snapshot()
	if err != nil {
		return fmt.Sprintf("error %v at %d", err, time.Now().UnixNano())
	}
	return fingerprint(now, luid(o.own.Load()))
}

// tables are the notifications of the IP helper.
type tables struct{ unregister []func() error }

func (t tables) close() {
	for _, f := range t.unregister {
		_ = f() // the handle is gone, or the process is ending
	}
}

// watchTables listens to changes of routes, addresses and interfaces. Each comes
// in a goroutine of its own, in no order.
func (o *OS) watchTables(ctx context.Context, notices chan<- watch.Notice) (tables, error) {
	tell := func(id winipcfg.LUID) {
		n := watch.Foreign
		if own := o.own.Load(); own != 0 && uint64(id) == own {
			n = watch.Own
		}
		select {
		case notices <- n:
		case <-ctx.Done():
		}
	}
	var t tables
	routes, err := winipcfg.RegisterRouteChangeCallback(func(_ winipcfg.MibNotificationType, row *winipcfg.MibIPforwardRow2) { tell(row.InterfaceLUID) })
	if err == nil {
		t.unregister = append(t.unregister, routes.Unregister)
	}
	addresses, addressErr := winipcfg.RegisterUnicastAddressChangeCallback(func(_ winipcfg.MibNotificationType, row *winipcfg.MibUnicastIPAddressRow) {
		tell(row.InterfaceLUID)
	})
	if addressErr == nil {
		t.unregister = append(t.unregister, addresses.Unregister)
	}
	interfaces, interfaceErr := winipcfg.RegisterInterfaceChangeCallback(func(_ winipcfg.MibNotificationType, row *winipcfg.MibIPInterfaceRow) {
		tell(row.InterfaceLUID)
	})
	if interfaceErr == nil {
		t.unregister = append(t.unregister, interfaces.Unregister)
	}
	if err := errors.Join(err, addressErr, interfaceErr); err != nil {
		if len(t.unregister) == 0 {
			return t, fmt.Errorf("listen to route, address and interface changes: %w", err)
		}
		o.log.Warn("not all changes of the network are noticed at once", slog.String("error", err.Error()))
	}
	return t, nil
}

var (
	kernel32                    = windows.NewLazySystemDLL("kernel32.dll")
	queryUnbiasedInterruptTime  = kernel32.NewProc("QueryUnbiasedInterruptTime")
	queryInterruptTimePrecisely = windows.NewLazySystemDLL("api-ms-win-core-realtime-l1-1-1.dll").NewProc("QueryInterruptTimePrecise")
)

// readClocks reads the interrupt time without and with what was slept, both in
// units of 100 ns.
func readClocks() watch.Reading {
	r := watch.Reading{Wall: time.Now(), Boot: windows.DurationSinceBoot()}
	var ticks uint64
	if queryInterruptTimePrecisely.Find() == nil {
		_, _, _ = queryInterruptTimePrecisely.Call(uintptr(unsafe.Pointer(&ticks)))
		r.Boot = time.Duration(ticks) * 100
	}
	if queryUnbiasedInterruptTime.Find() == nil {
		_, _, _ = queryUnbiasedInterruptTime.Call(uintptr(unsafe.Pointer(&ticks)))
		r.Mono = time.Duration(ticks) * 100
	} else {
		r.Mono = r.Boot
	}
	return r
}
