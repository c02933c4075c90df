package unit

import (
	"fmt"
	"path/filepath"
	"strconv"

	"howett.net/plist"
)

const label = "com.causewayhq.agent"

const launchctl = "/bin/launchctl"

// job is a launchd.plist(5).
type job struct {
	Label            string   `plist:"Label"`
	ProgramArguments []string `plist:"ProgramArguments"`
	UserName         string   `plist:"UserName,omitempty"`
	WorkingDirectory string   `plist:"WorkingDirectory"`
	RunAtLoad        bool     `plist:"RunAtLoad"`
	KeepAlive        bool     `plist:"KeepAlive"`
	ThrottleInterval int      `plist:"ThrottleInterval"` // s
	ExitTimeOut      int      `plist:"ExitTimeOut"`      // s
	// AbandonProcessGroup leaves alone what runs on when the agent ends, as
	// KillMode=process does.
	AbandonProcessGroup  bool   `plist:"AbandonProcessGroup"`
	ProcessType          string `plist:"ProcessType"`
	StandardErrorPath    string `plist:"StandardErrorPath"`
	EnvironmentVariables any    `plist:"EnvironmentVariables"`
}

// launchdPlan is a launch agent of the user with that home directory and
// number, or with Account a launch daemon that runs as it.
func launchdPlan(o Options, home string, uid int) ([]step, error) {
	support := filepath.Join(home, "Library", "Application Support", "causeway-agent")
	token := filepath.Join(support, "token")
	target, domain := launchdTarget(o, home, uid)
	content, err := plist.MarshalIndent(job{
		Label: launchdLabel(o), ProgramArguments: []string{o.Program, "run", "--url", o.URL, "--token-file", token}, UserName: o.Account,
		WorkingDirectory: home, RunAtLoad: true, KeepAlive: true, ThrottleInterval: 1, ExitTimeOut: 90, AbandonProcessGroup: true, ProcessType: "Interactive",
		StandardErrorPath: filepath.Join(home, "Library", "Logs", "causeway-agent.log"), EnvironmentVariables: map[string]string{"HOME": home},
	}, plist.XMLFormat, "\t")
	if err != nil {
		return nil, fmt.Errorf("write property list: %w", err)
	}
	return []step{
		{write: token, content: string(o.Token) + "\n", mode: 0o600, owner: o.Account},
		{run: []string{launchctl, "bootout", domain + "/" + launchdLabel(o)}, optional: true, remedy: "it was not there before"},
		{write: target, content: string(content), mode: 0o644},
		{run: []string{launchctl, "bootstrap", domain, target}},
	}, nil
}

// launchdRemoval takes back launchdPlan.
func launchdRemoval(o Options, home string, uid int) []step {
	target, domain := launchdTarget(o, home, uid)
	return []step{
		{run: []string{launchctl, "bootout", domain + "/" + launchdLabel(o)}, optional: true, remedy: "it may not be installed"},
		{remove: target},
		{remove: filepath.Join(home, "Library", "Application Support", "causeway-agent", "token")},
	}
}

func launchdLabel(o Options) string {
	if o.Account == "" {
		return label
	}
	return label + "." + o.Account
}

// launchdTarget is where the property list lies and the domain that it is for.
func launchdTarget(o Options, home string, uid int) (path, domain string) {
	if o.Account == "" {
		return filepath.Join(home, "Library", "LaunchAgents", label+".plist"), "gui/" + strconv.Itoa(uid)
	}
	return filepath.Join("/Library/LaunchDaemons", launchdLabel(o)+".plist"), "system"
}
