package mux

import (
	"encoding/binary"
	"io"
)

// The header of a yamux frame: version, type, flags, stream, length.
const (
	headerSize = 12
	typeData   = 0
)

// gather joins the header of a data frame with its body, which yamux writes
// one after the other. On a websocket each write is a message, with a system
// call here and a wake-up at the far side: half of both are saved. The stream of
// bytes is the same.
//
// Only yamux's one sending goroutine writes. It writes the body right after
// each header that announces one, so nothing is held back for long.
type gather struct {
	io.ReadWriteCloser
	frame []byte // begins with the header that waits for its body
}

// keep is the largest buffer that is kept for the next frame. A stream's window
// bounds frames at 256 KiB; most are far smaller.
const keep = 16 << 10

func (g *gather) Write(p []byte) (int, error) {
	if len(g.frame) == 0 && announcesBody(p) {
		g.frame = append(g.frame, p...)
		return len(p), nil
	}
	if len(g.frame) == 0 {
		return g.ReadWriteCloser.Write(p)
	}
	g.frame = append(g.frame, p...)
	_, err := g.ReadWriteCloser.Write(g.frame)
	if g.frame = g.frame[:0]; cap(g.frame) > keep {
		g.frame = nil
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func announcesBody(p []byte) bool {
	return len(p) == headerSize && p[1] == typeData && binary.BigEndian.Uint32(p[8:]) > 0
}
