package tailnetsvc

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"storj.io/drpc"
)

// A message takes much more memory read than sent: each of the two million empty
// elements that 4 MiB can hold is up to 200 bytes, which is 432 MiB. So elements
// are counted before anything is read.
const (
	// elementsMost is how many one message may have: more than twice what an
	// agent's fullest batch of logs has, 49,932 lines (1 MiB at 21 bytes each) with
	// a time in each. They take 53 MiB at most.
	elementsMost = 1 << 18
	// elementsLarge is from how many on a message is large. One connection may
	// have one such message at a time; the next waits.
	elementsLarge = 1 << 12
	// nestingMost is deeper than any message of ours.
	nestingMost = 16
)

// bounded is the stream of one call, of which no message is larger than that.
type bounded struct {
	drpc.Stream
	large chan struct{} // of the connection; holds one
	held  bool
}

// MsgRecv reads the next message. The one before is no longer needed then.
func (b *bounded) MsgRecv(msg drpc.Message, enc drpc.Encoding) error {
	b.release()
	return b.Stream.MsgRecv(msg, boundedEncoding{enc, b})
}

func (b *bounded) release() {
	if b.held {
		b.held = false
		<-b.large
	}
}

func (b *bounded) take() error {
	select {
	case b.large <- struct{}{}:
		b.held = true
		return nil
	case <-b.Context().Done():
		return b.Context().Err()
	}
}

type boundedEncoding struct {
	drpc.Encoding
	stream *bounded
}

func (e boundedEncoding) Unmarshal(data []byte, msg drpc.Message) error {
	count := 0
	if message, ok := msg.(proto.Message); ok {
		var err error
		if count, err = elements(data, message.ProtoReflect().Descriptor(), nestingMost); err != nil {
			return fmt.Errorf("read message: %w", err)
		}
	}
	if count > elementsMost {
		return fmt.Errorf("read message: %d elements are more than %d", count, elementsMost)
	}
	if count > elementsLarge {
		if err := e.stream.take(); err != nil {
			return err
		}
	}
	return e.Encoding.Unmarshal(data, msg)
}

var errNesting = fmt.Errorf("it nests deeper than %d", nestingMost)

// elements counts the messages, entries of maps, and texts of lists, at any depth.
func elements(data []byte, kind protoreflect.MessageDescriptor, depth int) (count int, err error) {
	if depth == 0 {
		return 0, errNesting
	}
	for len(data) > 0 {
		number, wire, length := protowire.ConsumeTag(data)
		if length < 0 {
			return 0, protowire.ParseError(length)
		}
		data = data[length:]
		value := protowire.ConsumeFieldValue(number, wire, data)
		if value < 0 {
			return 0, protowire.ParseError(value)
		}
		field := kind.Fields().ByNumber(number)
		switch {
		case field == nil || wire != protowire.BytesType:
		case field.Message() != nil:
			inner, _ := protowire.ConsumeBytes(data)
			below, err := elements(inner, field.Message(), depth-1)
			if err != nil {
				return 0, err
			}
			count += 1 + below
		case field.IsList() && (field.Kind() == protoreflect.StringKind || field.Kind() == protoreflect.BytesKind):
			count++
		}
		data = data[value:]
	}
	return count, nil
}
