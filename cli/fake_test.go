package cli

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// fakeDaemon is a handler that remembers what it was told.
type fakeDaemon struct {
	localv1.DRPCLocalUnimplementedServer
	mu     sync.Mutex
	status *localv1.Status
	pings  int
	// repairs and flushes count what was asked for, and changed wakes the watches.
	repairs, flushes int
	changed          chan struct{}
	levels           []string          // that were set
	settings         map[string]string // that were set
}

func fakeStatus(name string) *localv1.Status {
	status := &localv1.Status{Version: "v1.2.3"}
	if name == "signed-out" || name == "nobodys" { // to an operator, and to somebody who is none
		status.State, status.View = localv1.State_SIGNED_OUT, localv1.View_FULL
		if name == "nobodys" {
			status.View = localv1.View_SUMMARY
		}
		return status
	}
	if name == "summary" { // of bob's tunnel, for somebody else
		status.State, status.WantedUp, status.View = localv1.State_CONNECTED, true, localv1.View_SUMMARY
		status.OwnerUid, status.Owner = proto.Uint32(1001), "bob"
		return status
	}
	status.Url, status.User, status.OwnerUid, status.WorkspacePages = "https://coder.example.com", "alice", proto.Uint32(1000), name != "server"
	if name == "down" || name == "left" {
		status.State = localv1.State_DOWN
		if name == "left" { // on the machine, by a daemon that crashed
			status.Profile = name
		}
		return status
	}
	status.WantedUp = true
	if name == "waiting" {
		status.State, status.WaitsForLogin, status.Owner, status.Profile = localv1.State_DOWN, true, "alice", "work"
		status.TokenExpiresAt = timestamppb.New(time.Now().Add(9*24*time.Hour + time.Minute))
		return status
	}
	if name == "failed" {
		status.State = localv1.State_FAILED
		status.Problems = []*localv1.Problem{{Code: "tun-failed", Cause: "open TUN device causeway0: the name is taken", Remedy: "choose another with --interface"}}
		return status
	}
	status.State, status.ControlConnected, status.CanaryOk = localv1.State_CONNECTED, true, true
	status.Suffix, status.DnsMode, status.Interface, status.Address = "coder", "resolved", "causeway0", "fd60:627a:a42b::1"
	status.HomeRelay = &localv1.Relay{RegionId: 999, Code: "home", Name: "Home", Latency: durationpb.New(12340 * time.Microsecond)}
	status.WorkspacesAsOf = timestamppb.New(time.Unix(1700000000, 0))
	status.Agents = []*localv1.AgentStatus{
		agent("main", "web", localv1.AgentStatus_RELAYED),
		agent("main", "myws", localv1.AgentStatus_DIRECT),
		agent("gpu", "web", localv1.AgentStatus_PATH_UNSPECIFIED),
	}
	if name == "stopped" { // one of the workspaces
		status.Agents[1].WorkspaceStatus = "stopped"
	}
	if name == "agent-offline" { // one agent was stopped after it was used
		gone := status.Agents[1]
		gone.Reachable, gone.Tried, gone.Offline, gone.Path, gone.Endpoint = false, true, true, localv1.AgentStatus_PATH_UNSPECIFIED, ""
		gone.OfflineSince, gone.LastAnswer = timestamppb.New(time.Now().Add(-12*time.Second)), timestamppb.New(time.Now().Add(-20*time.Second))
		status.Agents[2].Offline = true
	}
	if name == "token-expired" { // while the control connection stands
		status.State = localv1.State_DEGRADED
		status.Problems = []*localv1.Problem{{Code: "token-expired", Cause: "you were signed in to https://coder.example.com until now", Remedy: "sign in again: causeway login https://coder.example.com"}}
	}
	if name == "revoked" {
		status.State, status.ControlConnected = localv1.State_DEGRADED, false
		status.Problems = []*localv1.Problem{{Code: "signed-out", Cause: "dial https://coder.example.com: HTTP 401: Unauthorized", Remedy: "sign in again: causeway login"}}
	}
	if name == "degraded" {
		status.State, status.ControlConnected = localv1.State_DEGRADED, false
		status.Problems = []*localv1.Problem{{Code: "control-unreachable", Cause: "dial https://coder.example.com: connection refused", Remedy: "check the network"}}
		status.ControlSince, status.ControlAttempts = timestamppb.New(time.Now().Add(-90*time.Minute)), 7
		status.Agents[0].Tried = true
		status.Agents[0].Reachable, status.Agents[0].LastAnswer = false, timestamppb.New(time.Now().Add(-10*time.Minute))
		status.Agents[0].MeasuredAt = status.Agents[0].LastAnswer
	}
	return status
}

