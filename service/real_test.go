package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/tunnel"
	"github.com/causewayhq/causeway/workspace"
)

func TestStatusMessage(t *testing.T) {
	relay := &tunnel.Relay{RegionID: 9, Code: "r", Name: "R", Latency: 12 * time.Millisecond}
	at := time.Unix(1700000000, 0)
	of := workspace.Workspace{Name: "ws", Status: tailnetv2.Workspace_RUNNING}
	got := statusMessage(tunnel.Status{
		State: tunnel.Degraded, Problems: []tunnel.Problem{{Code: "c", Cause: "because", Remedy: "do"}},
		Suffix: "coder", ControlConnected: true, WorkspacesAsOf: at, Interface: "causeway0",
		Address: netip.MustParseAddr("fd60::1"), HomeRelay: relay, CanaryOK: true, DNSMode: "hosts",
		Agents: []tunnel.AgentStatus{
			{
				ID: uuid.UUID{1}, Name: "direct", Workspace: of, Measured: true, Direct: true, Reachable: true, Tried: true,
				Endpoint: netip.MustParseAddrPort("192.0.2.1:5"), Latency: time.Millisecond, LastHandshake: at, RxBytes: 1, TxBytes: 2,
			},
			{Name: "relayed", Workspace: of, Measured: true, Relay: relay},
			{Name: "idle", Workspace: of},
		},
	})
	if got.GetState() != localv1.State_DEGRADED || got.GetProblems()[0].GetRemedy() != "do" || got.GetAddress() != "fd60::1" ||
		got.GetHomeRelay().GetLatency().AsDuration() != 12*time.Millisecond || !got.GetWorkspacesAsOf().AsTime().Equal(at) ||
		!got.GetCanaryOk() || got.GetDnsMode() != "hosts" || got.GetSuffix() != "coder" {
		t.Errorf("status %v", got)
	}
	direct, relayed, idle := got.GetAgents()[0], got.GetAgents()[1], got.GetAgents()[2]
	if direct.GetPath() != localv1.AgentStatus_DIRECT || direct.GetEndpoint() != "192.0.2.1:5" || direct.GetRelay() != nil ||
		direct.GetWorkspaceStatus() != "running" || !direct.GetReachable() || !direct.GetTried() || direct.GetTxBytes() != 2 {
		t.Errorf("direct agent %v", direct)
	}
	if relayed.GetPath() != localv1.AgentStatus_RELAYED || relayed.GetRelay().GetName() != "R" || relayed.GetLatency() != nil {
		t.Errorf("relayed agent %v", relayed)
	}
	if idle.GetPath() != localv1.AgentStatus_PATH_UNSPECIFIED || idle.GetLastHandshake() != nil || idle.GetRelay() != nil {
		t.Errorf("idle agent %v", idle)
	}
	if empty := statusMessage(tunnel.Status{}); empty.GetAddress() != "" || empty.GetHomeRelay() != nil || empty.GetWorkspacesAsOf() != nil {
		t.Errorf("empty status %v", empty)
	}
}

func TestRealTunnelThatDoesNotRun(t *testing.T) {
	made := RealTunnels(tunnel.Config{StateDir: t.TempDir()})(Profile{URL: &url.URL{Scheme: "https", Host: "h"}}, Options{}, &fakeOS{})
	_, err := made.Ping(t.Context(), "x")
	wantCode(t, err, localapi.CodeDegraded)
	if answer := made.Query([]byte("x")); answer != nil {
		t.Errorf("Query() = %v", answer)
	}
}

func TestExplainLogin(t *testing.T) {
	access := &url.URL{Scheme: "https", Host: "h.example"}
	for name, test := range map[string]struct {
		err    error
		code   localapi.Code
		remedy string
	}{
		"refused":            {&client.Error{Status: 401, Message: "no"}, localapi.CodeNotSignedIn, "https://h.example/cli-auth"},
		"certificate":        {fmt.Errorf("x: %w", client.ErrCertificate), localapi.CodeGeneric, "certificate authority"},
		"plain HTTP":         {fmt.Errorf("get: %w", http.ErrSchemeMismatch), localapi.CodeGeneric, "give the URL as http://h.example "},
		"something else":     {fmt.Errorf("x: %w", client.ErrNotControlPlane), localapi.CodeGeneric, "check the URL"},
		"nobody answers":     {fmt.Errorf("x: %w", context.DeadlineExceeded), localapi.CodeTimeout, "firewall"},
		"rejected":           {&client.Error{Status: 500, Message: "no"}, localapi.CodeGeneric, "ask who runs"},
		"connection refused": {errors.New("dial: connection refused"), localapi.CodeGeneric, "open it in a browser"},
	} {
		t.Run(name, func(t *testing.T) {
			var got *localapi.Error
			err := explainLogin(access, test.err)
			if !errors.As(err, &got) || got.Code != test.code || !strings.Contains(got.Remedy, test.remedy) || !strings.Contains(got.Cause, "h.example") {
				t.Errorf("error %#v", err)
			}
		})
	}
}

// TestExplainPlainHTTP takes the error from the real client, which asks by TLS
// where plain HTTP answers.
func TestExplainPlainHTTP(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	access := &url.URL{Scheme: "https", Host: strings.TrimPrefix(server.URL, "http://")}
	_, err := client.New(access, "token", client.Options{}).Me(t.Context())
	var got *localapi.Error
	if !errors.As(explainLogin(access, err), &got) || !strings.Contains(got.Remedy, "give the URL as "+server.URL+" ") {
		t.Errorf("%v gave %+v", err, got)
	}
}
