package define

import (
	"maps"
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

// ScriptID identifies an agent's script of a name, wherever it stands in the
// definition.
func ScriptID(agent uuid.UUID, name string) uuid.UUID { return idOf(agent, "script", name) }

// LogSourceID identifies where the output of a script goes.
func LogSourceID(agent uuid.UUID, name string) uuid.UUID { return idOf(agent, "log", name) }

// AppID identifies an agent's app.
func AppID(agent uuid.UUID, slug string) uuid.UUID { return idOf(agent, "app", slug) }

// idOf is a UUID of version 5. Kinds are our words and have no slash.
func idOf(agent uuid.UUID, kind, name string) uuid.UUID {
	return uuid.NewSHA1(agent, []byte(kind+"/"+name))
}

// Agent is whose definition becomes a manifest.
type Agent struct {
	ID                     uuid.UUID
	Name, Workspace, Owner string
}

// Fill puts the definition into a manifest of the agent. Secrets have the given
// values; one without a value is left out.
func (d Definition) Fill(manifest *agentv2.Manifest, agent Agent, values map[string]store.SecretValue) {
	manifest.Directory = d.Directory
	manifest.MotdPath = d.MOTDFile
	manifest.VsCodePortProxyUri = d.VSCodeProxyURI
	manifest.EnvironmentVariables = maps.Clone(d.Environment)
	for _, secret := range d.Secrets {
		if value := values[secret.Name]; value != nil {
			manifest.Secrets = append(manifest.Secrets, &agentv2.WorkspaceSecret{EnvName: secret.Env, FilePath: secret.File, Value: value})
		}
	}
	for _, script := range d.Scripts {
		manifest.Scripts = append(manifest.Scripts, script.message(agent.ID))
	}
	for _, app := range d.Apps {
		manifest.Apps = append(manifest.Apps, app.message(agent))
	}
	for _, metadata := range d.Metadata {
		manifest.Metadata = append(manifest.Metadata, metadata.message())
	}
}

func (s Script) message(agent uuid.UUID) *agentv2.WorkspaceAgentScript {
	id, source := ScriptID(agent, s.Name), LogSourceID(agent, s.Name)
	message := &agentv2.WorkspaceAgentScript{
		Id: id[:], LogSourceId: source[:], LogPath: s.LogPath, Script: s.Run, Cron: s.schedule(), RunOnStart: s.OnStart, RunOnStop: s.OnStop,
		StartBlocksLogin: s.BlocksLogin, DisplayName: orElse(s.DisplayName, s.Name),
	}
	if s.Timeout > 0 {
		message.Timeout = span(s.Timeout)
	}
	return message
}

// schedule has six fields always. Of five some agents take the first for the
// second.
func (s Script) schedule() string {
	if s.Cron != "" && len(strings.Fields(s.Cron)) == 5 {
		return "0 " + s.Cron
	}
	return s.Cron
}

func (a App) message(of Agent) *agentv2.WorkspaceApp {
	id := AppID(of.ID, a.Slug)
	message := &agentv2.WorkspaceApp{
		Id: id[:], Url: a.URL, External: a.External, Slug: a.Slug, DisplayName: orElse(a.DisplayName, a.Slug), Command: a.Command, Icon: a.Icon,
		Subdomain: a.Subdomain, SharingLevel: a.sharing(), Hidden: a.Hidden, Health: agentv2.WorkspaceApp_DISABLED,
	}
	if a.Subdomain {
		message.SubdomainName = strings.ToLower(strings.Join([]string{a.Slug, of.Name, of.Workspace, of.Owner}, "--"))
	}
	if a.Health != nil {
		message.Health = agentv2.WorkspaceApp_INITIALIZING
		message.Healthcheck = &agentv2.WorkspaceApp_Healthcheck{Url: a.Health.URL, Interval: span(a.Health.Interval), Threshold: int32(a.Health.Threshold)} //nolint:gosec // at most 100
	}
	return message
}

func (a App) sharing() agentv2.WorkspaceApp_SharingLevel {
	switch a.Sharing {
	case "authenticated":
		return agentv2.WorkspaceApp_AUTHENTICATED
	case "organization":
		return agentv2.WorkspaceApp_ORGANIZATION
	case "public":
		return agentv2.WorkspaceApp_PUBLIC
	default:
		return agentv2.WorkspaceApp_OWNER
	}
}

func (m Metadata) message() *agentv2.WorkspaceAgentMetadata_Description {
	message := &agentv2.WorkspaceAgentMetadata_Description{Key: m.Key, DisplayName: orElse(m.DisplayName, m.Key), Script: m.Run, Interval: span(m.Interval)}
	if m.Timeout > 0 {
		message.Timeout = span(m.Timeout)
	}
	return message
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func span(d Duration) *durationpb.Duration { return durationpb.New(time.Duration(d)) }

// Resources is what the agent watches; nothing, unless the definition says so.
func (d Definition) Resources() *agentv2.GetResourcesMonitoringConfigurationResponse {
	response := &agentv2.GetResourcesMonitoringConfigurationResponse{Config: &agentv2.GetResourcesMonitoringConfigurationResponse_Config{
		NumDatapoints: MonitoringDatapoints, CollectionIntervalSeconds: int32(MonitoringInterval / time.Second),
	}}
	if d.Monitoring == nil {
		return response
	}
	response.Config.NumDatapoints = int32(d.Monitoring.Datapoints)                                                           //nolint:gosec // at most 100
	response.Config.CollectionIntervalSeconds = int32(time.Duration(d.Monitoring.Interval).Round(time.Second) / time.Second) //nolint:gosec // at most 3600
	if d.Monitoring.Memory {
		response.Memory = &agentv2.GetResourcesMonitoringConfigurationResponse_Memory{Enabled: true}
	}
	for _, path := range d.Monitoring.Volumes {
		response.Volumes = append(response.Volumes, &agentv2.GetResourcesMonitoringConfigurationResponse_Volume{Enabled: true, Path: path})
	}
	return response
}
