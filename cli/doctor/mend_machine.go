package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

const (
	// settleLimit is how long a tunnel may take to work again: a first dial, and
	// the canary, which looks again after half a second.
	settleLimit, settleEvery = 15 * time.Second, 200 * time.Millisecond
	// downLimit is past the 15 s that the daemon gives the host's configuration.
	downLimit = 30 * time.Second
)

// OpenSocket gives the socket and its directory, which the daemon made, the
// modes that the daemon gave them.
func (m *Machine) OpenSocket(context.Context) error {
	socket := socketFile(m.Socket)
	if socket.ownDir() {
		if err := os.Chmod(socket.Closed, 0o755); err != nil {
			return fmt.Errorf("open the socket: %w", err)
		}
	}
	info, err := os.Lstat(m.Socket)
	if err != nil {
		return fmt.Errorf("open the socket: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("open the socket: %s is no socket", m.Socket)
	}
	if err := os.Chmod(m.Socket, 0o666); err != nil {
		return fmt.Errorf("open the socket: %w", err)
	}
	return nil
}

// Apply has the daemon bring the host to the wanted state again: to be asked
// for what it does already makes it look.
func (m *Machine) Apply(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	client, err := localapi.Dial(ctx, m.Socket)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Up(ctx, &localv1.UpRequest{})
	return err
}

// Cycle makes the tunnel anew.
func (m *Machine) Cycle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	client, err := localapi.Dial(ctx, m.Socket)
	if err != nil {
		return err
	}
	defer client.Close()
	// What the old tunnel could not take away is the new one's to take over; the
	// second call is made in any case, so that the tunnel is not left down.
	_, downErr := client.Down(ctx, &localv1.DownRequest{})
	upCtx, cancelUp := context.WithTimeout(context.WithoutCancel(ctx), callLimit)
	defer cancelUp()
	if _, err := client.Up(upCtx, &localv1.UpRequest{}); err != nil {
		return errors.Join(err, downErr)
	}
	return nil
}

// Settle waits until the tunnel works, or is not wanted to.
func (m *Machine) Settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for ctx.Err() == nil {
		status := m.status(ctx)
		if status != nil && (!status.GetWantedUp() || status.GetState() == localv1.State_CONNECTED || status.GetState() == localv1.State_SIGNED_OUT) {
			return
		}
		pause(ctx, settleEvery)
	}
}
