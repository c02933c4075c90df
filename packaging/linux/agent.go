package linux

import (
	_ "embed"
	"errors"
	"strings"
)

//go:embed causeway-agent@.service
var agentUnit string

// AgentUnit is the agent's unit of the machine as the package brings it, for
// the program at /usr/bin/causeway-agent.
func AgentUnit() (string, error) {
	if !strings.Contains(agentUnit, "ExecStart=/usr/bin/causeway-agent ") {
		return "", errors.New("render unit: the agent's program is not where it is expected")
	}
	return agentUnit, nil
}
