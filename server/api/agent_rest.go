package api

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

// agentDetail is an agent with what it has said about itself.
type agentDetail struct {
	agentBody
	LifecycleState    string          `json:"lifecycle_state"`
	StartedAt         *time.Time      `json:"started_at"`
	ReadyAt           *time.Time      `json:"ready_at"`
	Version           string          `json:"version"`
	Directory         string          `json:"directory"`
	ExpandedDirectory string          `json:"expanded_directory"`
	Subsystems        []string        `json:"subsystems"`
	LogsLength        int64           `json:"logs_length"`
	LogsLines         int64           `json:"logs_lines"`
	LogsOverflowed    bool            `json:"logs_overflowed"`
	Apps              []appBody       `json:"apps"`
	Scripts           []scriptBody    `json:"scripts"`
	LogSources        []logSourceBody `json:"log_sources"`
}

type appBody struct {
	ID           uuid.UUID        `json:"id"`
	Slug         string           `json:"slug"`
	DisplayName  string           `json:"display_name"`
	URL          string           `json:"url,omitempty"`
	Command      string           `json:"command,omitempty"`
	Icon         string           `json:"icon,omitempty"`
	External     bool             `json:"external"`
	Subdomain    bool             `json:"subdomain"`
	SharingLevel string           `json:"sharing_level"`
	Hidden       bool             `json:"hidden"`
	Healthcheck  *healthcheckBody `json:"healthcheck,omitempty"`
	Health       string           `json:"health"`
}

// healthcheckBody has its interval in seconds.
type healthcheckBody struct {
	URL       string `json:"url"`
	Interval  int64  `json:"interval"`
	Threshold int32  `json:"threshold"`
}

// scriptBody has its timeout in seconds.
type scriptBody struct {
	ID               uuid.UUID   `json:"id"`
	DisplayName      string      `json:"display_name"`
	LogSourceID      uuid.UUID   `json:"log_source_id"`
	LogPath          string      `json:"log_path"`
	Cron             string      `json:"cron"`
	RunOnStart       bool        `json:"run_on_start"`
	RunOnStop        bool        `json:"run_on_stop"`
	StartBlocksLogin bool        `json:"start_blocks_login"`
	Timeout          int64       `json:"timeout"`
	Last             *timingBody `json:"last"`
}

type logSourceBody struct {
	ID               uuid.UUID `json:"id"`
	WorkspaceAgentID uuid.UUID `json:"workspace_agent_id"`
	DisplayName      string    `json:"display_name"`
}

type timingBody struct {
	ScriptID    uuid.UUID `json:"script_id"`
	DisplayName string    `json:"display_name"`
	Stage       string    `json:"stage"`
	StartedAt   time.Time `json:"started_at"`
	EndedAt     time.Time `json:"ended_at"`
	ExitCode    int32     `json:"exit_code"`
	Status      string    `json:"status"`
}

