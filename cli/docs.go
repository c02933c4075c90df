package cli

import (
	"time"

	"github.com/spf13/cobra"
)

// Root is the command tree, for what is generated of it (internal/gendocs). It
// is not meant to be executed: Main does that.
func Root(env Env) *cobra.Command { return (&app{env: env, now: time.Now}).root() }

// ExitCodes is the published table, for the same.
func ExitCodes() string { return exitCodes }
