package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// How long the daemon may take to answer. One that is stuck or stopped still
// has its socket, on which the kernel takes calls.
const (
	// answerLimit is for what it knows already: milliseconds, also on a busy
	// machine within a second.
	answerLimit = 5 * time.Second
	// queryLimit is past what a server may take that a question is passed on to.
	queryLimit = 10 * time.Second
	// workLimit is past what it gives itself to check a token (20 s) or to put the
	// host's settings back (15 s).
	workLimit = 45 * time.Second
)

// patience is how long the daemon may take for what it knows already.
func (a *app) patience() time.Duration { return cmp.Or(a.env.patience, answerLimit) }

// dial finds a daemon that answers.
func (a *app) dial(ctx context.Context) (*localapi.Client, error) {
	client, err := within(ctx, a.socketPath(), a.patience(), func(ctx context.Context) (*localapi.Client, error) {
		client, err := localapi.Dial(ctx, a.socketPath())
		if err != nil {
			return nil, err
		}
		if _, err := client.GetVersion(ctx, &localv1.GetVersionRequest{}); err != nil {
			client.Close()
			return nil, err
		}
		return client, nil
	})
	return client, err
}

// askStatus asks for what is known now.
func (a *app) askStatus(ctx context.Context, client *localapi.Client) (*localv1.Status, error) {
	return call(ctx, a, a.patience(), client.GetStatus, &localv1.GetStatusRequest{})
}

// call asks the daemon, and waits for the answer no longer than the limit.
func call[In, Out any](ctx context.Context, a *app, limit time.Duration, what func(context.Context, In) (Out, error), in In) (Out, error) {
	return within(ctx, a.socketPath(), limit, func(ctx context.Context) (Out, error) { return what(ctx, in) })
}

// within makes an error in words of a silence; the caller's own end stays what
// it is.
func within[Out any](ctx context.Context, socket string, limit time.Duration, what func(context.Context) (Out, error)) (Out, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := what(limited)
	if err != nil && ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		err = silence(socket, limit)
	}
	return out, err
}

func silence(socket string, limit time.Duration) error {
	return &localapi.Error{
		Code:   localapi.CodeTimeout,
		Cause:  fmt.Sprintf("call the daemon on %s: it does not answer within %s", socket, limit),
		Remedy: "run: causeway doctor",
	}
}

// watchStatus is a stream of the status whose first message is waited for no
// longer than any other answer. Stop ends it.
func (a *app) watchStatus(ctx context.Context, client *localapi.Client) (next func() (*localv1.Status, error), stop func(), err error) {
	streamCtx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(a.patience(), func() { cancel(silence(a.socketPath(), a.patience())) })
	stop = func() {
		timer.Stop()
		cancel(nil)
	}
	explain := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var silent *localapi.Error
		if errors.As(context.Cause(streamCtx), &silent) {
			return silent
		}
		return err
	}
	stream, err := client.WatchStatus(streamCtx, &localv1.GetStatusRequest{})
	if err != nil {
		stop()
		return nil, nil, explain(err)
	}
	return func() (*localv1.Status, error) {
		status, err := stream.Recv()
		if err != nil {
			return nil, explain(err)
		}
		timer.Stop()
		return status, nil
	}, stop, nil
}
