package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

const (
	// telemetryTimeout bounds one call (docs of the protocol, 1.12).
	telemetryTimeout = 5 * time.Second
	// telemetryQueue is how many events wait while one is being sent; what is
	// more is dropped. A host makes a few events for each peer it talks to.
	telemetryQueue = 64
)

// Telemetry sends events over whichever connection there is. It only carries:
// what goes into an event, and what must not, is the matter of who makes it
// (Anonymizer). It outlives connections and is safe for concurrent use.
type Telemetry struct {
	log *slog.Logger

	mu    sync.Mutex
	queue chan parcel // of the present client; nil: there is none
}

// parcel is an event, or the mark behind which nothing waits any more.
type parcel struct {
	event *tailnetv2.TelemetryEvent
	mark  chan struct{}
}

// NewTelemetry makes the carrier; nothing is sent before a Loop has it. The
// logger may be nil.
func NewTelemetry(logger *slog.Logger) *Telemetry {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Telemetry{log: logger}
}

// Send hands one event over to be sent. It never blocks: an event is dropped
// while there is no connection, when the control plane does not take any, and
// when it takes them too slowly.
func (t *Telemetry) Send(event *tailnetv2.TelemetryEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queue == nil {
		return
	}
	select {
	case t.queue <- parcel{event: event}:
	default:
		t.log.Debug("telemetry event dropped: too many wait")
	}
}

// Flush waits until what was handed over has been sent, or the context ends. It
// is for the moment before the last connection is closed.
func (t *Telemetry) Flush(ctx context.Context) {
	t.mu.Lock()
	queue := t.queue
	t.mu.Unlock()
	if queue == nil {
		return
	}
	mark := make(chan struct{})
	select {
	case queue <- parcel{mark: mark}:
	case <-ctx.Done():
		return
	}
	select {
	case <-mark:
	case <-ctx.Done():
	}
}

// install makes the queue of a new client take the place of the old one's.
func (t *Telemetry) install() chan parcel {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = make(chan parcel, telemetryQueue)
	return t.queue
}

// forget takes a client out, unless a newer one has replaced it.
func (t *Telemetry) forget(queue chan parcel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queue == queue {
		t.queue = nil
	}
}

// run sends what comes into the queue, one event in each request, until the
// context ends or the control plane turns out not to know the call. No other
// failure ends it, and none of them concerns the connection.
func (t *Telemetry) run(ctx context.Context, client tailnetv2.Client22, queue chan parcel) {
	defer t.forget(queue)
	for {
		select {
		case <-ctx.Done():
			return
		case next := <-queue:
			if next.mark != nil {
				close(next.mark)
				continue
			}
			callCtx, cancel := context.WithTimeout(ctx, telemetryTimeout)
			_, err := client.PostTelemetry(callCtx, &tailnetv2.TelemetryRequest{Events: []*tailnetv2.TelemetryEvent{next.event}})
			cancel()
			switch {
			case Unimplemented(err):
				t.log.Debug("control plane takes no telemetry")
				return
			case err != nil && ctx.Err() == nil:
				t.log.Debug("telemetry event not sent", slog.String("error", err.Error()))
			}
		}
	}
}