func optionalTime(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

func (s *Server) getAgent(r *http.Request) (int, any, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	body, err := s.describeAgentWhole(r.Context(), agent)
	return http.StatusOK, body, err
}

func (s *Server) describeAgentWhole(ctx context.Context, agent store.Agent) (agentDetail, error) {
	report, err := s.config.Store.AgentReport(ctx, agent.ID)
	if err != nil {
		return agentDetail{}, err
	}
	timings, err := s.config.Store.Timings(ctx, agent.ID)
	if err != nil {
		return agentDetail{}, err
	}
	known, err := s.known(ctx, agent)
	if err != nil {
		return agentDetail{}, err
	}
	state := s.reports.acquire(ctx, agent.ID)
	defer s.reports.release(state)
	state.mu.Lock()
	health := maps.Clone(state.health)
	state.mu.Unlock()
	body := agentDetail{
		agentBody: s.describeAgent(agent), LifecycleState: report.Lifecycle.String(),
		StartedAt: optionalTime(report.StartedAt), ReadyAt: optionalTime(report.ReadyAt),
		Version: report.Version, Directory: known.manifest.GetDirectory(), ExpandedDirectory: report.Directory, Subsystems: append([]string{}, report.Subsystems...),
		LogsLength: report.LogsLength, LogsLines: report.LogsLines, LogsOverflowed: report.LogsOverflowed,
		Apps: describeApps(known, health), Scripts: describeScripts(known, timings), LogSources: []logSourceBody{},
	}
	for _, script := range body.Scripts {
		body.LogSources = append(body.LogSources, logSourceBody{script.LogSourceID, agent.ID, script.DisplayName})
	}
	return body, nil
}

func describeApps(known *known, health map[string]string) []appBody {
	bodies := []appBody{}
	for _, app := range known.manifest.GetApps() {
		body := appBody{
			Slug: app.GetSlug(), DisplayName: app.GetDisplayName(), URL: app.GetUrl(), Command: app.GetCommand(), Icon: app.GetIcon(), External: app.GetExternal(),
			Subdomain: app.GetSubdomain(), SharingLevel: strings.ToLower(app.GetSharingLevel().String()), Hidden: app.GetHidden(), Health: "disabled",
		}
		copy(body.ID[:], app.GetId())
		if check := app.GetHealthcheck(); check.GetUrl() != "" {
			body.Healthcheck = &healthcheckBody{check.GetUrl(), int64(check.GetInterval().AsDuration() / time.Second), check.GetThreshold()}
			body.Health = cmp.Or(health[body.ID.String()], "initializing")
		}
		bodies = append(bodies, body)
	}
	return bodies
}

func describeScripts(known *known, timings []store.ScriptTiming) []scriptBody {
	last := map[uuid.UUID]store.ScriptTiming{}
	for _, timing := range timings { // oldest first
		last[timing.Script] = timing
	}
	bodies := []scriptBody{}
	for _, script := range known.manifest.GetScripts() {
		body := scriptBody{
			DisplayName: script.GetDisplayName(), LogPath: script.GetLogPath(), Cron: script.GetCron(), RunOnStart: script.GetRunOnStart(),
			RunOnStop: script.GetRunOnStop(), StartBlocksLogin: script.GetStartBlocksLogin(), Timeout: int64(script.GetTimeout().AsDuration() / time.Second),
		}
		copy(body.ID[:], script.GetId())
		copy(body.LogSourceID[:], script.GetLogSourceId())
		if timing, found := last[body.ID]; found {
			described := describeTiming(known, timing)
			body.Last = &described
		}
		bodies = append(bodies, body)
	}
	return bodies
}

func describeTiming(known *known, timing store.ScriptTiming) timingBody {
	return timingBody{
		timing.Script, known.scripts[timing.Script].GetDisplayName(), timing.Stage.String(),
		timing.Start, timing.End, timing.ExitCode, timing.Status.String(),
	}
}

func (s *Server) getTimings(r *http.Request) (int, any, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	known, err := s.known(r.Context(), agent)
	if err != nil {
		return 0, nil, err
	}
	timings, err := s.config.Store.Timings(r.Context(), agent.ID)
	bodies := []timingBody{}
	for _, timing := range timings {
		bodies = append(bodies, describeTiming(known, timing))
	}
	return http.StatusOK, map[string]any{"timings": bodies}, err
}

type stepBody struct {
	Run       int64     `json:"run"`
	State     string    `json:"state"`
	ChangedAt time.Time `json:"changed_at"`
}

func (s *Server) getLifecycle(r *http.Request) (int, any, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	steps, err := s.config.Store.Lifecycle(r.Context(), agent.ID)
	bodies := []stepBody{}
	for _, step := range steps {
		bodies = append(bodies, stepBody{step.Run, step.State.String(), step.At})
	}
	return http.StatusOK, map[string]any{"steps": bodies}, err
}

// metadataBody has its times in seconds, as clients expect.
type metadataBody struct {
	Result struct {
		metadataResult
		Age int64 `json:"age"`
	} `json:"result"`
	Description struct {
		DisplayName string `json:"display_name"`
		Key         string `json:"key"`
		Script      string `json:"script"`
		Interval    int64  `json:"interval"`
		Timeout     int64  `json:"timeout"`
	} `json:"description"`
}

func describeMetadata(description *agentv2.WorkspaceAgentMetadata_Description, result metadataResult, at time.Time) metadataBody {
	var body metadataBody
	body.Result.metadataResult = result
	if !result.CollectedAt.IsZero() {
		body.Result.Age = max(0, int64(at.Sub(result.CollectedAt)/time.Second))
	}
	body.Description.DisplayName, body.Description.Key, body.Description.Script = description.GetDisplayName(), description.GetKey(), description.GetScript()
	body.Description.Interval = int64(description.GetInterval().AsDuration() / time.Second)
	body.Description.Timeout = int64(description.GetTimeout().AsDuration() / time.Second)
	return body
}

// metadataOf gives all keys that the agent measures, with or without a value.
func (s *Server) metadataOf(ctx context.Context, agent store.Agent, state *reported) ([]metadataBody, error) {
	known, err := s.known(ctx, agent)
	if err != nil {
		return nil, err
	}
	state.mu.Lock()
	defer state.mu.Unlock()
	bodies := []metadataBody{}
	for _, description := range known.manifest.GetMetadata() {
		bodies = append(bodies, describeMetadata(description, state.metadata[description.GetKey()], time.Now()))
	}
	return bodies, nil
}

func (s *Server) getMetadata(r *http.Request) (int, any, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	state := s.reports.acquire(r.Context(), agent.ID)
	defer s.reports.release(state)
	bodies, err := s.metadataOf(r.Context(), agent, state)
	return http.StatusOK, bodies, err
}

// statsLine is one line of the series; its latency is in milliseconds, -1 when
// it is not known.
type statsLine struct {
	At          time.Time `json:"at"`
	Connections int64     `json:"connection_count"`
	Latency     float64   `json:"connection_median_latency_ms"`
	RxPackets   int64     `json:"rx_packets"`
	RxBytes     int64     `json:"rx_bytes"`
	TxPackets   int64     `json:"tx_packets"`
	TxBytes     int64     `json:"tx_bytes"`
	VSCode      int64     `json:"session_count_vscode"`
	JetBrains   int64     `json:"session_count_jetbrains"`
	PTY         int64     `json:"session_count_reconnecting_pty"`
	SSH         int64     `json:"session_count_ssh"`
}

func (s *Server) getStats(r *http.Request) (int, any, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	since := time.Now().Add(-store.StatsMemory)
	if text := r.URL.Query().Get("since"); text != "" {
		if since, err = time.Parse(time.RFC3339, text); err != nil {
			return 0, nil, rejectField(http.StatusBadRequest, "A query parameter is not valid.", "since", "Want a time such as 2026-01-31T12:00:00Z.")
		}
	}
	lines, err := s.config.Store.Stats(r.Context(), agent.ID, since)
	if err != nil {
		return 0, nil, err
	}
	state := s.reports.acquire(r.Context(), agent.ID)
	defer s.reports.release(state)
	state.mu.Lock()
	defer state.mu.Unlock()
	series := make([]statsLine, 0, len(lines))
	for _, line := range lines {
		series = append(series, statsLine{
			line.At, line.Connections, max(-1, float64(line.Latency)/float64(time.Millisecond)), line.RxPackets, line.RxBytes, line.TxPackets, line.TxBytes,
			line.SessionsVSCode, line.SessionsJetBrains, line.SessionsPTY, line.SessionsSSH,
		})
	}
	return http.StatusOK, map[string]any{"latest": state.stats, "series": series, "report_interval": int64(statsInterval / time.Second)}, nil
}

type agentConnectionBody struct {
	ID             uuid.UUID  `json:"id"`
	Type           string     `json:"type"`
	IP             string     `json:"ip"`
	ConnectedAt    *time.Time `json:"connected_at"`
	DisconnectedAt *time.Time `json:"disconnected_at"`
	StatusCode     *int32     `json:"status_code"`
	Reason         string     `json:"reason"`
}

func (s *Server) getConnections(r *http.Request) (int, any, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	var most int64
	if err := queryNumber(r, "limit", &most); err != nil {
		return 0, nil, err
	}
	list, err := s.config.Store.Connections(r.Context(), agent.ID, asked(r, "open"), int(min(most, 1<<20)))
	bodies := []agentConnectionBody{}
	for _, one := range list {
		body := agentConnectionBody{
			ID: one.ID, Type: one.Type.String(), IP: one.IP, ConnectedAt: optionalTime(one.ConnectedAt), DisconnectedAt: optionalTime(one.DisconnectedAt), Reason: one.Reason,
		}
		if !one.DisconnectedAt.IsZero() {
			body.StatusCode = &one.Code
		}
		bodies = append(bodies, body)
	}
	return http.StatusOK, map[string]any{"connections": bodies}, err
}

func (s *Server) getResources(r *http.Request) (int, any, error) {
	agent, _, _, err := s.ownAgent(r)
	if err != nil {
		return 0, nil, err
	}
	state := s.reports.acquire(r.Context(), agent.ID)
	defer s.reports.release(state)
	state.mu.Lock()
	defer state.mu.Unlock()
	return http.StatusOK, map[string]any{"datapoints": append([]resourcePoint{}, slices.Clone(state.resources)...)}, nil
}
