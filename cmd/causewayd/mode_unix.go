//go:build !windows

package main

import (
	"context"

	"github.com/spf13/cobra"
)

// serviceFlag: systemd and launchd run the daemon as everybody does.
func serviceFlag(*cobra.Command) *bool { return new(bool) }

// withServiceManager runs the daemon; the service manager needs nothing else.
func withServiceManager(ctx context.Context, _ bool, run func(context.Context, serviceMode) error) error {
	return run(ctx, serviceMode{})
}