func agent(name, workspace string, path localv1.AgentStatus_Path) *localv1.AgentStatus {
	out := &localv1.AgentStatus{
		Id: make([]byte, 16), Name: name, Workspace: workspace, WorkspaceStatus: "running",
		Names: []string{name + "." + workspace + ".me.coder", name + "." + workspace + ".alice.coder"}, Addresses: []string{agentAddress.String()}, Path: path,
	}
	switch path {
	case localv1.AgentStatus_DIRECT:
		out.Names = append([]string{workspace + ".coder"}, out.Names...)
		out.Reachable, out.Endpoint, out.Latency = true, "192.0.2.7:41641", durationpb.New(3210*time.Microsecond)
		out.LastHandshake = timestamppb.New(time.Now().Add(-10 * time.Second))
	case localv1.AgentStatus_RELAYED:
		out.Reachable, out.Latency = true, durationpb.New(45*time.Millisecond)
		out.Relay = &localv1.Relay{RegionId: 999, Code: "home", Name: "Home"}
		out.LastHandshake = timestamppb.New(time.Now().Add(-3 * time.Hour))
	case localv1.AgentStatus_PATH_UNSPECIFIED:
	}
	return out
}

func (f *fakeDaemon) get() *localv1.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return proto.CloneOf(f.status)
}

func (f *fakeDaemon) set(status *localv1.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

func (f *fakeDaemon) GetStatus(context.Context, *localv1.GetStatusRequest) (*localv1.Status, error) {
	return f.get(), nil
}

func (f *fakeDaemon) WatchStatus(_ *localv1.GetStatusRequest, stream localv1.DRPCLocal_WatchStatusStream) error {
	for {
		f.mu.Lock()
		if f.changed == nil {
			f.changed = make(chan struct{})
		}
		changed := f.changed
		f.mu.Unlock()
		if err := stream.Send(f.get()); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-changed:
		}
	}
}

func (f *fakeDaemon) Login(_ context.Context, in *localv1.LoginRequest) (*localv1.LoginResponse, error) {
	if in.GetToken() != "good" {
		return nil, &localapi.Error{Code: localapi.CodeNotSignedIn, Cause: "sign in to " + in.GetUrl() + ": the deployment refuses the token", Remedy: "get a new token"}
	}
	switch status := f.get(); {
	case !status.GetWantedUp():
		f.set(fakeStatus("down"))
	case status.GetState() == localv1.State_FAILED:
		status.State, status.Problems = localv1.State_STARTING, nil
		f.set(status)
	}
	return &localv1.LoginResponse{User: "alice"}, nil
}

func (f *fakeDaemon) Logout(context.Context, *localv1.LogoutRequest) (*localv1.LogoutResponse, error) {
	status := fakeStatus("signed-out")
	status.OwnerUid = proto.Uint32(1000) // stays
	f.set(status)
	return &localv1.LogoutResponse{}, nil
}

func (f *fakeDaemon) Up(context.Context, *localv1.UpRequest) (*localv1.UpResponse, error) {
	if f.get().GetState() == localv1.State_DOWN {
		f.set(fakeStatus("connected"))
	}
	return &localv1.UpResponse{}, nil
}

func (f *fakeDaemon) Down(context.Context, *localv1.DownRequest) (*localv1.DownResponse, error) {
	f.set(fakeStatus("down"))
	return &localv1.DownResponse{}, nil
}

