package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/coder/websocket"
	"storj.io/drpc"
	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmanager"
	"storj.io/drpc/drpcserver"
	"storj.io/drpc/drpcstream"
	"storj.io/drpc/drpcwire"

	"github.com/causewayhq/causeway/control"
	cwproto "github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/mux"
)

// blob is a message that costs nothing to encode: framing is what is measured.
type blob struct{ data []byte }

type blobs struct{}

func (blobs) Marshal(message drpc.Message) ([]byte, error) { return message.(*blob).data, nil }
func (blobs) Unmarshal(data []byte, message drpc.Message) error {
	to := message.(*blob)
	to.data = append(to.data[:0], data...)
	return nil
}

// reflector answers each message with as many bytes as the message's first four
// say.
type reflector struct{}

func (reflector) HandleRPC(stream drpc.Stream, _ string) error {
	var message, answer blob
	for {
		if err := stream.MsgRecv(&message, blobs{}); err != nil || len(message.data) < 4 {
			return nil
		}
		if size := int(binary.BigEndian.Uint32(message.data)); size != len(answer.data) {
			answer.data = make([]byte, size)
		}
		if err := stream.MsgSend(&answer, blobs{}); err != nil {
			return err
		}
	}
}

// measureRPC times round trips over loopback, in the framing of the product
// (websocket, yamux, dRPC) and with dRPC on the bare TCP connection, in turn.
func measureRPC(ctx context.Context, flags *flag.FlagSet, args []string) error {
	pairs := flags.Int("pairs", 5, "measurements of each side")
	lasting := flags.Duration("for", time.Second, "of one measurement")
	if err := flags.Parse(args); err != nil {
		return err
	}
	framed, endFramed, err := framedConn(ctx)
	if err != nil {
		return err
	}
	defer endFramed()
	bare, endBare, err := bareConn(ctx)
	if err != nil {
		return err
	}
	defer endBare()
	result := figures{}
	for _, shape := range []struct {
		name        string
		ask, answer int
	}{{"small", 64, 64}, {"answer", 64, 200_000}, {"both", 200_000, 200_000}} {
		for range *pairs {
			for name, conn := range map[string]drpc.Conn{"framed": framed, "bare": bare} {
				median, err := roundTrip(ctx, conn, shape.ask, shape.answer, *lasting)
				if err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
				result.add(name+" "+shape.name, micros(median))
			}
		}
	}
	return result.print()
}

// roundTrip is the median time of a message there and back on one open call,
// which is how everything but the resume token travels.
func roundTrip(ctx context.Context, conn drpc.Conn, ask, answer int, lasting time.Duration) (time.Duration, error) {
	stream, err := conn.NewStream(ctx, "/bench/Reflect", blobs{})
	if err != nil {
		return 0, err
	}
	defer stream.Close()
	out, in := blob{make([]byte, ask)}, blob{make([]byte, 0, answer)}
	binary.BigEndian.PutUint32(out.data, uint32(answer))
	var took []time.Duration
	for began := time.Now(); time.Since(began) < lasting; {
		start := time.Now()
		if err := stream.MsgSend(&out, blobs{}); err != nil {
			return 0, err
		}
		if err := stream.MsgRecv(&in, blobs{}); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	return percentile(took[len(took)/10:], 50), nil
}

// framedConn is a connection as the product's dialer opens it.
func framedConn(ctx context.Context) (drpc.Conn, func(), error) {
	dialer, closeServer, err := serveFramed(ctx, func(conn net.Conn) { _ = mux.Serve(ctx, conn, reflector{}) })
	if err != nil {
		return nil, nil, err
	}
	conn, err := dialer.Dial(ctx, "")
	if err != nil {
		closeServer()
		return nil, nil, err
	}
	return conn, func() { conn.Close(); closeServer() }, nil
}

// serveFramed serves websockets on loopback, and gives what dials them.
func serveFramed(ctx context.Context, serve func(net.Conn)) (*control.Dialer, func(), error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return
		}
		socket.SetReadLimit(-1)
		serve(websocket.NetConn(ctx, socket, websocket.MessageBinary))
	})}
	go func() { _ = server.Serve(listener) }()
	dialer := &control.Dialer{
		URL: &url.URL{Scheme: "http", Host: listener.Addr().String()}, Path: control.UserPath, Version: cwproto.V20, Token: func() string { return "" },
	}
	return dialer, func() { server.Close() }, nil
}

// messageLimit is that of the product's framing.
const messageLimit = 4 << 20

func bareConn(ctx context.Context) (drpc.Conn, func(), error) {
	options := drpcmanager.Options{
		Reader: drpcwire.ReaderOptions{MaximumBufferSize: messageLimit}, Stream: drpcstream.Options{MaximumBufferSize: messageLimit},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := drpcserver.NewWithOptions(reflector{}, drpcserver.Options{Manager: options})
	go func() { _ = server.Serve(ctx, listener) }()
	tcp, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	conn := drpcconn.NewWithOptions(tcp, drpcconn.Options{Manager: options})
	return conn, func() { conn.Close(); listener.Close() }, nil
}
