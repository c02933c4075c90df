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

// joined is the largest body that is joined with its header: beyond it a copy
// costs more than a further message, and the buffer is each connection's own.
const joined = 4 << 10

func (g *gather) Write(p []byte) (int, error) {
	if len(g.frame) > 0 {
		g.frame = append(g.frame, p...)
		_, err := g.ReadWriteCloser.Write(g.frame)
		g.frame = g.frame[:0]
		if err != nil {
			return 0, err
		}
		return len(p), nil
	}
	// A body never gets here while it could be taken for a header: those of more
	// than a header's length are written as they come, right after theirs.
	if body := bodyAfter(p); body > 0 && body <= joined {
		g.frame = append(g.frame, p...)
		return len(p), nil
	}
	return g.ReadWriteCloser.Write(p)
}

// bodyAfter is the length of the body that a header announces, 0 when it is no
// header of a data frame.
func bodyAfter(p []byte) uint32 {
	if len(p) != headerSize || p[1] != typeData {
		return 0
	}
	return binary.BigEndian.Uint32(p[8:])
}
