package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/causewayhq/causeway/localapi"
)

// Programs of ours that this one runs.
const (
	daemonProgram = "causewayd"
	trayProgram   = "causeway-tray"
)

// beside is the path of a program that is installed with this one, and so is as
// trustworthy: what PATH says does not count.
func beside(program, remedy string) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	if real, err := filepath.EvalSymlinks(own); err == nil {
		own = real
	}
	path := filepath.Join(filepath.Dir(own), program+filepath.Ext(own)) // .exe
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return "", &localapi.Error{Code: localapi.CodeNotFound, Cause: fmt.Sprintf("run %s: it is not installed beside this program, in %s", program, filepath.Dir(own)), Remedy: remedy}
	}
	return path, nil
}

// runDaemonProgram becomes causewayd with these arguments; its exit code is then
// this program's.
func (a *app) runDaemonProgram(needsRoot bool, words ...string) error {
	path, err := beside(daemonProgram, "install the package causeway, which has it")
	if err != nil {
		return err
	}
	if needsRoot && a.userID() > 0 {
		return &localapi.Error{
			Code: localapi.CodePermission, Cause: fmt.Sprintf("run %s %s: it needs root", daemonProgram, words[0]), Remedy: "run: " + a.sudo(),
		}
	}
	if a.socket != "" && !slices.Contains(words, "--socket") {
		words = append(words, "--socket", a.socket)
	}
	return execute(path, append([]string{path}, words...))
}

// userID is the user's number; -1 where users have none.
func (a *app) userID() int {
	if a.env.UserID != nil {
		return a.env.UserID()
	}
	return os.Geteuid()
}
