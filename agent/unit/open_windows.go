package unit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

	"golang.org/x/sys/windows"
)

// unheld are characters that a task's program cannot have: the scheduler
// replaces variables in %.
const unheld = "\n\"%"

// Install makes the agent a task of Windows' scheduler, and starts it. template
// is systemd's.
func Install(ctx context.Context, o Options, _ Template) error {
	if err := o.check(true); err != nil {
		return err
	}
	system, data, name, err := places(o)
	if err != nil {
		return err
	}
	steps, err := tasksPlan(o, system, data, name)
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
	system, data, _, err := places(o)
	if err != nil {
		return err
	}
	return apply(ctx, o, tasksRemoval(system, data))
}

func places(o Options) (system, data, name string, err error) {
	if system, err = windows.GetSystemDirectory(); err != nil {
		return "", "", "", fmt.Errorf("find system directory: %w", err)
	}
	if data, err = os.UserCacheDir(); err != nil { // %LocalAppData%
		return "", "", "", fmt.Errorf("find the user's directory: %w", err)
	}
	who, err := user.Current()
	if err != nil {
		return "", "", "", fmt.Errorf("find account: %w", err)
	}
	// The token lies where only this user can read it.
	if plain := who.Username[strings.LastIndex(who.Username, `\`)+1:]; o.Account != "" && !strings.EqualFold(o.Account, plain) {
		return "", "", "", errors.New("--account on Windows: run the command as that account itself, in an elevated terminal")
	}
	return system, data, who.Username, nil
}

// giveTo is for systems where one user writes files for another.
func giveTo(*os.File, string) error { return errors.ErrUnsupported }
