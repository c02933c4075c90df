package control

import (
	"fmt"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// receiveRelayMaps hands each relay map on, its embedded relays pointed at the
// URL by which this client reaches the control plane.
func (s *session) receiveRelayMaps(stream tailnetv2.DRPCTailnet_StreamDERPMapsClient) error {
	for first := true; ; first = false {
		message, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive relay map: %w", err)
		}
		s.loop.RelayMap(proto.RelayMapFromProto(message).RewriteEmbedded(s.loop.accessURL()))
		if first {
			s.answered()
		}
	}
}
