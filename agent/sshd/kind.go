package sshd

import (
	"net"
	"strings"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// sessionTypeVariable is how a client says what it is (docs of the protocol, 5.3).
const sessionTypeVariable = "CODER_SSH_SESSION_TYPE"

// closeFunc hears how what was counted has ended.
type closeFunc func(code int32, reason string)

// Programs that show by their command line that an editor is served. They are
// looked for in lower case.
var (
	jetBrainsMarks = []string{"idea.vendor.name=jetbrains", "com.jetbrains.toolbox", "remote-dev-server"}
	vscodeMarks    = []string{"/.vscode-server", "/.vscode-remote", "/.vscodium-server", "/.cursor-server", "/.windsurf-server", `\.vscode-server`, `\.cursor-server`}
)

// kindOfCommand recognises the server side of an editor by a command line.
func kindOfCommand(line string) (agentv2.Connection_Type, bool) {
	line = strings.ToLower(line)
	for _, marks := range []struct {
		kind agentv2.Connection_Type
		text []string
	}{{agentv2.Connection_JETBRAINS, jetBrainsMarks}, {agentv2.Connection_VSCODE, vscodeMarks}} {
		for _, mark := range marks.text {
			if strings.Contains(line, mark) {
				return marks.kind, true
			}
		}
	}
	return agentv2.Connection_SSH, false
}

// kind is what the client says, the last time that it does, or what the command
// shows.
func (s *session) kind(line string) (kind agentv2.Connection_Type, stated bool) {
	said := ""
	for _, variable := range s.variables {
		if name, value, _ := strings.Cut(variable, "="); strings.EqualFold(name, sessionTypeVariable) {
			said = value
		}
	}
	switch strings.ToLower(said) {
	case "vscode":
		return agentv2.Connection_VSCODE, true
	case "jetbrains":
		return agentv2.Connection_JETBRAINS, true
	case "":
		kind, _ = kindOfCommand(line)
		return kind, false
	}
	return agentv2.Connection_SSH, true
}

// opened reports what is counted; nobody need listen.
func (c *connection) opened(kind agentv2.Connection_Type) closeFunc {
	if c.server.config.Opened == nil {
		return func(int32, string) {}
	}
	return c.server.config.Opened(kind, c.wire.RemoteAddr())
}

// sessionOpened counts a session. What the client states of itself need not be
// inferred any more; a command that starts an editor's server is over before the
// editor comes, and stands for nothing but itself.
func (c *connection) sessionOpened(kind agentv2.Connection_Type, stated bool) closeFunc {
	c.mu.Lock()
	if _, counted := c.kinds[kind]; stated && !counted {
		c.kinds[kind] = nil
	}
	c.mu.Unlock()
	return c.opened(kind)
}

// inspect counts the connection, once, as that of an editor whose server side
// is what a forward leads to: JetBrains' clients set no variable, and VS Code
// does so with an extension only. A forward is not delayed by it.
func (c *connection) inspect(target net.Addr) {
	address, ok := target.(*net.TCPAddr)
	if !ok || !address.IP.IsLoopback() {
		return
	}
	line := c.server.processes.commandLine(c.ctx, address.AddrPort())
	kind, known := kindOfCommand(line)
	if !known || c.ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	_, counted := c.kinds[kind]
	if !counted {
		c.kinds[kind] = nil
	}
	c.mu.Unlock()
	if counted {
		return
	}
	closed := c.opened(kind)
	c.mu.Lock()
	c.kinds[kind] = closed
	c.mu.Unlock()
}

// closeKinds ends the counts of inspect. Nothing else runs any more.
func (c *connection) closeKinds() {
	for _, closed := range c.kinds {
		if closed != nil {
			closed(0, c.ended())
		}
	}
}
