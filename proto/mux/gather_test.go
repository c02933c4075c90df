package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// writes counts what reaches the connection, and whether a write ends in the
// middle of a frame.
type writes struct {
	net.Conn
	mu     sync.Mutex
	frames int
	broken [][]byte
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.frames++
	length := headerSize
	if len(p) >= headerSize && p[1] == typeData {
		length += int(binary.BigEndian.Uint32(p[8:]))
	}
	if len(p) != length {
		w.broken = append(w.broken, slices.Clone(p[:min(len(p), headerSize)]))
	}
	w.mu.Unlock()
	return w.Conn.Write(p)
}

type sizes struct {
	tailnetv2.DRPCTailnetUnimplementedServer
}

func (*sizes) Coordinate(stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		if err := stream.Send(&tailnetv2.CoordinateResponse{Error: request.GetUpdateSelf().GetNode().GetDisco()}); err != nil {
			return err
		}
	}
}

// TestFramesAreWrittenWhole holds that each yamux frame is one write, of which
// the websocket makes one message, and that what arrives is what was sent.
func TestFramesAreWrittenWhole(t *testing.T) {
	near, far := net.Pipe()
	client, server := &writes{Conn: near}, &writes{Conn: far}
	router := drpcmux.New()
	if err := tailnetv2.DRPCRegisterTailnet(router, &sizes{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, server, router) }()
	c, err := NewClient(client)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := tailnetv2.NewDRPCTailnetClient(c).Coordinate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Of a yamux header's length, and so large that the buffer is let go.
	for _, size := range []int{0, 1, headerSize, 100, keep - 1, keep, 1 << 20, 64} {
		text := string(bytes.Repeat([]byte{0}, size))
		if err := stream.Send(&tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: &tailnetv2.Node{Disco: text}}}); err != nil {
			t.Fatal(err)
		}
		if reply, err := stream.Recv(); err != nil || reply.GetError() != text {
			t.Fatalf("%d bytes: %d came back, %v", size, len(reply.GetError()), err)
		}
	}
	cancel()
	<-served
	c.Close()
	for name, end := range map[string]*writes{"client": client, "server": server} {
		if end.frames < 8 || len(end.broken) != 0 {
			t.Errorf("%s: %d of %d writes are not one whole frame: %x", name, len(end.broken), end.frames, end.broken)
		}
	}
}

func TestGatherReportsFailure(t *testing.T) {
	near, far := net.Pipe()
	far.Close()
	g := &gather{ReadWriteCloser: near}
	header := []byte{0, typeData, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5}
	if n, err := g.Write(header); n != headerSize || err != nil {
		t.Fatalf("header: %d, %v", n, err)
	}
	if n, err := g.Write([]byte("hello")); n != 0 || err == nil {
		t.Errorf("body into a closed pipe: %d, %v", n, err)
	}
	if _, err := g.Write(make([]byte, headerSize)); err != io.ErrClosedPipe {
		t.Errorf("next frame: %v", err)
	}
}
