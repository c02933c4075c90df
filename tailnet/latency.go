package tailnet

import (
	"context"
	"sync"
	"time"
)

// maxPinged is how many peers Latencies asks: a median of as many tells as
// much as one of all.
const maxPinged = 64

// Latencies pings the peers that were active lately, all at once, and returns
// the time of each answer that came before ctx ended.
func (e *Engine) Latencies(ctx context.Context) []time.Duration {
	var mu sync.Mutex
	var result []time.Duration
	var pings sync.WaitGroup
	pinged := 0
	for _, id := range e.ActivePeers() {
		peer := e.directory.peer(id)
		status, known := e.Peer(id)
		if peer == nil || !known || !status.Active {
			continue
		}
		if pinged++; pinged > maxPinged {
			break
		}
		pings.Go(func() {
			answer, err := e.Ping(ctx, peer.node.Addresses[0].Addr())
			if err != nil {
				return // a peer that does not answer has no latency
			}
			mu.Lock()
			defer mu.Unlock()
			result = append(result, answer.Latency)
		})
	}
	pings.Wait()
	return result
}
