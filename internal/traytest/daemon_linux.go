package traytest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// Daemon serves the local API, remembers what it is asked for and does as it is
// told to.
type Daemon struct {
	localv1.DRPCLocalUnimplementedServer
	Path string

	mu       sync.Mutex
	status   *localv1.Status
	profiles []*localv1.Profile
	refuse   error
	calls    []string
	changed  chan struct{}
	stop     func()
}

// NewDaemon serves a status on the socket.
func NewDaemon(t *testing.T, path string, status *localv1.Status) *Daemon {
	t.Helper()
	d := &Daemon{Path: path, status: status, changed: make(chan struct{})}
	d.Start(t)
	t.Cleanup(d.Stop)
	return d
}

// Start serves again after Stop.
func (d *Daemon) Start(t *testing.T) {
	t.Helper()
	listener, err := localapi.Listen(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	everybody := func(localapi.Caller, localapi.Access) error { return nil }
	go func() {
		defer close(ended)
		_ = localapi.Serve(ctx, listener, d, everybody, slog.New(slog.DiscardHandler))
	}()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop = func() {
		cancel()
		<-ended
	}
}

// Stop ends the service; the state is kept.
func (d *Daemon) Stop() {
	d.mu.Lock()
	stop := d.stop
	d.stop = nil
	d.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Change changes what is served and tells the watchers.
func (d *Daemon) Change(change func(*localv1.Status)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d.status)
	close(d.changed)
	d.changed = make(chan struct{})
}

// SetProfiles sets what ListProfiles answers.
func (d *Daemon) SetProfiles(profiles ...*localv1.Profile) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.profiles = profiles
}

// Refuse makes Up and the like fail; nil ends that.
func (d *Daemon) Refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = err
}

// Calls are those that would change something, and their arguments.
func (d *Daemon) Calls() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.calls)
}

// WantCall waits for a call and forgets it.
func (d *Daemon) WantCall(t *testing.T, want string) {
	t.Helper()
	Eventually(t, "the call "+want, func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		at := slices.Index(d.calls, want)
		if at < 0 {
			return fmt.Errorf("calls: %q", d.calls)
		}
		d.calls = slices.Delete(d.calls, at, at+1)
		return nil
	})
}

func (d *Daemon) record(call string, change func(*localv1.Status)) error {
	d.mu.Lock()
	d.calls = append(d.calls, call)
	refuse := d.refuse
	d.mu.Unlock()
	if refuse == nil {
		d.Change(change)
	}
	return refuse
}

// GetStatus and the following are the local API.
func (d *Daemon) GetStatus(context.Context, *localv1.GetStatusRequest) (*localv1.Status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return proto.CloneOf(d.status), nil
}

func (d *Daemon) WatchStatus(_ *localv1.GetStatusRequest, stream localv1.DRPCLocal_WatchStatusStream) error {
	for {
		d.mu.Lock()
		status, changed := proto.CloneOf(d.status), d.changed
		d.mu.Unlock()
		if err := stream.Send(status); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (d *Daemon) GetVersion(context.Context, *localv1.GetVersionRequest) (*localv1.GetVersionResponse, error) {
	return &localv1.GetVersionResponse{Version: "v1.2.3", Api: 1}, nil
}

func (d *Daemon) Up(_ context.Context, in *localv1.UpRequest) (*localv1.UpResponse, error) {
	return &localv1.UpResponse{}, d.record("Up "+in.GetProfile(), func(s *localv1.Status) {
		s.WantedUp, s.State, s.View = true, localv1.State_CONNECTED, localv1.View_FULL
	})
}

func (d *Daemon) Down(_ context.Context, in *localv1.DownRequest) (*localv1.DownResponse, error) {
	return &localv1.DownResponse{}, d.record("Down "+in.GetReason(), func(s *localv1.Status) {
		s.WantedUp, s.State = false, localv1.State_DOWN
	})
}

func (d *Daemon) Logout(_ context.Context, in *localv1.LogoutRequest) (*localv1.LogoutResponse, error) {
	return &localv1.LogoutResponse{}, d.record("Logout "+in.GetProfile(), func(s *localv1.Status) {
		s.WantedUp, s.State, s.Url, s.User = false, localv1.State_SIGNED_OUT, "", ""
	})
}

func (d *Daemon) ListProfiles(context.Context, *localv1.ListProfilesRequest) (*localv1.ListProfilesResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := &localv1.ListProfilesResponse{}
	for _, profile := range d.profiles {
		out.Profiles = append(out.Profiles, proto.CloneOf(profile))
	}
	return out, nil
}

func (d *Daemon) UseProfile(_ context.Context, in *localv1.UseProfileRequest) (*localv1.UseProfileResponse, error) {
	return &localv1.UseProfileResponse{}, d.record("UseProfile "+in.GetName(), func(s *localv1.Status) {
		s.Profile = in.GetName()
		for _, profile := range d.profiles {
			profile.Active = profile.GetName() == in.GetName()
		}
	})
}

// Connected is the status of a tunnel that works, with four workspaces.
func Connected() *localv1.Status {
	return &localv1.Status{
		State: localv1.State_CONNECTED, WantedUp: true, View: localv1.View_FULL, Url: "https://coder.example.com", User: "alice", Profile: "work", WorkspacePages: true,
		Suffix: "coder", ControlConnected: true, CanaryOk: true, DnsMode: "resolved", Interface: "causeway0", Address: "fd60:627a:a42b::1", Owner: "alice",
		HomeRelay: &localv1.Relay{RegionId: 1, Code: "fra", Name: "Frankfurt", Latency: durationpb.New(12 * time.Millisecond)},
		Agents: []*localv1.AgentStatus{
			Agent("api", 3*time.Millisecond, localv1.AgentStatus_DIRECT),
			Agent("gpu", 170*time.Millisecond, localv1.AgentStatus_RELAYED),
			Agent("old", 0, localv1.AgentStatus_PATH_UNSPECIFIED),
			Agent("web", 24*time.Millisecond, localv1.AgentStatus_RELAYED),
		},
	}
}

// Agent is one that answers, or, without a path, was not asked anything.
func Agent(workspace string, latency time.Duration, path localv1.AgentStatus_Path) *localv1.AgentStatus {
	out := &localv1.AgentStatus{
		Name: "main", Workspace: workspace, WorkspaceStatus: "running", Path: path,
		Names: []string{workspace + ".coder", "main." + workspace + ".me.coder"},
	}
	if path != localv1.AgentStatus_PATH_UNSPECIFIED {
		out.Reachable, out.Tried, out.Latency = true, true, durationpb.New(latency)
		out.Relay = &localv1.Relay{Name: "Frankfurt"}
	}
	return out
}
