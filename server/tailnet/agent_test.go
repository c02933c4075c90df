package tailnetsvc

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/uuid"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

type fakeAgent struct {
	agentv2.DRPCAgentUnimplementedServer
	panics bool
}

func (f *fakeAgent) GetManifest(context.Context, *agentv2.GetManifestRequest) (*agentv2.Manifest, error) {
	if f.panics {
		panic("secret of the server")
	}
	return &agentv2.Manifest{AgentName: "main"}, nil
}

func (f *fakeAgent) UpdateStartup(_ context.Context, req *agentv2.UpdateStartupRequest) (*agentv2.Startup, error) {
	if req.GetStartup().GetVersion() == "bad" {
		return nil, errors.New("bad version")
	}
	return req.GetStartup(), nil
}

func TestAgentAPI(t *testing.T) {
	r := newRig(t)
	client := agentv2.NewDRPCAgentClient(r.agent(uuid.New(), &fakeAgent{}))
	ctx := t.Context()
	if got, err := client.GetManifest(ctx, &agentv2.GetManifestRequest{}); err != nil || got.GetAgentName() != "main" {
		t.Errorf("manifest: %v, %v", got, err)
	}
	if got, err := client.UpdateStartup(ctx, &agentv2.UpdateStartupRequest{Startup: &agentv2.Startup{Version: "v1"}}); err != nil || got.GetVersion() != "v1" {
		t.Errorf("startup: %v, %v", got, err)
	}
	if _, err := client.UpdateStartup(ctx, &agentv2.UpdateStartupRequest{Startup: &agentv2.Startup{Version: "bad"}}); err == nil || !strings.Contains(err.Error(), "bad version") {
		t.Errorf("bad startup: %v", err)
	}
	if _, err := client.BatchCreateLogs(ctx, &agentv2.BatchCreateLogsRequest{}); drpcerr.Code(err) != drpcerr.Unimplemented {
		t.Errorf("logs: %v", err)
	}
}

func TestAgentAPIIsNotForUsers(t *testing.T) {
	r := newRig(t)
	client, _ := r.dial(func(ctx context.Context, conn io.ReadWriteCloser) error {
		return r.service.ServeUser(ctx, context.Background(), conn, UserStream{PeerID: uuid.New()})
	})
	_, err := agentv2.NewDRPCAgentClient(client).GetManifest(t.Context(), &agentv2.GetManifestRequest{})
	if err == nil || !strings.Contains(err.Error(), "unknown rpc: ") {
		t.Errorf("got %v", err)
	}
}
