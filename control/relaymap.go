package control

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// relayLimit bounds the regions and nodes of a map, together. A message of the
// largest size could hold a million; deployments have tens.
const relayLimit = 10_000

// errSpared is the end of a controller that the connection survives.
var errSpared = errors.New("ended alone")

// receiveRelayMaps hands each relay map on, its embedded relays pointed at the
// URL by which this client reaches the control plane. A stream that is merely
// cancelled or out of time leaves the last map as it is, and the connection
// too.
func (s *session) receiveRelayMaps(stream tailnetv2.DRPCTailnet_StreamDERPMapsClient) error {
	answered := sync.OnceFunc(s.answered)
	for {
		message, err := stream.Recv()
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			answered()
			return errSpared
		}
		if err != nil {
			return fmt.Errorf("receive relay map: %w", err)
		}
		if size := relaySize(message); size > relayLimit {
			return fmt.Errorf("receive relay map: %d regions and nodes are over %d", size, relayLimit)
		}
		s.loop.RelayMap(proto.RelayMapFromProto(message).RewriteEmbedded(s.loop.accessURL()))
		answered()
	}
}

func relaySize(message *tailnetv2.DERPMap) int {
	size := len(message.GetRegions()) + len(message.GetHomeParams().GetRegionScore())
	for _, region := range message.GetRegions() {
		size += len(region.GetNodes())
	}
	return size
}
