//go:build unix

package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"
	"storj.io/drpc/drpcmux"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// stand is the least that an agent takes for a control plane.
type stand struct {
	agentv2.DRPCAgentUnimplementedServer
	tailnet

	manifest *agentv2.Manifest
}

type tailnet struct {
	tailnetv2.DRPCTailnetUnimplementedServer
}

func (*tailnet) Coordinate(stream tailnetv2.DRPCTailnet_CoordinateStream) error {
	for {
		request, err := stream.Recv()
		if err != nil || request.GetDisconnect() != nil {
			return nil
		}
	}
}

func (*tailnet) StreamDERPMaps(_ *tailnetv2.StreamDERPMapsRequest, stream tailnetv2.DRPCTailnet_StreamDERPMapsStream) error {
	if err := stream.Send(&tailnetv2.DERPMap{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (s *stand) GetManifest(context.Context, *agentv2.GetManifestRequest) (*agentv2.Manifest, error) {
	return s.manifest, nil
}

func (s *stand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer socket.CloseNow()
	router := drpcmux.New()
	if agentv2.DRPCRegisterAgent(router, s) != nil || tailnetv2.DRPCRegisterTailnet(router, &s.tailnet) != nil {
		return
	}
	_ = mux.Serve(r.Context(), websocket.NetConn(r.Context(), socket, websocket.MessageBinary), router)
}

// TestSignals: the first lets a stop script run, the second ends the agent at
// once.
func TestSignals(t *testing.T) {
	for name, test := range map[string]struct {
		script string
		twice  bool
	}{"one": {"touch begun; sleep 0.5; touch ended", false}, "two": {"touch begun; sleep 20; touch ended", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			directory := t.TempDir()
			id, source := uuid.New(), uuid.New()
			plane := httptest.NewServer(&stand{manifest: &agentv2.Manifest{
				AgentId: id[:], Directory: directory,
				Scripts: []*agentv2.WorkspaceAgentScript{{Id: id[:], LogSourceId: source[:], Script: test.script, RunOnStop: true}},
			}})
			t.Cleanup(plane.CloseClientConnections)
			t.Cleanup(plane.Close)
			cmd := program(t, []string{"CAUSEWAY_AGENT_TOKEN=the-secret"}, "run", "--url", plane.URL)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := stdout.Read(make([]byte, 64)); err != nil {
				t.Fatalf("not connected: %v", err)
			}
			exists := func(name string) bool {
				_, err := os.Stat(filepath.Join(directory, name))
				return err == nil
			}
			_ = cmd.Process.Signal(syscall.SIGTERM)
			for deadline := time.Now().Add(20 * time.Second); !exists("begun"); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the stop script does not run")
				}
			}
			started := time.Now()
			if test.twice {
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
			err = cmd.Wait()
			if took := time.Since(started); test.twice == (err == nil) || took > 10*time.Second || exists("ended") == test.twice {
				t.Errorf("ended after %s with %v", took, err)
			}
		})
	}
}
