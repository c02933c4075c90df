package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"storj.io/drpc"
	"storj.io/drpc/drpcstream"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// cancelled ends a stream as a cancel and not as an error or an end.
func cancelled(stream any) error {
	below := stream.(interface{ GetStream() drpc.Stream }).GetStream().(*drpcstream.Stream)
	_, err := below.SendCancel(context.Canceled)
	return err
}

// A relay map stream that is merely cancelled leaves the connection alone, be
// it before or after the first map; any other end ends the connection.
func TestRelayMapStreamEnds(t *testing.T) {
	type stream = tailnetv2.DRPCTailnet_StreamDERPMapsStream
	tests := []struct {
		name   string
		end    func(stream) error
		spared bool
	}{
		{"cancel", func(s stream) error { return cancelled(s) }, true},
		{"cancel before the first map", nil, true},
		{"end", func(stream) error { return nil }, false},
		{"error", func(stream) error { return errors.New("no more maps") }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p, heard, maps := &plane{}, &reports{}, 0
				p.relayMaps = func(dial int, s stream) error {
					if dial == 1 && test.end == nil {
						// The client has opened the call by then: a call that does
						// not open is another matter.
						time.Sleep(time.Millisecond)
						return cancelled(s)
					}
					if err := s.Send(&tailnetv2.DERPMap{}); err != nil {
						return err
					}
					if dial == 1 {
						time.Sleep(time.Second)
						return test.end(s)
					}
					<-s.Context().Done()
					return nil
				}
				loop := userLoop(serve(t, p, newPipes()), &data{}, heard)
				loop.RelayMap = func(proto.RelayMap) { maps++ }
				stop := run(t, loop)
				time.Sleep(time.Minute)
				synctest.Wait()
				if spared := len(p.seen()) == 1; spared != test.spared {
					t.Errorf("%d dials: %+v", len(p.seen()), heard.all())
				}
				if list := heard.all(); !list[len(list)-1].connected {
					t.Errorf("not connected: %+v", list)
				}
				stop()
			})
		})
	}
}

var plainURL = &url.URL{Scheme: "https", Host: "plane.test"}

// mapStream is a stream of relay maps that ends with an error.
type mapStream struct {
	tailnetv2.DRPCTailnet_StreamDERPMapsClient
	list []*tailnetv2.DERPMap
	err  error
}

func (m *mapStream) Recv() (*tailnetv2.DERPMap, error) {
	if len(m.list) == 0 {
		return nil, m.err
	}
	first := m.list[0]
	m.list = m.list[1:]
	return first, nil
}

func TestRelayMapErrors(t *testing.T) {
	for _, test := range []struct {
		err    error
		spared bool
	}{
		{context.Canceled, true},
		{context.DeadlineExceeded, true},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), true},
		{io.EOF, false},
		{errors.New("other"), false},
	} {
		s := &session{loop: &Loop{RelayMap: func(proto.RelayMap) {}, dialer: Dialer{URL: plainURL}}}
		err := s.receiveRelayMaps(&mapStream{list: []*tailnetv2.DERPMap{{}}, err: test.err})
		if errors.Is(err, errSpared) != test.spared || !test.spared && !errors.Is(err, test.err) {
			t.Errorf("%v leads to %v", test.err, err)
		}
	}
}

// A map beyond all measure is not taken; one with many relays is.
func TestRelayMapIsBounded(t *testing.T) {
	huge := func(regions, nodes int) *tailnetv2.DERPMap {
		m := &tailnetv2.DERPMap{Regions: map[int64]*tailnetv2.DERPMap_Region{}}
		for id := range int64(regions) {
			m.Regions[id] = &tailnetv2.DERPMap_Region{}
		}
		for range nodes {
			m.Regions[0].Nodes = append(m.Regions[0].Nodes, &tailnetv2.DERPMap_Region_Node{})
		}
		return m
	}
	for _, test := range []struct {
		relays *tailnetv2.DERPMap
		taken  int
	}{
		{huge(500, 1000), 1}, {huge(relayLimit, 1), 0}, {huge(1, relayLimit), 0},
		{&tailnetv2.DERPMap{HomeParams: &tailnetv2.DERPMap_HomeParams{RegionScore: scores(relayLimit + 1)}}, 0},
	} {
		got := 0
		s := &session{loop: &Loop{RelayMap: func(proto.RelayMap) { got++ }, dialer: Dialer{URL: plainURL}}}
		err := s.receiveRelayMaps(&mapStream{list: []*tailnetv2.DERPMap{test.relays}, err: io.EOF})
		if got != test.taken || test.taken == 0 && !strings.Contains(err.Error(), "are over") {
			t.Errorf("taken %d times: %v", got, err)
		}
	}
}

func scores(n int) map[int64]float64 {
	result := map[int64]float64{}
	for id := range int64(n) {
		result[id] = 1
	}
	return result
}

// The first map and each later one comes with the address that the control plane
// is reached by.
func TestLaterRelayMapsAreRewritten(t *testing.T) {
	inside := func(name string) *tailnetv2.DERPMap {
		return &tailnetv2.DERPMap{Regions: map[int64]*tailnetv2.DERPMap_Region{
			999: {RegionId: 999, EmbeddedRelay: true, Nodes: []*tailnetv2.DERPMap_Region_Node{{Name: name, RegionId: 999, HostName: "inside.test"}}},
			7:   {RegionId: 7, Nodes: []*tailnetv2.DERPMap_Region_Node{{Name: "7a", RegionId: 7, HostName: name + ".test"}}},
		}}
	}
	var got []string
	s := &session{loop: &Loop{RelayMap: func(m proto.RelayMap) {
		got = append(got, m.Regions[999].Nodes[0].Name+" "+m.Regions[999].Nodes[0].HostName+" "+m.Regions[7].Nodes[0].HostName)
	}, dialer: Dialer{URL: plainURL}}}
	err := s.receiveRelayMaps(&mapStream{list: []*tailnetv2.DERPMap{inside("a"), inside("b"), inside("c")}, err: io.EOF})
	want := []string{"a plane.test a.test", "b plane.test b.test", "c plane.test c.test"}
	if !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
