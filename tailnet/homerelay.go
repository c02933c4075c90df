package tailnet

import (
	"context"
	"errors"
)

// HomeRelay says whether our home relay is there: an error when no relay could
// be chosen, or no connection to it stands. Upstream does not tell, so the
// bridge has to know; a relay that it does not carry counts as there. A
// connection that broke without a word looks well for two minutes: with ask the
// relay is asked, over a new connection, until ctx ends.
func (e *Engine) HomeRelay(ctx context.Context, ask bool) error {
	home := e.publisher.home()
	if home == 0 {
		return errors.New("no relay answers")
	}
	bridged, stands := e.bridge.Carries(home)
	if bridged && ask {
		if _, err := e.bridge.Latency(ctx, home); err != nil {
			return err
		}
	}
	if bridged && !stands {
		return errors.New("no connection to it")
	}
	return nil
}

func (e *Engine) homeRelayChanged() {
	if e.config.HomeRelayChanged != nil {
		e.config.HomeRelayChanged()
	}
}
