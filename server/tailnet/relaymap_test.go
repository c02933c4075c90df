package tailnetsvc

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"storj.io/drpc"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// mapSink is the far end of a stream of relay maps.
type mapSink struct {
	drpc.Stream
	ctx   context.Context
	began time.Time
	hosts []string
	at    []time.Duration
}

func (s *mapSink) Context() context.Context { return s.ctx }

func (s *mapSink) Send(relays *tailnetv2.DERPMap) error {
	s.hosts = append(s.hosts, relays.GetRegions()[999].GetNodes()[0].GetHostName())
	s.at = append(s.at, time.Since(s.began))
	return nil
}

// TestRelayMapsAreLookedAtEveryFiveSeconds: the first map at once, a later one
// with the next look, an equal one never, and none at all is the end.
func TestRelayMapsAreLookedAtEveryFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var current atomic.Pointer[proto.RelayMap]
		var looks atomic.Int32
		set := func(relays proto.RelayMap) { current.Store(&relays) }
		set(relayMap("one"))
		peer := &session{service: &Service{RelayMap: func() proto.RelayMap { looks.Add(1); return *current.Load() }}}
		sink := &mapSink{ctx: t.Context(), began: time.Now()}
		ended := make(chan error, 1)
		go func() { ended <- peer.StreamDERPMaps(&tailnetv2.StreamDERPMapsRequest{}, sink) }()
		synctest.Wait()
		if len(sink.hosts) != 1 || sink.at[0] != 0 {
			t.Fatalf("at once came %v", sink.hosts)
		}
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if len(sink.hosts) != 1 || looks.Load() != 5 {
			t.Errorf("%v after %d looks", sink.hosts, looks.Load())
		}
		set(relayMap("two"))
		time.Sleep(DefaultRelayMapPeriod)
		synctest.Wait()
		if len(sink.hosts) != 2 || sink.hosts[1] != "two" || sink.at[1] != 25*time.Second {
			t.Errorf("%v at %v", sink.hosts, sink.at)
		}
		set(proto.RelayMap{})
		time.Sleep(DefaultRelayMapPeriod)
		synctest.Wait()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("ended with %v", err)
			}
		default:
			t.Error("goes on without a map")
		}
	})
}
