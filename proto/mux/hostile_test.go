package mux_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/mux"
)

// TestStreamsThatNeverLetGo: whoever opens streams, lets the server end them,
// and holds on to its own side is cut off before that costs much.
func TestStreamsThatNeverLetGo(t *testing.T) {
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- mux.Serve(context.Background(), far, drpcmux.New()) }()
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	session, err := yamux.Client(near, config)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	opened := 0
	for ; opened < 4096; opened++ {
		stream, err := session.OpenStream()
		if err != nil {
			break
		}
		// No dRPC: the server ends its side.
		if err := stream.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Write([]byte{0xff, 0xff, 0xff}); err != nil {
			break
		}
	}
	select {
	case err := <-served:
		if err == nil {
			t.Error("ended without a reason")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("never cut off")
	}
	if opened < 64 || opened > 512 {
		t.Errorf("cut off after %d streams", opened)
	}
}
