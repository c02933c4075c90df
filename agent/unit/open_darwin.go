package unit

import "context"

// Install makes the agent a job of launchd, and starts it. template is systemd's.
func Install(ctx context.Context, o Options, _ Template) error {
	if err := o.check(true); err != nil {
		return err
	}
	who, uid, err := account(o.Account)
	if err != nil {
		return err
	}
	steps, err := launchdPlan(o, who.HomeDir, uid)
	if err != nil {
		return err
	}
	return apply(ctx, o, steps)
}

// Uninstall stops it and takes it away. The agent's keys stay.
func Uninstall(ctx context.Context, o Options) error {
	if err := o.check(false); err != nil {
		return err
	}
	who, uid, err := account(o.Account)
	if err != nil {
		return err
	}
	return apply(ctx, o, launchdRemoval(o, who.HomeDir, uid))
}
