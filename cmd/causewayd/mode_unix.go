//go:build !windows

package main

import (
	"context"

	"github.com/spf13/cobra"
)

// serviceFlag: systemd and launchd run the daemon as everybody does.
func serviceFlag(*cobra.Command) *bool { return new(bool) }

// offerHandOver offers nothing: systemd has a signal for it, and nothing else
// needs it.
func offerHandOver(*cobra.Command) {}

func handsOver(*cobra.Command) bool { return false }

// withServiceManager runs the daemon; the service manager needs nothing else.
func withServiceManager(ctx context.Context, _ bool, run func(context.Context, serviceMode) error) error {
	return run(ctx, serviceMode{})
}
