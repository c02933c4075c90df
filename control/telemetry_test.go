package control

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// taken collects the events that a plane is told, by connection.
type taken struct {
	mu   sync.Mutex
	list []string
}

func (k *taken) take(dial int, in *tailnetv2.TelemetryRequest) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, event := range in.GetEvents() {
		k.list = append(k.list, fmt.Sprint(dial, "/", event.GetApplication(), "/", len(in.GetEvents())))
	}
	return nil
}

func (k *taken) all() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.list)
}

func event(name string) *tailnetv2.TelemetryEvent {
	return &tailnetv2.TelemetryEvent{Application: name}
}

// telling is a data plane that sends an event as soon as it is spoken to.
type telling struct {
	data
	carrier *Telemetry
}

func (d *telling) SetNodeCallback(callback func(*tailnetv2.Node)) {
	d.carrier.Send(event("from coordination"))
	d.data.SetNodeCallback(callback)
}

// The client is there before any other controller; one event goes in each
// request; a new connection's client takes the place of the old one's; without
// a connection events are dropped.
func TestTelemetryFollowsConnections(t *testing.T) {
	bubble(t, func(t *testing.T) {
		got, network := &taken{}, newPipes()
		p := &plane{telemetry: got.take}
		carrier := NewTelemetry(nil)
		carrier.Send(event("too early"))
		loop := &Loop{Dialer: serve(t, p, network), Coordinatee: &telling{carrier: carrier}, Telemetry: carrier, RelayMap: func(proto.RelayMap) {}}
		stop := run(t, loop)
		time.Sleep(time.Second)
		carrier.Send(event("a"))
		carrier.Send(event("b"))
		time.Sleep(time.Second)
		p.drop()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		carrier.Send(event("between two"))
		time.Sleep(time.Second)
		carrier.Send(event("c"))
		time.Sleep(time.Second)
		stop()
		carrier.Send(event("too late"))
		want := []string{"1/from coordination/1", "1/a/1", "1/b/1", "2/from coordination/1", "2/c/1"}
		if !slices.Equal(got.all(), want) {
			t.Errorf("got %q, want %q", got.all(), want)
		}
		if version := p.seen()[0].query.Get("version"); version != "2.2" {
			t.Errorf("asked for %s", version)
		}
	})
}

// Both forms of Unimplemented end the telemetry of this connection, and of
// this one only; another error ends nothing. No failure ends the connection.
func TestTelemetryRefused(t *testing.T) {
	for name, refusal := range map[string]error{
		"code": drpcerr.WithCode(errors.New("no such call"), drpcerr.Unimplemented),
		"text": errors.New("protocol error: unknown rpc: /coder.tailnet.v2.Tailnet/PostTelemetry"),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var mu sync.Mutex
				calls := map[int]int{}
				p := &plane{telemetry: func(dial int, _ *tailnetv2.TelemetryRequest) error {
					mu.Lock()
					defer mu.Unlock()
					calls[dial]++
					if calls[dial] == 1 {
						return errors.New("a passing failure")
					}
					return refusal
				}}
				carrier, heard := NewTelemetry(nil), &reports{}
				stop := run(t, &Loop{Dialer: serve(t, p, newPipes()), Coordinatee: &data{}, Telemetry: carrier, Connected: heard.hear})
				for range 2 {
					for range 5 {
						time.Sleep(time.Second)
						carrier.Send(event("x"))
					}
					time.Sleep(time.Second)
					if n := len(heard.all()); n%2 != 1 {
						t.Errorf("the connection ended: %+v", heard.all())
					}
					p.drop()
				}
				time.Sleep(time.Second)
				stop()
				if fmt.Sprint(calls) != "map[1:2 2:2]" {
					t.Errorf("calls by connection: %v", calls)
				}
			})
		})
	}
}

// A control plane that does not answer costs 5 s for each event and blocks
// nobody.
func TestTelemetryNeverBlocks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var began []time.Time
		release := make(chan struct{})
		p := &plane{telemetry: func(int, *tailnetv2.TelemetryRequest) error {
			mu.Lock()
			began = append(began, time.Now())
			mu.Unlock()
			<-release
			return nil
		}}
		carrier := NewTelemetry(nil)
		stop := run(t, &Loop{Dialer: serve(t, p, newPipes()), Coordinatee: &data{}, Telemetry: carrier})
		time.Sleep(time.Second)
		before := time.Now()
		for range 10 * telemetryQueue {
			carrier.Send(event("x"))
		}
		if took := time.Since(before); took != 0 {
			t.Errorf("sending took %v", took)
		}
		time.Sleep(telemetryTimeout + time.Second)
		mu.Lock()
		if len(began) != 2 || began[1].Sub(began[0]) != telemetryTimeout {
			t.Errorf("calls at %v", began)
		}
		mu.Unlock()
		stop()
		close(release)
	})
}
