package service

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/tunnel"
)

// RealTunnels makes tunnels of the package tunnel. Of the settings, the profile,
// the options and the OS are filled in for each; StateDir is the daemon's, and the tunnel
// gets a directory in it. An *Error of OpenDevice becomes the status's problem.
func RealTunnels(settings tunnel.Config) NewTunnel {
	settings.StateDir = filepath.Join(settings.StateDir, "tunnel")
	return func(profile Profile, options Options, host netcfg.OS) Tunnel {
		config := settings
		config.OS, config.Profile = host, profile.tunnelProfile()
		config.Telemetry, config.DNSForwarder = options.Telemetry, options.DNSForwarder
		return &realTunnel{tunnel.New(config)}
	}
}

// parseID gives the zero id for one that is not a UUID; the tunnel then asks
// the deployment.
func parseID(text string) uuid.UUID {
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil
	}
	return id
}

// realTunnel puts a tunnel into the words of the local API.
type realTunnel struct{ *tunnel.Tunnel }

// Ping reaches an agent.
func (t *realTunnel) Ping(ctx context.Context, name string) (*localv1.PingReply, error) {
	reply, err := t.Tunnel.Ping(ctx, name)
	switch {
	case errors.Is(err, tunnel.ErrUnknownName):
		return nil, &localapi.Error{Code: localapi.CodeNotFound, Cause: err.Error(), Remedy: "see: causeway list"}
	case errors.Is(err, tunnel.ErrNotRunning):
		return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: err.Error(), Remedy: "see: causeway status"}
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &localapi.Error{Code: localapi.CodeTimeout, Cause: "ping " + name + ": no answer", Remedy: "see: causeway status"}
	case err != nil:
		return nil, err
	}
	out := &localv1.PingReply{
		Name: reply.Name, Address: reply.Addr.String(), Latency: durationpb.New(reply.Latency),
		Path: localv1.AgentStatus_RELAYED, Relay: relayMessage(reply.Relay),
	}
	if reply.Direct {
		out.Path, out.Endpoint = localv1.AgentStatus_DIRECT, reply.Endpoint.String()
	}
	return out, nil
}

// Status maps the tunnel's own status.
func (t *realTunnel) Status() *localv1.Status { return statusMessage(t.Tunnel.Status()) }

// Brief maps the tunnel's own.
func (t *realTunnel) Brief() *localv1.Status { return statusMessage(t.Tunnel.Brief()) }

func statusMessage(in tunnel.Status) *localv1.Status {
	out := &localv1.Status{
		State: stateMessage(in.State), Suffix: in.Suffix, ControlConnected: in.ControlConnected,
		WorkspacesAsOf: timeMessage(in.WorkspacesAsOf), Interface: in.Interface, HomeRelay: relayMessage(in.HomeRelay),
		CanaryOk: in.CanaryOK, DnsMode: in.DNSMode,
	}
	if in.Outage != nil {
		out.ControlSince, out.ControlAttempts = timeMessage(in.Outage.Since), uint32(in.Outage.Attempts)
		out.ControlNextRetry = timeMessage(in.Outage.NextRetry)
	}
	if in.Address.IsValid() {
		out.Address = in.Address.String()
	}
	for _, problem := range in.Problems {
		out.Problems = append(out.Problems, &localv1.Problem{Code: problem.Code, Cause: problem.Cause, Remedy: problem.Remedy})
	}
	for _, agent := range in.Agents {
		out.Agents = append(out.Agents, agentMessage(agent))
	}
	return out
}

func stateMessage(in tunnel.State) localv1.State {
	switch in {
	case tunnel.Stopped, tunnel.Starting:
		return localv1.State_STARTING
	case tunnel.Connected:
		return localv1.State_CONNECTED
	case tunnel.Degraded:
		return localv1.State_DEGRADED
	case tunnel.Failed:
		return localv1.State_FAILED
	case tunnel.Stopping:
		return localv1.State_DOWN
	}
	return localv1.State_STATE_UNSPECIFIED
}

func agentMessage(in tunnel.AgentStatus) *localv1.AgentStatus {
	out := &localv1.AgentStatus{
		Id: in.ID[:], Name: in.Name, Workspace: in.Workspace.Name, WorkspaceStatus: workspaceWord(in.Workspace.Status.String()),
		Names: in.Names, Reachable: in.Reachable, Tried: in.Tried, Offline: in.Offline, OfflineSince: timeMessage(in.OfflineSince), LastHandshake: timeMessage(in.LastHandshake),
		LastAnswer: timeMessage(in.LastAnswer), MeasuredAt: timeMessage(in.MeasuredAt),
		RxBytes: in.RxBytes, TxBytes: in.TxBytes,
	}
	for _, address := range in.Addresses {
		out.Addresses = append(out.Addresses, address.String())
	}
	if in.Latency > 0 {
		out.Latency = durationpb.New(in.Latency)
	}
	switch {
	case !in.Measured:
	case in.Direct:
		out.Path = localv1.AgentStatus_DIRECT
		if in.Endpoint.IsValid() {
			out.Endpoint = in.Endpoint.String()
		}
	default:
		out.Path, out.Relay = localv1.AgentStatus_RELAYED, relayMessage(in.Relay)
	}
	return out
}

func relayMessage(in *tunnel.Relay) *localv1.Relay {
	if in == nil {
		return nil
	}
	out := &localv1.Relay{RegionId: int32(in.RegionID), Code: in.Code, Name: in.Name}
	if in.Latency > 0 {
		out.Latency = durationpb.New(in.Latency)
	}
	return out
}

func timeMessage(in time.Time) *timestamppb.Timestamp {
	if in.IsZero() {
		return nil
	}
	return timestamppb.New(in)
}

// workspaceWord is the wire's name of a workspace's status as people write it.
func workspaceWord(status string) string { return strings.ToLower(status) }
