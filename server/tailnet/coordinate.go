package tailnetsvc

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"storj.io/drpc"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
)

// partingGrace is how long a peer may take to read why its coordination ended
// before its connection is cut. A peer that does not read at all would else
// hold the writer for ever.
const partingGrace = 2 * time.Second

// Coordinate connects the call to the coordinator. When the coordinator ends
// the stream, the call ends without an error of its own: the last response says
// why.
func (p *session) Coordinate(call tailnetv2.DRPCTailnet_CoordinateStream) error {
	stream, err := p.service.Coordinator.Connect(call.Context(), p.id, p.name, p.auth)
	if err != nil {
		if sendErr := call.MsgSend(coordinator.ErrorResponse(err.Error()), rawEncoding{}); sendErr != nil {
			return fmt.Errorf("send refusal: %w", sendErr)
		}
		return nil
	}
	var work sync.WaitGroup
	defer work.Wait()
	finished := make(chan struct{})
	defer close(finished)
	// Closing the call unblocks the reader.
	defer call.Close()
	defer stream.Close()
	work.Go(func() { p.readRequests(call, stream) })
	work.Go(func() {
		select {
		case <-stream.Done():
		case <-finished:
			return
		}
		timer := time.NewTimer(partingGrace)
		defer timer.Stop()
		select {
		case <-timer.C:
			p.hangUp()
		case <-finished:
		}
	})
	return p.writeResponses(call, stream)
}

func (p *session) readRequests(call tailnetv2.DRPCTailnet_CoordinateStream, stream *coordinator.Stream) {
	defer stream.Close()
	for {
		req, err := call.Recv()
		if err != nil {
			// Also a broken or half-closed stream without a Disconnect: lost.
			return
		}
		if err := stream.Send(req); err != nil {
			return // the coordinator has logged it and has told the peer
		}
	}
}

func (p *session) writeResponses(call tailnetv2.DRPCTailnet_CoordinateStream, stream *coordinator.Stream) error {
	var buf []byte
	for {
		var err error
		buf, err = stream.RecvWire(call.Context(), buf[:0])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return nil // the call has ended
		}
		if err := call.MsgSend(buf, rawEncoding{}); err != nil {
			p.service.Logger.Debug("send coordinate response", slog.String("peer", p.id.String()), slog.Any("error", err))
			return nil
		}
		if cap(buf) > keepBuffer {
			buf = nil
		}
	}
}

// keepBuffer is the largest buffer, in bytes, that an idle connection keeps.
const keepBuffer = 4 << 10

// rawEncoding sends bytes that are a marshalled message already: the
// coordinator marshals a node once for all that hear of it.
type rawEncoding struct{}

var _ drpc.Encoding = rawEncoding{}

var errNotRaw = errors.New("raw encoding takes bytes")

func (rawEncoding) Marshal(message drpc.Message) ([]byte, error) {
	raw, ok := message.([]byte)
	if !ok {
		return nil, errNotRaw
	}
	return raw, nil
}

// MarshalAppend saves the library a copy.
func (rawEncoding) MarshalAppend(buf []byte, message drpc.Message) ([]byte, error) {
	raw, ok := message.([]byte)
	if !ok {
		return nil, errNotRaw
	}
	return append(buf, raw...), nil
}

func (rawEncoding) Unmarshal(buf []byte, message drpc.Message) error {
	target, ok := message.(proto.Message)
	if !ok {
		return errNotRaw
	}
	return proto.Unmarshal(buf, target)
}
