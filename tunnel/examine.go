package tunnel

import (
	"context"
	"time"
)

// relayAskAgain is how often a home relay that is not there is asked again.
const relayAskAgain = 250 * time.Millisecond

// AskRelay asks the home relay now, over a new connection: one that broke
// without a word looks well for two minutes. Without a data plane or a map of
// relays there is none to ask. One that is not there is asked again for as long
// as is allowed: right after the start it is still being connected to.
func (t *Tunnel) AskRelay(ctx context.Context) (asked bool, err error) {
	t.mu.Lock()
	running, mapped := t.live, t.saved.Relays.DERPMap != nil
	t.mu.Unlock()
	if running == nil || !mapped {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, relayAskTimeout)
	defer cancel()
	for {
		if err = running.engine.HomeRelay(ctx, true); err == nil || !pause(ctx, relayAskAgain) {
			return true, err
		}
	}
}
