package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// unitName is the name under which the packages install the service.
const unitName = "causewayd.service"

const (
	showLimit = 3 * time.Second
	// startLimit and restartLimit are past what the unit allows itself.
	startLimit, restartLimit = 45 * time.Second, 100 * time.Second
)

// systemctlPaths are absolute: doctor --fix runs as root and searches no PATH.
var systemctlPaths = []string{"/usr/bin/systemctl", "/bin/systemctl"}

func systemctl(ctx context.Context, limit time.Duration, arguments ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, path := range systemctlPaths {
		command := exec.CommandContext(ctx, path, append([]string{"--no-ask-password", "--no-pager"}, arguments...)...)
		command.WaitDelay = time.Second
		output, err := command.CombinedOutput()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("run systemctl %s: %w: %s", strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
		}
		return string(output), nil
	}
	return "", fmt.Errorf("run systemctl: %w", fs.ErrNotExist)
}

// unit asks systemd; any user may.
func unit(ctx context.Context) Unit {
	output, err := systemctl(ctx, showLimit, "show", unitName, "--property=LoadState,ActiveState,SubState,Result,UnitFileState,ExecMainCode,ExecMainStatus,NRestarts,Job")
	if err != nil {
		return Unit{}
	}
	return readUnit(output)
}

// journalctlPaths are absolute, as systemctl's are.
var journalctlPaths = []string{"/usr/bin/journalctl", "/bin/journalctl"}

// journalLines is enough for the last words and what systemd says about them.
const journalLines = "40"

// journal is the end of the service's log as far as this user may read it, and
// as far as it is of this boot.
func journal(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, showLimit)
	defer cancel()
	for _, path := range journalctlPaths {
		command := exec.CommandContext(ctx, path, "--no-pager", "--quiet", "--boot", "--output=cat", "--lines="+journalLines, "--unit="+unitName)
		command.WaitDelay = time.Second
		output, err := command.Output()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		return string(output) // what there is, also after an error
	}
	return ""
}

// Start starts the service.
func (m *Machine) Start(ctx context.Context) error {
	// One that failed too often is not started before that is forgotten.
	_, _ = systemctl(ctx, showLimit, "reset-failed", unitName)
	_, err := systemctl(ctx, startLimit, "start", unitName)
	return err
}

// Restart restarts it, which keeps sessions and names.
func (m *Machine) Restart(ctx context.Context) error {
	_, err := systemctl(ctx, restartLimit, "restart", unitName)
	return err
}

// processes are those of a name in this network namespace, as far as this user
// can tell.
func processes(name string) []int {
	own, _ := os.Readlink("/proc/self/ns/net")
	var found []int
	entries, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil
	}
	for _, path := range entries {
		text, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(text)) != name {
			continue
		}
		dir := filepath.Dir(path)
		if its, err := os.Readlink(dir + "/ns/net"); err == nil && its != own {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			found = append(found, pid)
		}
	}
	return found
}
