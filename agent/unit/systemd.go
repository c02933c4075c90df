package unit

import (
	"path/filepath"
	"strings"
)

// packagedUnit is where the package brings its unit of the machine.
const packagedUnit = "/usr/lib/systemd/system/causeway-agent@.service"

const systemctl = "/usr/bin/systemctl"

// Template is the unit of the machine as packages bring it, for the program at
// /usr/bin/causeway-agent; %i is the account.
type Template string

const packagedProgram = "/usr/bin/causeway-agent"

// userUnit is that of a user: sessions are the user's, with all that it may do.
const userUnit = `[Unit]
Description=Causeway: makes this workspace reachable
Documentation=man:causeway-agent(1)

[Service]
Type=exec
ExecStart="PROGRAM" run --url "URL" --token-file "%h/.config/causeway-agent/token"
WorkingDirectory=~
Restart=always
RestartSec=1s
# The agent alone is told, and ends sessions and scripts in order; stop scripts have
# a minute. What runs on, as editors' servers and commands without a terminal do,
# is the workspace's: an upgrade or a crash of the agent does not end it.
KillMode=process
TimeoutStopSec=90s

[Install]
WantedBy=default.target
`

const unitName = "causeway-agent.service"

// escape makes a text of ours one that a unit takes as it is.
func escape(text string) string { return strings.ReplaceAll(text, "%", "%%") }

// userPlan is the unit of the user with that home directory.
func userPlan(o Options, home, name string) []step {
	config := filepath.Join(home, ".config")
	unit := strings.NewReplacer("PROGRAM", escape(o.Program), "URL", escape(o.URL)).Replace(userUnit)
	return []step{
		{write: filepath.Join(config, "causeway-agent", "token"), content: string(o.Token) + "\n", mode: 0o600},
		{write: filepath.Join(config, "systemd", "user", unitName), content: unit, mode: 0o644},
		{run: []string{systemctl, "--user", "daemon-reload"}},
		{run: []string{systemctl, "--user", "enable", unitName}},
		{run: []string{systemctl, "--user", "restart", unitName}},
		{
			run: []string{"/usr/bin/loginctl", "enable-linger"}, optional: true,
			remedy: "the agent ends when the last session of " + name + " does; to change that: sudo loginctl enable-linger " + name,
		},
	}
}

// userRemoval takes back userPlan. The keys in the state directory stay: the
// agent is the same one when it is installed again.
func userRemoval(home string) []step {
	config := filepath.Join(home, ".config")
	return []step{
		{run: []string{systemctl, "--user", "disable", "--now", unitName}, optional: true, remedy: "it may not be installed"},
		{remove: filepath.Join(config, "systemd", "user", unitName)},
		{remove: filepath.Join(config, "causeway-agent", "token")},
		{run: []string{systemctl, "--user", "daemon-reload"}},
	}
}

// systemPlan is the unit of the machine for the account. The package's own
// unit is used where there is one.
func systemPlan(o Options, template Template, packaged bool) []step {
	name := "causeway-agent@" + o.Account + ".service"
	steps := []step{
		{write: "/etc/causeway/agent-" + o.Account + ".env", content: "CAUSEWAY_AGENT_URL=" + o.URL + "\n", mode: 0o644},
		{write: "/etc/causeway/agent-" + o.Account + ".token", content: string(o.Token) + "\n", mode: 0o600},
	}
	if !packaged {
		text := strings.ReplaceAll(string(template), packagedProgram+" ", escape(o.Program)+" ")
		steps = append(steps, step{write: "/etc/systemd/system/causeway-agent@.service", content: text, mode: 0o644})
	}
	return append(steps,
		step{run: []string{systemctl, "daemon-reload"}},
		step{run: []string{systemctl, "enable", name}},
		step{run: []string{systemctl, "restart", name}},
	)
}

// systemRemoval takes back systemPlan, but for the unit that other accounts may use.
func systemRemoval(o Options) []step {
	name := "causeway-agent@" + o.Account + ".service"
	return []step{
		{run: []string{systemctl, "disable", "--now", name}, optional: true, remedy: "it may not be installed"},
		{remove: "/etc/causeway/agent-" + o.Account + ".env"},
		{remove: "/etc/causeway/agent-" + o.Account + ".token"},
	}
}