// Ping answers by the relay first and directly from the third time on.
func (f *fakeDaemon) Ping(ctx context.Context, in *localv1.PingRequest) (*localv1.PingReply, error) {
	name := in.GetName()
	if f.get().GetState() == localv1.State_DEGRADED && strings.HasPrefix(name, "main.web") { // as its status says
		name = "silent"
	}
	for _, agent := range f.get().GetAgents() {
		if agent.GetOffline() && agentName(agent) == name {
			return nil, errors.New("ping " + name + ": agent is not online")
		}
	}
	switch name {
	case "silent":
		<-ctx.Done()
		return nil, ctx.Err()
	case "nobody":
		return nil, &localapi.Error{Code: localapi.CodeNotFound, Cause: "ping nobody: no such agent", Remedy: "see: causeway list"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pings++
	reply := &localv1.PingReply{Name: in.GetName() + ".coder", Address: agentAddress.String(), Latency: durationpb.New(20 * time.Millisecond)}
	if f.pings >= 3 && in.GetName() != "relayed" {
		reply.Path, reply.Endpoint = localv1.AgentStatus_DIRECT, "192.0.2.7:41641"
	} else {
		reply.Path, reply.Relay = localv1.AgentStatus_RELAYED, &localv1.Relay{RegionId: 999, Name: "Home"}
	}
	return reply, nil
}

// QueryDNS knows myws.coder.
func (f *fakeDaemon) QueryDNS(_ context.Context, in *localv1.QueryDNSRequest) (*localv1.QueryDNSResponse, error) {
	var message dnsmessage.Message
	if err := message.Unpack(in.GetMessage()); err != nil {
		return nil, err
	}
	message.Response = true
	question := message.Questions[0]
	switch {
	case !strings.HasSuffix(question.Name.String(), "myws.coder."):
		message.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeAAAA:
		message.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 2},
			Body:   &dnsmessage.AAAAResource{AAAA: agentAddress.As16()},
		}}
	}
	data, err := message.Pack()
	return &localv1.QueryDNSResponse{Message: data}, err
}

func (f *fakeDaemon) RepairNames(_ context.Context, in *localv1.RepairNamesRequest) (*localv1.RepairNamesResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.repairs, f.flushes = f.repairs+1, f.flushes+map[bool]int{true: 1}[in.GetFlushOnly()]
	if f.status.GetCanaryOk() {
		return &localv1.RepairNamesResponse{CanaryOk: true}, nil
	}
	return &localv1.RepairNamesResponse{Cause: "look up sentinel.coder: no answer"}, nil
}

func (f *fakeDaemon) GetVersion(context.Context, *localv1.GetVersionRequest) (*localv1.GetVersionResponse, error) {
	return &localv1.GetVersionResponse{Version: "v1.2.2", Api: 1}, nil
}

func (f *fakeDaemon) Examine(_ context.Context, in *localv1.ExamineRequest) (*localv1.ExamineResponse, error) {
	out := &localv1.ExamineResponse{Status: f.get(), RelayAsked: true}
	if in.GetNetwork() {
		out.Network = fakeNetwork()
	}
	return out, nil
}

func fakeNetwork() *localv1.NetworkReport {
	return &localv1.NetworkReport{
		At: timestamppb.New(time.Unix(1700000000, 0)), Udp: true, Ipv4: true, PublicIpv4: "198.51.100.7:1024",
		MappingVaries: proto.Bool(false), CaptivePortal: proto.Bool(false), Endpoints: []string{"198.51.100.7:1024", "192.168.1.5:41641"},
		Relays: []*localv1.Relay{{RegionId: 999, Code: "home", Name: "Home", Latency: durationpb.New(12340 * time.Microsecond)}, {RegionId: 1, Code: "far", Name: "Far"}},
	}
}

func (f *fakeDaemon) ListProfiles(context.Context, *localv1.ListProfilesRequest) (*localv1.ListProfilesResponse, error) {
	return &localv1.ListProfilesResponse{}, nil
}
