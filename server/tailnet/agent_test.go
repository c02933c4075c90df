package tailnetsvc

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

type fakeAgent struct{ panics bool }

func (f *fakeAgent) Manifest(context.Context) (*agentv2.Manifest, error) {
	if f.panics {
		panic("secret of the server")
	}
	return &agentv2.Manifest{AgentName: "main"}, nil
}
func (f *fakeAgent) Startup(_ context.Context, s *agentv2.Startup) error {
	if s.GetVersion() == "bad" {
		return errors.New("bad version")
	}
	return nil
}
func (f *fakeAgent) Lifecycle(context.Context, *agentv2.Lifecycle) error { return nil }
func (f *fakeAgent) Stats(context.Context, *agentv2.Stats) (time.Duration, error) {
	return time.Minute, nil
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
	if got, err := client.UpdateLifecycle(ctx, &agentv2.UpdateLifecycleRequest{Lifecycle: &agentv2.Lifecycle{State: agentv2.Lifecycle_READY}}); err != nil || got.GetState() != agentv2.Lifecycle_READY {
		t.Errorf("lifecycle: %v, %v", got, err)
	}
	if got, err := client.UpdateStats(ctx, &agentv2.UpdateStatsRequest{}); err != nil || got.GetReportInterval().AsDuration() != time.Minute {
		t.Errorf("stats: %v, %v", got, err)
	}
	if _, err := client.UpdateStartup(ctx, &agentv2.UpdateStartupRequest{}); err != nil {
		t.Errorf("empty startup: %v", err)
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
