package agent

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// toldReports is what a plane was told about a workspace.
type toldReports struct {
	mu          sync.Mutex
	stats       []*agentv2.Stats
	asked       int // empty reports
	connections []*agentv2.Connection
	metadata    map[string][]*agentv2.WorkspaceAgentMetadata_Result
	apps        []agentv2.AppHealth
	banners     []*agentv2.BannerConfig
	usage       [][]*agentv2.PushResourcesMonitoringUsageRequest_Datapoint
}

func (p *plane) UpdateStats(_ context.Context, in *agentv2.UpdateStatsRequest) (*agentv2.UpdateStatsResponse, error) {
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	if in.GetStats() == nil {
		p.told.asked++
	} else {
		p.told.stats = append(p.told.stats, in.GetStats())
	}
	return &agentv2.UpdateStatsResponse{ReportInterval: durationpb.New(time.Second)}, nil
}

func (p *plane) ReportConnection(_ context.Context, in *agentv2.ReportConnectionRequest) (*emptypb.Empty, error) {
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	p.told.connections = append(p.told.connections, in.GetConnection())
	return &emptypb.Empty{}, nil
}

func (p *plane) BatchUpdateMetadata(_ context.Context, in *agentv2.BatchUpdateMetadataRequest) (*agentv2.BatchUpdateMetadataResponse, error) {
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	if p.told.metadata == nil {
		p.told.metadata = map[string][]*agentv2.WorkspaceAgentMetadata_Result{}
	}
	for _, each := range in.GetMetadata() {
		p.told.metadata[each.GetKey()] = append(p.told.metadata[each.GetKey()], each.GetResult())
	}
	return &agentv2.BatchUpdateMetadataResponse{}, nil
}

func (p *plane) BatchUpdateAppHealths(_ context.Context, in *agentv2.BatchUpdateAppHealthRequest) (*agentv2.BatchUpdateAppHealthResponse, error) {
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	for _, each := range in.GetUpdates() {
		p.told.apps = append(p.told.apps, each.GetHealth())
	}
	return &agentv2.BatchUpdateAppHealthResponse{}, nil
}

func (p *plane) GetAnnouncementBanners(context.Context, *agentv2.GetAnnouncementBannersRequest) (*agentv2.GetAnnouncementBannersResponse, error) {
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	return &agentv2.GetAnnouncementBannersResponse{AnnouncementBanners: p.told.banners}, nil
}

func (p *plane) GetResourcesMonitoringConfiguration(context.Context, *agentv2.GetResourcesMonitoringConfigurationRequest) (*agentv2.GetResourcesMonitoringConfigurationResponse, error) {
	return &agentv2.GetResourcesMonitoringConfigurationResponse{
		Config:  &agentv2.GetResourcesMonitoringConfigurationResponse_Config{NumDatapoints: 2, CollectionIntervalSeconds: 1},
		Memory:  &agentv2.GetResourcesMonitoringConfigurationResponse_Memory{Enabled: true},
		Volumes: []*agentv2.GetResourcesMonitoringConfigurationResponse_Volume{{Enabled: true, Path: "/"}, {Enabled: true, Path: "/causeway/absent"}},
	}, nil
}

func (p *plane) PushResourcesMonitoringUsage(_ context.Context, in *agentv2.PushResourcesMonitoringUsageRequest) (*agentv2.PushResourcesMonitoringUsageResponse, error) {
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	p.told.usage = append(p.told.usage, in.GetDatapoints())
	return &agentv2.PushResourcesMonitoringUsageResponse{}, nil
}

// toldThat polls what the plane was told.
func (p *plane) toldThat(t *testing.T, what string, holds func(*toldReports) bool) {
	t.Helper()
	eventually(t, what, func() bool {
		p.told.mu.Lock()
		defer p.told.mu.Unlock()
		return holds(&p.told)
	})
}

