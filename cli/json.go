package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/localv1"
)

// jsonVersion is in every JSON output. It grows when a field is removed or
// changes its meaning; new fields do not change it.
const jsonVersion = 1

// writeJSON writes one line, so that a watch is a line for each change.
func writeJSON(w io.Writer, value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode JSON: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

type statusJSON struct {
	Version          int           `json:"version"`
	State            string        `json:"state"`
	Problems         []problemJSON `json:"problems"`
	URL              string        `json:"url"`
	User             string        `json:"user"`
	OwnerUID         *uint32       `json:"owner_uid"`
	WantedUp         bool          `json:"wanted_up"`
	ControlConnected bool          `json:"control_connected"`
	Outage           *outageJSON   `json:"control_outage"`
	WorkspacesAsOf   *time.Time    `json:"workspaces_as_of"`
	FromCache        bool          `json:"from_cache"`
	CacheAge         *int64        `json:"cache_age_seconds"`
	Suffix           string        `json:"suffix"`
	NamesAnswer      bool          `json:"names_answer"`
	DNSMode          string        `json:"dns_mode"`
	Interface        string        `json:"interface"`
	Address          string        `json:"address"`
	HomeRelay        *relayJSON    `json:"home_relay"`
	Agents           []agentJSON   `json:"agents"`
	DaemonVersion    string        `json:"daemon_version"`
	Profile          string        `json:"profile"`
	Owner            string        `json:"owner"`
	View             string        `json:"view"`
	TokenExpiresAt   *time.Time    `json:"token_expires_at"`
	WaitsForLogin    bool          `json:"waits_for_login"`
}

type outageJSON struct {
	Since     *time.Time `json:"since"`
	Attempts  uint32     `json:"attempts"`
	NextRetry *time.Time `json:"next_retry"`
}

type problemJSON struct {
	Code   string `json:"code"`
	Cause  string `json:"cause"`
	Remedy string `json:"remedy"`
}

type relayJSON struct {
	RegionID  int32    `json:"region_id"`
	Code      string   `json:"code"`
	Name      string   `json:"name"`
	LatencyMS *float64 `json:"latency_ms"`
}

type agentJSON struct {
	ID              string     `json:"id"`
	Name            string     `json:"name"`
	Workspace       string     `json:"workspace"`
	WorkspaceStatus string     `json:"workspace_status"`
	Names           []string   `json:"names"`
	Addresses       []string   `json:"addresses"`
	Reachable       bool       `json:"reachable"`
	Offline         bool       `json:"offline"`
	OfflineSince    *time.Time `json:"offline_since"`
	Path            string     `json:"path"`
	Endpoint        string     `json:"endpoint"`
	Relay           *relayJSON `json:"relay"`
	LatencyMS       *float64   `json:"latency_ms"`
	MeasuredAt      *time.Time `json:"measured_at"`
	LastAnswer      *time.Time `json:"last_answer"`
	LastHandshake   *time.Time `json:"last_handshake"`
	RxBytes         uint64     `json:"rx_bytes"`
	TxBytes         uint64     `json:"tx_bytes"`
}

func statusOf(status *localv1.Status, now time.Time) statusJSON {
	out := statusJSON{
		Version: jsonVersion, State: stateWord(status.GetState()), Problems: []problemJSON{},
		URL: status.GetUrl(), User: status.GetUser(), OwnerUID: status.OwnerUid, WantedUp: status.GetWantedUp(),
		ControlConnected: status.GetControlConnected(), Suffix: status.GetSuffix(), NamesAnswer: status.GetCanaryOk(),
		DNSMode: status.GetDnsMode(), Interface: status.GetInterface(), Address: status.GetAddress(),
		HomeRelay: relayOf(status.GetHomeRelay()), Agents: agentsOf(status), DaemonVersion: status.GetVersion(),
		Profile: status.GetProfile(), Owner: status.GetOwner(), View: viewWord(status.GetView()),
		TokenExpiresAt: timeOf(status.GetTokenExpiresAt()), WaitsForLogin: status.GetWaitsForLogin(),
	}
	out.WorkspacesAsOf = timeOf(status.GetWorkspacesAsOf())
	if status.GetControlSince() != nil {
		out.Outage = &outageJSON{timeOf(status.GetControlSince()), status.GetControlAttempts(), timeOf(status.GetControlNextRetry())}
	}
	if out.FromCache = fromCache(status); out.FromCache {
		age := int64(max(now.Sub(*out.WorkspacesAsOf), 0).Seconds())
		out.CacheAge = &age
	}
	for _, p := range status.GetProblems() {
		out.Problems = append(out.Problems, problemJSON{p.GetCode(), p.GetCause(), p.GetRemedy()})
	}
	return out
}

func agentsOf(status *localv1.Status) []agentJSON {
	agents := []agentJSON{}
	for _, agent := range sorted(status.GetAgents()) {
		out := agentJSON{
			Name: agent.GetName(), Workspace: agent.GetWorkspace(), WorkspaceStatus: agent.GetWorkspaceStatus(),
			Names: append([]string{}, agent.GetNames()...), Addresses: append([]string{}, agent.GetAddresses()...),
			Reachable: agent.GetReachable(), Offline: agent.GetOffline(), OfflineSince: timeOf(agent.GetOfflineSince()), Path: pathWord(agent.GetPath()), Endpoint: agent.GetEndpoint(),
			Relay: relayOf(agent.GetRelay()), LatencyMS: milliseconds(agent.GetLatency()),
			MeasuredAt: timeOf(agent.GetMeasuredAt()), LastAnswer: timeOf(agent.GetLastAnswer()), LastHandshake: timeOf(agent.GetLastHandshake()),
			RxBytes: agent.GetRxBytes(), TxBytes: agent.GetTxBytes(),
		}
		if id, err := uuid.FromBytes(agent.GetId()); err == nil {
			out.ID = id.String()
		}
		agents = append(agents, out)
	}
	return agents
}

func relayOf(relay *localv1.Relay) *relayJSON {
	if relay == nil {
		return nil
	}
	return &relayJSON{relay.GetRegionId(), relay.GetCode(), relay.GetName(), milliseconds(relay.GetLatency())}
}

// viewWord is how much of the status the caller got; a daemon that does not say
// tells all.
func viewWord(view localv1.View) string {
	if view == localv1.View_SUMMARY {
		return "summary"
	}
	return "full"
}

// timeOf is nil for what never was.
func timeOf(at *timestamppb.Timestamp) *time.Time {
	if at == nil {
		return nil
	}
	then := at.AsTime()
	return &then
}

// milliseconds is nil for what was not measured.
func milliseconds(d *durationpb.Duration) *float64 {
	if d == nil {
		return nil
	}
	ms := float64(d.AsDuration().Microseconds()) / 1000
	return &ms
}
