package unit

import (
	"context"
	"errors"
	"os"
)

var errNoSystemd = errors.New("systemd does not run here; in a container, start causeway-agent run as the container's program")

// Install makes the agent a unit of systemd, and starts it; one that is there is
// replaced and started anew. template is the package's unit.
func Install(ctx context.Context, o Options, template Template) error {
	if err := o.check(true); err != nil {
		return err
	}
	if err := running(); err != nil {
		return err
	}
	who, _, err := account(o.Account)
	if err != nil {
		return err
	}
	if o.Account == "" {
		return apply(ctx, o, userPlan(o, who.HomeDir, who.Username))
	}
	_, err = os.Stat(packagedUnit)
	return apply(ctx, o, systemPlan(o, template, err == nil))
}

// Uninstall stops it and takes it away. The agent's keys stay.
func Uninstall(ctx context.Context, o Options) error {
	if err := o.check(false); err != nil {
		return err
	}
	if err := running(); err != nil {
		return err
	}
	who, _, err := account(o.Account)
	if err != nil {
		return err
	}
	if o.Account == "" {
		return apply(ctx, o, userRemoval(who.HomeDir))
	}
	return apply(ctx, o, systemRemoval(o))
}

// running is sd_booted(3).
func running() error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return errNoSystemd
	}
	return nil
}
