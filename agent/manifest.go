package agent

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/agent/login"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
)

// manifestLimit bounds the wait for the manifest on a connection that is alive.
const manifestLimit = 30 * time.Second

// manifest is what the control plane wants the agent to be.
type manifest struct {
	id                      uuid.UUID
	workspaceID             uuid.UUID
	owner, workspace, agent string
	message                 *agentv2.Manifest
	relays                  proto.RelayMap
	shape                   shape
}

// shape is what the network is made from.
type shape struct {
	id                             uuid.UUID
	directDisabled, forceWebsocket bool
}

func readManifest(message *agentv2.Manifest) (manifest, error) {
	id, err := uuid.FromBytes(message.GetAgentId())
	if err != nil || id == uuid.Nil {
		return manifest{}, errors.New("read manifest: it has no agent id")
	}
	result := manifest{
		id: id, owner: message.GetOwnerUsername(), workspace: message.GetWorkspaceName(), agent: message.GetAgentName(), message: message,
		shape: shape{id: id, directDisabled: message.GetDisableDirectConnections(), forceWebsocket: message.GetDerpForceWebsockets()},
	}
	if raw := message.GetWorkspaceId(); len(raw) > 0 {
		if result.workspaceID, err = uuid.FromBytes(raw); err != nil {
			return manifest{}, fmt.Errorf("read manifest: workspace id: %w", err)
		}
	}
	if message.GetDerpMap() != nil {
		result.relays = proto.RelayMapFromProto(message.GetDerpMap())
	}
	return result, nil
}

// names are those by which the owner and others can reach the agent.
func (m manifest) names(suffix string) []string {
	if m.agent == "" || m.workspace == "" {
		return nil
	}
	names := []string{strings.ToLower(m.agent + "." + m.workspace + ".me." + suffix)}
	if m.owner != "" {
		names = append(names, strings.ToLower(m.agent+"."+m.workspace+"."+m.owner+"."+suffix))
	}
	return names
}

// environment is what sessions get besides the agent's own environment (docs
// of the protocol, 5.3). The token is among it because programs of the
// workspace act as the agent with it; they run as the same user, who could read
// it from the agent's memory anyway.
func (a *agent) environment() []string {
	a.mu.Lock()
	m := a.manifest
	a.mu.Unlock()
	variables := []string{
		"CODER=true", "CODER_WORKSPACE_NAME=" + m.workspace, "CODER_WORKSPACE_AGENT_NAME=" + m.agent,
		"CODER_WORKSPACE_OWNER_NAME=" + m.owner, "CODER_WORKSPACE_ID=" + m.workspaceID.String(),
		"CODER_AGENT_TOKEN=" + string(a.tokens.current()), "CS_DISABLE_GETTING_STARTED_OVERRIDE=true",
	}
	variables = append(variables, a.gitEnvironment(m)...)
	if uri := m.message.GetVsCodePortProxyUri(); uri != "" {
		variables = append(variables, "VSCODE_PROXY_URI="+uri)
	}
	wanted := m.message.GetEnvironmentVariables()
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		variables = appendVariable(variables, name, os.ExpandEnv(wanted[name]))
	}
	for _, secret := range m.message.GetSecrets() {
		variables = appendVariable(variables, secret.GetEnvName(), string(secret.GetValue()))
	}
	return append(variables, "PATH="+a.searchPath(variables))
}

// searchPath is where programs are found: those that scripts have put there
// first, then those of the manifest's PATH, or else of the agent's own.
func (a *agent) searchPath(variables []string) string {
	path := os.Getenv("PATH")
	for _, variable := range variables {
		if value, found := strings.CutPrefix(variable, "PATH="); found {
			path = value
		}
	}
	if path == "" {
		return a.binDirectory()
	}
	return a.binDirectory() + string(filepath.ListSeparator) + path
}

// appendVariable leaves out what the kernel would not take: one bad name must
// not cost the user every session.
func appendVariable(variables []string, name, value string) []string {
	if !login.Valid(name, value) {
		return variables
	}
	return append(variables, name+"="+value)
}

// directory is where sessions start: the manifest's directory with variables
// and ~ expanded, in the home directory when it is relative or not given.
func (a *agent) directory() string {
	a.mu.Lock()
	path := a.manifest.message.GetDirectory()
	a.mu.Unlock()
	return expandPath(path)
}
