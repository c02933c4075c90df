package sshd

import (
	"os"
	"os/user"
	"slices"
	"strings"
)

// magicVariables steer the server and are hidden from the process (docs of the
// protocol, 5.3).
var magicVariables = []string{"CODER_SSH_SESSION_TYPE", "CODER_CONTAINER", "CODER_CONTAINER_USER"}

// ownPrefix marks the agent's own settings, its token among them; a process
// gets none of them from the agent's environment.
const ownPrefix = "CAUSEWAY_AGENT_"

// identity is the user that the agent, and so every session, runs as.
type identity struct{ name, home, shell string }

func currentIdentity() identity {
	result := identity{name: os.Getenv("USER"), home: os.Getenv("HOME")}
	uid := ""
	// In a container the user may have no entry: the environment must do then.
	if account, err := user.Current(); err == nil {
		result.name, result.home, uid = account.Username, account.HomeDir, account.Uid
	}
	result.shell = loginShell(uid)
	return result
}

// environment is what the command sees; of two values for a name, the later
// one counts: the agent's own variables, those of the session, those that the
// workspace sets, those that the client sent, those of the channel.
func (s *session) environment(who identity) []string {
	variables := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, ownPrefix)
	})
	variables = append(variables,
		"USER="+who.name, "LOGNAME="+who.name, "HOME="+who.home, "SHELL="+who.shell,
		"SSH_CLIENT=0.0.0.0 0 0", "SSH_CONNECTION=0.0.0.0 0 0.0.0.0 0",
	)
	variables = append(variables, s.conn.server.config.Environment()...)
	for _, variable := range s.variables {
		name, _, _ := strings.Cut(variable, "=")
		if !slices.Contains(magicVariables, name) {
			variables = append(variables, variable)
		}
	}
	if s.pty != nil && validVariable("TERM", s.pty.Term) {
		variables = append(variables, "TERM="+s.pty.Term)
	}
	if s.agentSocket != nil {
		variables = append(variables, "SSH_AUTH_SOCK="+s.agentSocket.Addr().String())
	}
	return variables
}

// validVariable refuses what cannot stand in an environment.
func validVariable(name, value string) bool {
	return name != "" && !strings.ContainsAny(name, "=\x00") && !strings.Contains(value, "\x00")
}
