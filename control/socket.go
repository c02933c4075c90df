package control

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/coder/websocket"
)

// byteStream is a websocket as one stream of bytes: binary messages, whose
// bounds mean nothing. Unlike the library's own adapter it keeps the far
// side's reason for closing, which would otherwise read as a plain end.
type byteStream struct {
	ctx     context.Context // of the connection: its end ends reads and writes
	socket  *websocket.Conn
	ended   func(error)
	message io.Reader // what is left of the message that is being read
}

func (s *byteStream) Read(p []byte) (int, error) {
	for {
		if s.message == nil {
			kind, message, err := s.socket.Reader(s.ctx)
			if err == nil && kind != websocket.MessageBinary {
				err = errors.New("control plane sent a text message")
			}
			if err != nil {
				return 0, s.end(err)
			}
			s.message = message
		}
		n, err := s.message.Read(p)
		if errors.Is(err, io.EOF) {
			s.message, err = nil, nil
		}
		if err != nil {
			return n, s.end(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (s *byteStream) Write(p []byte) (int, error) {
	if err := s.socket.Write(s.ctx, websocket.MessageBinary, p); err != nil {
		// Why it ended is the reader's to find out.
		return 0, fmt.Errorf("connection lost: %w", err)
	}
	return len(p), nil
}

// Close cuts the connection. Whoever wants to be polite closes the socket.
func (s *byteStream) Close() error { return s.socket.CloseNow() }

// end reports the reason of the end, before anybody above hears of the end.
func (s *byteStream) end(err error) error {
	var closed websocket.CloseError
	switch {
	case errors.As(err, &closed) && closed.Reason != "":
		err = told(closed.Reason)
	case errors.As(err, &closed):
		err = fmt.Errorf("control plane closed the connection (%s)", closed.Code)
	default:
		err = fmt.Errorf("connection lost: %w", err)
	}
	s.ended(err)
	return err
}
