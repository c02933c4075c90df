package tailnetsvc

import (
	"cmp"
	"context"
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

// partingGrace is how long a peer may take to read why its coordination ended,
// and to hang up, before its connection is cut.
const partingGrace = 2 * time.Second

// PartingError as the cause of a leave context says what partners are to hear,
// and the peer itself. Any other cause is told as a loss.
type PartingError struct {
	How  coordinator.Ending
	Text string
}

func (p *PartingError) Error() string { return p.Text }

// errDeaf is why a connection is cut that takes no more bytes.
var errDeaf = errors.New("peer does not read")

// Coordinate connects the call to the coordinator. When the coordinator ends
// the stream, the call ends without an error of its own: the last response says
// why. The connection ends soon after it.
func (p *session) Coordinate(call tailnetv2.DRPCTailnet_CoordinateStream) error {
	// The end of the call ends the reader, and that the stream.
	stream, err := p.service.Coordinator.Connect(p.ctx, p.id, p.name, p.auth)
	if err != nil {
		if sendErr := call.MsgSend(coordinator.ErrorResponse(err.Error()), rawEncoding{}); sendErr != nil {
			return fmt.Errorf("send refusal: %w", sendErr)
		}
		return nil
	}
	p.coordinating.Add(1)
	defer p.endCoordination()
	var work sync.WaitGroup
	defer work.Wait()
	stay := context.AfterFunc(p.leave, func() { p.sendOff(stream) })
	defer stay()
	told := false
	finished := make(chan struct{})
	defer close(finished)
	// Closing the call unblocks the reader.
	defer call.Close()
	defer stream.Close()
	work.Go(func() { p.readRequests(call, stream) })
	work.Go(func() {
		<-stream.Done()
		reason := stream.Err()
		cut := time.AfterFunc(partingGrace, func() { p.hangUp(cmp.Or(reason, errDeaf)) })
		<-finished
		// A peer that left by itself, or whose call is gone, is not cut off.
		if reason == nil || !told {
			cut.Stop()
		}
	})
	told = p.writeResponses(call, stream)
	return nil
}

// endCoordination follows the end of each stream. A connection that is to leave
// is cut also when its peer took the stream away before it was told.
func (p *session) endCoordination() {
	if p.coordinating.Add(-1) == 0 && p.leave.Err() != nil {
		time.AfterFunc(partingGrace, func() { p.hangUp(context.Cause(p.leave)) })
	}
}

// sendOff ends a stream because its connection is to leave.
func (p *session) sendOff(stream *coordinator.Stream) {
	p.sentOff.Store(true)
	cause := context.Cause(p.leave)
	how := coordinator.Lost
	var parting *PartingError
	if errors.As(cause, &parting) {
		how = parting.How
	}
	stream.End(how, cause.Error())
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

// writeResponses says whether the peer was told everything to the end.
func (p *session) writeResponses(call tailnetv2.DRPCTailnet_CoordinateStream, stream *coordinator.Stream) bool {
	var buf []byte
	for {
		var err error
		buf, err = stream.RecvWire(call.Context(), buf[:0])
		if err != nil {
			return errors.Is(err, io.EOF) // else the call has ended
		}
		if err := call.MsgSend(buf, rawEncoding{}); err != nil {
			p.service.Logger.Debug("send coordinate response", slog.String("peer", p.id.String()), slog.Any("error", err))
			return false
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
