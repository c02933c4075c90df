package tray

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// How the daemon is looked for, for ever: it is restarted, upgraded and stopped
// while the tray stays.
const (
	firstRetry = 250 * time.Millisecond
	maxRetry   = 5 * time.Second
	// patience is how long the daemon may be gone before the icon says so: a
	// restart takes about a second, an upgrade three, and the daemon is looked for
	// 3.75 seconds after it was lost.
	patience = 4 * time.Second
	// answerLimit is for what the daemon knows already.
	answerLimit = 5 * time.Second
	// workLimit is past what it gives itself for a login or a connection.
	workLimit = 45 * time.Second
	// gather is how long changes are gathered before the menu follows: with many
	// workspaces each measurement is a change.
	gather = 300 * time.Millisecond
)

// dialFunc connects to the daemon; done ends what was opened.
type dialFunc func(ctx context.Context) (client localv1.DRPCLocalClient, done func(), err error)

// dialSocket is the real one.
func dialSocket(socket string) dialFunc {
	return func(ctx context.Context) (localv1.DRPCLocalClient, func(), error) {
		client, err := localapi.Dial(ctx, socket)
		if err != nil {
			return nil, nil, err
		}
		return client, func() { client.Close() }, nil
	}
}

// news is what the link tells.
type news struct {
	status        *localv1.Status // heard, or
	lost          error           // why nothing is heard any more
	daemonVersion string          // with the first status of a connection
}

// follow keeps a watch on the daemon until the context ends. It tells the full
// state first.
func follow(ctx context.Context, dial dialFunc, tell func(news)) {
	wait := firstRetry
	for ctx.Err() == nil {
		err := followOnce(ctx, dial, func(n news) {
			wait = firstRetry
			tell(n)
		})
		if ctx.Err() != nil {
			return
		}
		tell(news{lost: err})
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		wait = min(2*wait, maxRetry)
	}
}

func followOnce(ctx context.Context, dial dialFunc, tell func(news)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A daemon that is stuck still has a socket that takes calls.
	var silent atomic.Bool
	first := time.AfterFunc(answerLimit, func() {
		silent.Store(true)
		cancel()
	})
	defer first.Stop()
	explain := func(err error) error {
		if silent.Load() {
			return &localapi.Error{
				Code: localapi.CodeTimeout, Cause: fmt.Sprintf("call the daemon: it does not answer within %s", answerLimit), Remedy: "run: causeway doctor",
			}
		}
		return err
	}
	client, done, err := dial(ctx)
	if err != nil {
		return explain(err)
	}
	defer done()
	version, err := client.GetVersion(ctx, &localv1.GetVersionRequest{})
	if err != nil {
		return explain(err)
	}
	stream, err := client.WatchStatus(ctx, &localv1.GetStatusRequest{})
	if err != nil {
		return explain(err)
	}
	for {
		status, err := stream.Recv()
		if err != nil {
			return explain(err)
		}
		first.Stop()
		tell(news{status: status, daemonVersion: version.GetVersion()})
	}
}

// faultOf puts an error into cause and remedy.
func faultOf(err error) fault {
	var known *localapi.Error
	if errors.As(err, &known) {
		return fault{known.Cause, known.Remedy}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault{"call the daemon: it does not answer", "run: causeway doctor"}
	}
	return fault{cause: err.Error()}
}
