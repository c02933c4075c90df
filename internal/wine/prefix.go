package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// recipe changes with what prepare does, so that old prefixes are not used.
const recipe = "1"

// prepare returns a prefix that is ready to be copied. Two that prepare at once
// each make one, and the second is thrown away.
func prepare(ctx context.Context) (string, error) {
	version, err := exec.CommandContext(ctx, "wine", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("wine --version: %w", err)
	}
	sum := sha256.Sum256([]byte(recipe + string(version)))
	ready := filepath.Join(cache, fmt.Sprintf("prefix-%x", sum[:6]))
	if _, err := os.Stat(ready); err == nil {
		return ready, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(cache, "run-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	fmt.Fprintln(os.Stderr, "wine: making a prefix, once on this machine")
	prefix := filepath.Join(dir, "prefix")
	if err := install(ctx, prefix); err != nil {
		return "", err
	}
	if err := os.Rename(prefix, ready); err != nil {
		if _, other := os.Stat(ready); other != nil {
			return "", errors.Join(err, other)
		}
	}
	return ready, nil
}

func install(ctx context.Context, prefix string) error {
	environment := wineEnvironment(prefix)
	if err := command(ctx, environment, "wineboot", "-i"); err != nil {
		return err
	}
	if err := command(ctx, environment, "wineserver", "-w"); err != nil {
		return err
	}
	// Go needs ProcessPrng, which Wine 8 lacks.
	library := forwarders("bcryptprimitives.dll", "ProcessPrng", "advapi32.SystemFunction036")
	if err := os.WriteFile(filepath.Join(prefix, "drive_c/windows/system32/bcryptprimitives.dll"), library, 0o644); err != nil {
		return err
	}
	// The default is Windows 7, which Go has left behind.
	if err := command(ctx, environment, "wine", "reg", "add", `HKCU\Software\Wine`, "/v", "Version", "/d", "win10", "/f"); err != nil {
		return err
	}
	return command(ctx, environment, "wineserver", "-w")
}
