package sshd

import (
	"slices"
	"strings"

	"github.com/causewayhq/causeway/agent/login"
)

// magicVariables steer the server and are hidden from the process (docs of the
// protocol, 5.3).
var magicVariables = []string{sessionTypeVariable, "CODER_CONTAINER", "CODER_CONTAINER_USER"}

func magic(name string) bool {
	return slices.ContainsFunc(magicVariables, func(other string) bool { return strings.EqualFold(name, other) })
}

// environment is what the command sees; of two values for a name, the later
// one counts: those of every program of the workspace, those that the client
// sent, those of the channel.
func (s *session) environment(variables []string) []string {
	variables = append(variables, "SSH_CLIENT=0.0.0.0 0 0", "SSH_CONNECTION=0.0.0.0 0 0.0.0.0 0")
	for _, variable := range s.variables {
		name, _, _ := strings.Cut(variable, "=")
		if !magic(name) {
			variables = append(variables, variable)
		}
	}
	if s.pty != nil && login.Valid("TERM", s.pty.Term) {
		variables = append(variables, "TERM="+s.pty.Term)
	}
	if s.agentSocket != nil {
		variables = append(variables, "SSH_AUTH_SOCK="+s.agentSocket.Addr().String())
	}
	if s.x11 != nil {
		variables = append(variables, "DISPLAY="+s.x11.name)
	}
	return variables
}

// lookup is the value that counts.
func lookup(variables []string, name string) string {
	for _, variable := range slices.Backward(variables) {
		if value, found := strings.CutPrefix(variable, name+"="); found {
			return value
		}
	}
	return ""
}
