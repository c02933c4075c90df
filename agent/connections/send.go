package connections

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto/agentv2"
)

const (
	// answerLimit bounds one report on a connection that is alive.
	answerLimit = 30 * time.Second
	// retryWait is the wait after a report that was not taken: no session
	// depends on one.
	retryWait = 5 * time.Second
)

// Client is the part of the agent API that takes the reports.
type Client interface {
	ReportConnection(ctx context.Context, in *agentv2.ReportConnectionRequest) (*emptypb.Empty, error)
}

// Run reports over one connection until ctx ends, or at once when the control
// plane takes no such reports.
func (l *Log) Run(ctx context.Context, client Client) error {
	l.setDeaf(false)
	for {
		next := l.first()
		if next == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-l.wake:
				continue
			}
		}
		err := send(ctx, client, next)
		switch {
		case ctx.Err() != nil:
			return nil
		case control.Unimplemented(err):
			l.setDeaf(true)
			return nil
		case err == nil:
			l.told()
			continue
		}
		l.logger.Debug("connection report not taken", slog.String("error", err.Error()))
		timer := time.NewTimer(retryWait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

func send(ctx context.Context, client Client, message *agentv2.Connection) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	_, err := client.ReportConnection(ctx, &agentv2.ReportConnectionRequest{Connection: message})
	return err
}

// first is the oldest report, which stays in the queue until it is told.
func (l *Log) first() *agentv2.Connection {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		l.full = false
		return nil
	}
	l.queue[0].session.told = true
	return l.queue[0].message
}

// told takes the oldest report off the queue. It is the one that was sent: of
// sessions that the control plane has heard of nothing is given up.
func (l *Log) told() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue[0] = report{}
	if l.queue = l.queue[1:]; len(l.queue) == 0 {
		close(l.empty)
	}
}

// Drain waits until all was told, or for ctx.
func (l *Log) Drain(ctx context.Context) {
	l.mu.Lock()
	empty := l.empty
	l.mu.Unlock()
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// setDeaf says whether the control plane takes reports. If not, what waits is
// given up, and so are the ends of the sessions that are open.
func (l *Log) setDeaf(deaf bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = deaf
	if !deaf {
		return
	}
	for _, each := range l.queue {
		each.session.dropped = true
	}
	if len(l.queue) > 0 {
		l.queue = nil
		close(l.empty)
	}
}
