package mux_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers coordination with the size of what it was told, and telemetry
// with nothing.
type echo struct {
	tailnetv2.DRPCTailnetUnimplementedServer
}

func (*echo) PostTelemetry(context.Context, *tailnetv2.TelemetryRequest) (*tailnetv2.TelemetryResponse, error) {
	return &tailnetv2.TelemetryResponse{}, nil
}

func (*echo) Coordinate(stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	for {
		request, err := stream.Recv()
		if err != nil {
			return nil
		}
		reply := &tailnetv2.CoordinateResponse{Error: request.GetUpdateSelf().GetNode().GetDisco()}
		if err := stream.Send(reply); err != nil {
			return err
		}
	}
}

func connect(t *testing.T) (client *mux.Client, stop func() error) {
	t.Helper()
	near, far := net.Pipe()
	handler := drpcmux.New()
	if err := tailnetv2.DRPCRegisterTailnet(handler, &echo{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- mux.Serve(ctx, far, handler) }()
	client, err := mux.NewClient(near)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); client.Close() })
	return client, func() error { cancel(); return <-served }
}

func TestCallsShareOneConnection(t *testing.T) {
	client, stop := connect(t)
	tailnet := tailnetv2.NewDRPCTailnetClient(client)
	first, err := tailnet.Coordinate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, err := tailnet.Coordinate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The second stream answers while the first is open and silent, and a
	// message near the limit passes whole.
	large := string(bytes.Repeat([]byte("x"), 3<<20))
	if err := second.Send(&tailnetv2.CoordinateRequest{UpdateSelf: &tailnetv2.CoordinateRequest_UpdateSelf{Node: &tailnetv2.Node{Disco: large}}}); err != nil {
		t.Fatal(err)
	}
	reply, err := second.Recv()
	if err != nil || reply.GetError() != large {
		t.Fatalf("got %d bytes back, %v; want %d", len(reply.GetError()), err, len(large))
	}
	for range 3 {
		if _, err := tailnet.PostTelemetry(t.Context(), &tailnetv2.TelemetryRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.CloseSend(); err != nil {
		t.Errorf("close the first stream: %v", err)
	}
	if err := stop(); err != nil {
		t.Errorf("Serve ended with %v, want nil", err)
	}
	<-client.Closed()
	if _, err := tailnet.PostTelemetry(t.Context(), &tailnetv2.TelemetryRequest{}); err == nil {
		t.Error("a call on a closed session succeeded")
	}
}

func TestOneConnectionHasSoManyCalls(t *testing.T) {
	client, stop := connect(t)
	tailnet := tailnetv2.NewDRPCTailnetClient(client)
	// A call counts once it has answered: opening one proves nothing.
	call := func() (tailnetv2.DRPCTailnet_CoordinateClient, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		t.Cleanup(cancel)
		stream, err := tailnet.Coordinate(ctx)
		if err != nil {
			return nil, err
		}
		if err := stream.Send(&tailnetv2.CoordinateRequest{}); err != nil {
			return nil, err
		}
		_, err = stream.Recv()
		return stream, err
	}
	var open []tailnetv2.DRPCTailnet_CoordinateClient
	for range 64 {
		stream, err := call()
		if err != nil {
			t.Fatalf("call %d: %v", len(open)+1, err)
		}
		open = append(open, stream)
	}
	if _, err := call(); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("call 65 ended with %v, want it closed at once", err)
	}
	if err := open[0].Close(); err != nil {
		t.Fatal(err)
	}
	// The place is free once the server has seen the end.
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := call(); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("no place after a call ended: %v", err)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Serve ended with %v, want nil", err)
	}
}

func TestServeEndsWhenThePeerHangsUp(t *testing.T) {
	client, _ := connect(t)
	stream, err := tailnetv2.NewDRPCTailnetClient(client).Coordinate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client.Close()
	if _, err := stream.Recv(); err == nil {
		t.Error("a stream of a closed session still answers")
	}
}

func TestServeEndsOnGarbage(t *testing.T) {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- mux.Serve(t.Context(), far, drpcmux.New()) }()
	if err := near.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	// Version 255 is no yamux. The server may hang up before it has read all.
	if _, err := near.Write(bytes.Repeat([]byte{0xff}, 12)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, near); err != nil {
		t.Errorf("wait for the hang-up: %v", err)
	}
	<-served
	near.Close()
}
