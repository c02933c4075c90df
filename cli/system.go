package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/proto/localv1"
)

// system is what people do on one operating system, in its own words.
type system struct {
	sudo       string // before a command that only an administrator may run
	installSSH string
	log        string // where the system keeps the daemon's log
	// help makes the text of the commands, which is written for Unix, that of this
	// system: pairs of what is there and what takes its place.
	help []string
}

// journal is where systemd keeps the daemon's log.
const journal = "journalctl -u causewayd"

var linuxSystem = system{sudo: "sudo ", installSSH: "install it, for example: sudo apt install openssh-client", log: journal}

var darwinSystem = system{
	sudo: "sudo ", installSSH: "it comes with macOS, in /usr/bin: add that to PATH", log: darwinLog,
	help: []string{journal, darwinLog},
}

const (
	darwinLog  = "/Library/Logs/Causeway/causewayd.log"
	windowsLog = `C:\ProgramData\Causeway\Logs\causewayd.log`
)

var windowsSystem = system{
	installSSH: `install it: Settings, System, Optional features, "OpenSSH Client"`, log: windowsLog,
	help: []string{
		journal, windowsLog,
		"once; with sudo, if you did not install it", "once; as administrator, if you did not install it",
		"(default you; under sudo who ran it)", "(default you)",
		"(default who ran sudo, while", "(default you, while", "for the user who ran sudo.", "for you.",
		`Who installed Causeway may sign in, and whom an administrator lets: causeway
operator add. Everybody else signs in with sudo, once: that makes the user who
ran sudo an operator.`, `Who installed Causeway may sign in, and whom an administrator lets: causeway
operator add. Everybody else signs in as administrator, once: that makes an
operator of you.`, "(with sudo, if you did not install it)", "(as administrator, if you did not install it)",
		"sudo ", "",
	},
}

// adapt puts the texts of a command and of those below it into the system's
// words.
func (s system) adapt(command *cobra.Command) {
	words := strings.NewReplacer(s.help...)
	command.Short, command.Long, command.Example = words.Replace(command.Short), words.Replace(command.Long), words.Replace(command.Example)
	command.LocalFlags().VisitAll(func(flag *pflag.Flag) { flag.Usage = words.Replace(flag.Usage) })
	for _, child := range command.Commands() {
		s.adapt(child)
	}
}

// signIn is the command to sign in with. While nobody has the tunnel, the daemon
// shows all to those who may sign in; others first need an administrator.
func (s system) signIn(status *localv1.Status) string {
	const command = "causeway login <url>"
	switch {
	case !unowned(status) || status.GetView() == localv1.View_FULL:
		return command
	case s.sudo == "":
		return command + ", in a terminal that was opened as administrator"
	}
	return s.sudo + command
}

// unowned says that the tunnel is nobody's.
func unowned(status *localv1.Status) bool {
	return status.OwnerUid == nil && status.GetOwnerSid() == ""
}

// takeOver is what helps against another user's tunnel.
func (s system) takeOver() string {
	return "ask them to run: causeway down; or as administrator: " + s.sudo + "causeway up --take-over"
}
