package relaybridge

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"
)

const (
	// latencyRequests are made on one connection, the fastest of them counts:
	// the first often waits for what a proxy in between sets up.
	latencyRequests = 3
	// latencyBody bounds what is read of an answer.
	latencyBody = 8 << 10
)

// Latency is the time from a request to a relay of the region until its
// answer, on a connection that stands. The region's relays are tried in order
// until one answers, each over the way that its packets take.
func (b *Bridge) Latency(ctx context.Context, region int) (time.Duration, error) {
	b.mu.Lock()
	goals := slices.Clone(b.regions[region])
	b.mu.Unlock()
	problems := []error{fmt.Errorf("measure relay region %d", region)}
	for _, goal := range goals {
		took, err := b.measure(ctx, goal)
		if err == nil {
			return took, nil
		}
		problems = append(problems, err)
	}
	if len(goals) == 0 {
		problems = append(problems, errors.New("it has no relay"))
	}
	return 0, errors.Join(problems...)
}

func (b *Bridge) measure(ctx context.Context, goal target) (time.Duration, error) {
	relay, err := b.dial(ctx, goal)
	if err != nil {
		return 0, err
	}
	defer relay.Close()
	defer context.AfterFunc(ctx, func() { relay.Close() })()
	reader := bufio.NewReader(relay)
	var best time.Duration
	for range latencyRequests {
		took, last, err := b.roundTrip(ctx, goal, relay, reader)
		if err != nil {
			if best > 0 {
				break // the relay keeps no connections
			}
			return 0, err
		}
		if best == 0 || took < best {
			best = took
		}
		if last {
			break
		}
	}
	return best, nil
}

// roundTrip makes one request; last says that the connection carries no more.
func (b *Bridge) roundTrip(ctx context.Context, goal target, relay net.Conn, reader *bufio.Reader) (took time.Duration, last bool, err error) {
	request, err := b.request(ctx, goal, http.MethodGet, "/derp/latency-check")
	if err != nil {
		return 0, true, err
	}
	began := time.Now()
	if err := request.Write(relay); err != nil {
		return 0, true, fmt.Errorf("ask relay %s: %w", goal.address(), err)
	}
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return 0, true, fmt.Errorf("read answer of relay %s: %w", goal.address(), err)
	}
	defer response.Body.Close()
	took = max(time.Since(began), 1)
	if response.StatusCode < 200 || response.StatusCode > 299 {
		// A proxy's refusal, most likely, which says nothing of the relay.
		return 0, true, fmt.Errorf("ask relay %s: it answered %s", goal.address(), response.Status)
	}
	read, err := io.Copy(io.Discard, io.LimitReader(response.Body, latencyBody))
	return took, err != nil || read == latencyBody || response.Close, nil
}
