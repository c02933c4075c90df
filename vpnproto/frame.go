package vpnproto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

const (
	lengthBytes = 4
	// MaxMessage is the longest message, in bytes.
	MaxMessage = 0x1000000
)

// ErrTooLong is wrapped for a message over MaxMessage; one that comes in ends
// the connection, as nothing can be skipped.
var ErrTooLong = errors.New("message is too long")

// readMessage reads one framed message. io.EOF is a hang-up between two messages,
// io.ErrUnexpectedEOF one inside. A length of zero is an empty message.
func readMessage(in io.Reader, into proto.Message) error {
	var head [lengthBytes]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > MaxMessage {
		return fmt.Errorf("read message: %d bytes, the limit is %d: %w", length, MaxMessage, ErrTooLong)
	}
	// It grows with what comes: a length alone is no reason for 16 MiB.
	body, err := io.ReadAll(io.LimitReader(in, int64(length)))
	if err == nil && len(body) < int(length) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(body, into); err != nil {
		return fmt.Errorf("read message of %d bytes: %w", length, err)
	}
	return nil
}

// frame is a message as it goes out, in one piece.
func frame(message proto.Message) ([]byte, error) {
	size := proto.Size(message)
	if size > MaxMessage {
		return nil, fmt.Errorf("write message: %d bytes, the limit is %d: %w", size, MaxMessage, ErrTooLong)
	}
	framed := make([]byte, lengthBytes, lengthBytes+size)
	framed, err := proto.MarshalOptions{}.MarshalAppend(framed, message)
	if err != nil {
		return nil, fmt.Errorf("write message: %w", err)
	}
	binary.BigEndian.PutUint32(framed, uint32(len(framed)-lengthBytes))
	return framed, nil
}
