package sshd

import (
	"slices"
	"strings"

	"github.com/causewayhq/causeway/agent/login"
)

// magicVariables steer the server and are hidden from the process (docs of the
// protocol, 5.3).
var magicVariables = []string{"CODER_SSH_SESSION_TYPE", "CODER_CONTAINER", "CODER_CONTAINER_USER"}

// environment is what the command sees; of two values for a name, the later
// one counts: those of every program of the workspace, those that the client
// sent, those of the channel.
func (s *session) environment(variables []string) []string {
	variables = append(variables, "SSH_CLIENT=0.0.0.0 0 0", "SSH_CONNECTION=0.0.0.0 0 0.0.0.0 0")
	for _, variable := range s.variables {
		name, _, _ := strings.Cut(variable, "=")
		if !slices.Contains(magicVariables, name) {
			variables = append(variables, variable)
		}
	}
	if s.pty != nil && login.Valid("TERM", s.pty.Term) {
		variables = append(variables, "TERM="+s.pty.Term)
	}
	if s.agentSocket != nil {
		variables = append(variables, "SSH_AUTH_SOCK="+s.agentSocket.Addr().String())
	}
	return variables
}
