package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// writes counts what reaches the connection, and keeps what is no whole frame:
// only a large body may come apart from its header.
type writes struct {
	net.Conn
	mu     sync.Mutex
	count  int
	body   int // of a large frame, still to come
	broken [][]byte
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.count++
	body := 0
	if len(p) >= headerSize && p[1] == typeData {
		body = int(binary.BigEndian.Uint32(p[8:]))
	}
	switch {
	case w.body > 0 && len(p) == w.body:
		w.body = 0
	case w.body > 0 || len(p) != headerSize+body && (len(p) != headerSize || body <= joined):
		w.broken = append(w.broken, slices.Clone(p[:min(len(p), headerSize)]))
	case len(p) == headerSize:
		w.body = body
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
	// Also of a yamux header's length, and on both sides of the limit.
	for _, size := range []int{0, 1, headerSize, 100, joined - 100, joined, 1 << 20, 64} {
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
		if end.count < 8 || len(end.broken) != 0 {
			t.Errorf("%s: %d of %d writes are not one whole frame: %x", name, len(end.broken), end.count, end.broken)
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
	if _, err := g.Write(make([]byte, headerSize)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("next frame: %v", err)
	}
}