// TestReportsOfAWorkspaceInUse moves real bytes through the real network and
// wants to see them counted, with the latency of the one who moved them.
func TestReportsOfAWorkspaceInUse(t *testing.T) {
	p := newPlane(t)
	app := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(app.Close)
	appID := uuid.New()
	p.manifest.Apps = []*agentv2.WorkspaceApp{{
		Id: appID[:], Healthcheck: &agentv2.WorkspaceApp_Healthcheck{Url: app.URL, Interval: durationpb.New(time.Second)},
	}}
	p.manifest.Metadata = []*agentv2.WorkspaceAgentMetadata_Description{
		{Key: "each", Script: "echo $FROM_MANIFEST; pwd", Interval: durationpb.New(time.Second)}, {Key: "once", Script: "exit 3"},
	}
	p.told.banners = []*agentv2.BannerConfig{{Enabled: true, Message: "an announcement"}}
	p.startAgent("").wait()
	var idle *agentv2.Stats
	p.toldThat(t, "a report of nobody's use", func(told *toldReports) bool {
		if len(told.stats) > 0 {
			idle = told.stats[0]
		}
		return idle != nil && told.asked == 1
	})
	if idle.GetConnectionMedianLatencyMs() != -1 || idle.GetConnectionCount() != 0 || idle.GetRxBytes() != 0 {
		t.Errorf("reported %v of nobody's use", idle)
	}

	u := p.newUser()
	addr := proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))[1]
	payload := make([]byte, 4<<20)
	if got := exchange(t, u.dial(addr, echoTCP(t, "127.0.0.1:0")), payload); !bytes.Equal(got, payload) {
		t.Errorf("got %d bytes of %d", len(got), len(payload))
	}
	client, _ := sshTo(t, u.dial(addr, 22))
	session := newSession(t, client)
	stdin, err := session.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Start("cat"); err != nil {
		t.Fatal(err)
	}
	p.toldThat(t, "the session among the stats, with a latency", func(told *toldReports) bool {
		last := told.stats[len(told.stats)-1]
		return last.GetSessionCountSsh() == 1 && last.GetConnectionMedianLatencyMs() > 0 && last.GetConnectionMedianLatencyMs() < 5000
	})
	p.checkTraffic(t, int64(len(payload)))

	var failed *ssh.ExitError
	if err := newSession(t, client).Run("exit 7"); !errors.As(err, &failed) || failed.ExitStatus() != 7 {
		t.Errorf("got %v", err)
	}
	p.checkBanner(t, newSession(t, client))
	stdin.Close()
	if err := session.Wait(); err != nil {
		t.Error(err)
	}
	p.checkConnections(t, []int32{7, 0, 0})
	p.toldThat(t, "no session", func(told *toldReports) bool { return told.stats[len(told.stats)-1].GetSessionCountSsh() == 0 })

	p.toldThat(t, "the app's health", func(told *toldReports) bool {
		return slices.Equal(told.apps, []agentv2.AppHealth{agentv2.AppHealth_INITIALIZING, agentv2.AppHealth_HEALTHY})
	})
	p.toldThat(t, "usage of memory and one volume", func(told *toldReports) bool {
		if len(told.usage) == 0 {
			return false
		}
		last := told.usage[len(told.usage)-1]
		volumes := last[1].GetVolumes()
		return len(last) == 2 && last[1].GetMemory().GetUsed() > 0 && len(volumes) == 1 && volumes[0].GetVolume() == "/" && volumes[0].GetUsed() > 0
	})
	var each, once []*agentv2.WorkspaceAgentMetadata_Result
	p.toldThat(t, "metadata", func(told *toldReports) bool {
		each, once = told.metadata["each"], told.metadata["once"]
		return len(each) > 1 && len(once) == 1
	})
	want := "home is " + os.Getenv("HOME") + "\n" + p.manifest.GetDirectory()
	if got := each[0]; got.GetValue() != want || got.GetError() != "" {
		t.Errorf("metadata is %v, want %q", got, want)
	}
	if got := once[0]; got.GetValue() != "" || got.GetError() != "run script: exit status 3" {
		t.Errorf("metadata is %v", got)
	}
}

func newSession(t *testing.T, client *ssh.Client) *ssh.Session {
	t.Helper()
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// checkTraffic wants what was echoed, and not twice of it, in what was told since
// the start.
func (p *plane) checkTraffic(t *testing.T, size int64) {
	t.Helper()
	var rx, tx, flows int64
	p.toldThat(t, "the traffic", func(told *toldReports) bool {
		rx, tx, flows = 0, 0, 0
		for _, each := range told.stats {
			rx, tx, flows = rx+each.GetRxBytes(), tx+each.GetTxBytes(), flows+each.GetConnectionsByProto()["TCP"]
			// ICMP may be among them: an end asks for its neighbours, or pings.
			var all int64
			for _, count := range each.GetConnectionsByProto() {
				all += count
			}
			if each.GetConnectionCount() != all || each.GetRxPackets() > each.GetRxBytes() {
				t.Errorf("told %v", each)
			}
		}
		return rx >= size && tx >= size && flows >= 2
	})
	// On a loaded machine packets get lost and are sent again, which counts. What
	// was counted twice would be twice as much.
	if rx >= 2*size || tx >= 2*size {
		t.Errorf("told %d bytes received and %d sent for %d that were echoed", rx, tx, size)
	}
}

// checkConnections wants one begin and one end of each session, from the
// user's address, with the codes in the order of the ends.
func (p *plane) checkConnections(t *testing.T, codes []int32) {
	t.Helper()
	p.toldThat(t, "the ends of the sessions", func(told *toldReports) bool {
		var ended []int32
		began := map[string]bool{}
		for _, each := range told.connections {
			if each.GetType() != agentv2.Connection_SSH || !strings.HasPrefix(each.GetIp(), "fd60:627a:a42b:") {
				t.Fatalf("told %v", each)
			}
			if id := string(each.GetId()); each.GetAction() == agentv2.Connection_CONNECT {
				began[id] = true
			} else if !began[id] {
				t.Fatalf("%v has not begun", each)
			} else {
				ended = append(ended, each.GetStatusCode())
			}
		}
		return len(began) == len(codes) && slices.Equal(ended, codes)
	})
}

// checkBanner wants the deployment's announcement before a login shell.
func (p *plane) checkBanner(t *testing.T, session *ssh.Session) {
	t.Helper()
	if err := session.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	session.Stdin, session.Stdout = strings.NewReader("exit\n"), &output
	if err := session.Shell(); err != nil {
		t.Fatal(err)
	}
	if err := session.Wait(); err != nil || !strings.Contains(output.String(), "an announcement") {
		t.Errorf("got %v, %q", err, output.String())
	}
}
