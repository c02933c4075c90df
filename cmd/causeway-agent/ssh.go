package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/agent"
)

// defaultMaxTimeout is how long a client may be dead, or its machine asleep,
// before its connection ends: over a long weekend.
const defaultMaxTimeout = 72 * time.Hour

// defaultTerminalIdle is the protocol's (docs, 5.2).
const defaultTerminalIdle = 5 * time.Minute

// sshFlags are those of sessions and terminals, which have variables as well.
var sshFlags = []string{
	"terminal-idle-timeout",
	"block-file-transfer", "block-local-port-forwarding", "block-reverse-port-forwarding",
	"ssh-idle-timeout", "ssh-max-session", "ssh-max-timeout",
}

func addSSHFlags(flags *pflag.FlagSet, o *agent.SSH, terminalIdle *time.Duration) {
	flags.DurationVar(terminalIdle, "terminal-idle-timeout", defaultTerminalIdle,
		"`time` that a terminal of ssh --reconnect or of the browser stays when nobody watches it, 24h at least where the last viewer was lost without closing its connection; then its programs end")
	flags.BoolVar(&o.BlockFileTransfer, "block-file-transfer", false,
		"refuse SFTP, scp, rsync and nc over SSH; a hint to people, as a shell can copy files in other ways")
	flags.BoolVar(&o.BlockLocalForward, "block-local-port-forwarding", false, "refuse forwards from the client: ssh -L, -D, -J and -W")
	flags.BoolVar(&o.BlockReverseForward, "block-reverse-port-forwarding", false, "refuse forwards to the client: ssh -R")
	flags.DurationVar(&o.IdleTimeout, "ssh-idle-timeout", 0, "`time` after which an SSH connection without traffic ends; 0 for never")
	flags.DurationVar(&o.MaxSession, "ssh-max-session", 0, "`time` after which an SSH connection ends whatever it does; 0 for never")
	flags.DurationVar(&o.MaxTimeout, "ssh-max-timeout", defaultMaxTimeout,
		"`time` that an SSH client may stay away, asleep for example, before its connection ends; 0 for ever")
}

// readSSHVariables sets those flags that the command line does not.
func readSSHVariables(flags *pflag.FlagSet) error {
	for _, name := range sshFlags {
		variable := envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		if value := os.Getenv(variable); value != "" && !flags.Changed(name) {
			if err := flags.Lookup(name).Value.Set(value); err != nil {
				return fmt.Errorf("%s: %w", variable, err)
			}
		}
		value := flags.Lookup(name).Value.String()
		switch {
		case strings.HasPrefix(value, "-"):
			return fmt.Errorf("--%s %s: want no less than 0", name, value)
		case name == "terminal-idle-timeout" && value == "0s":
			return fmt.Errorf("--%s 0: want more than 0; 8760h is a year", name)
		}
	}
	return nil
}
