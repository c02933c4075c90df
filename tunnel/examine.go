package tunnel

import "context"

// AskRelay asks the home relay now, over a new connection: one that broke
// without a word looks well for two minutes. Without a data plane or a map of
// relays there is none to ask.
func (t *Tunnel) AskRelay(ctx context.Context) (asked bool, err error) {
	t.mu.Lock()
	running, mapped := t.live, t.saved.Relays.DERPMap != nil
	t.mu.Unlock()
	if running == nil || !mapped {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, relayAskTimeout)
	defer cancel()
	return true, running.engine.HomeRelay(ctx, true)
}
