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

// sshFlags are those of the SSH server, which have variables as well.
var sshFlags = []string{
	"block-file-transfer", "block-local-port-forwarding", "block-reverse-port-forwarding",
	"ssh-idle-timeout", "ssh-max-session", "ssh-max-timeout",
}

func addSSHFlags(flags *pflag.FlagSet, o *agent.SSH) {
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
		if value := flags.Lookup(name).Value.String(); strings.HasPrefix(value, "-") {
			return fmt.Errorf("--%s %s: want no less than 0", name, value)
		}
	}
	return nil
}
