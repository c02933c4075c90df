// Package login says as whom the workspace's programs run, with what in their
// environment, and where: those of SSH sessions, of terminals, of scripts and
// of metadata alike. It starts none of them.
package login

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ownPrefix marks the agent's own settings, its token among them; a program
// gets none of them from the agent's environment.
const ownPrefix = "CAUSEWAY_AGENT_"

// Account is the user that the agent, and so everything it starts, runs as.
type Account struct{ Name, Home, Shell string }

// Current is the account of this process.
func Current() Account {
	account, err := user.Current()
	if err != nil {
		account = nil
	}
	return accountOf(account, os.Getuid())
}

// accountOf is the one of the user database, nil if there is none: in a container
// the user may have no entry, and the environment must do then. Where that names
// nobody either, the number does, as it does for id.
func accountOf(known *user.User, number int) Account {
	result := Account{Name: os.Getenv("USER"), Home: os.Getenv("HOME")}
	uid := ""
	if known != nil {
		result.Name, result.Home, uid = known.Username, known.HomeDir, known.Uid
	}
	if result.Name == "" && number >= 0 { // below 0 on Windows, where there are none
		result.Name = strconv.Itoa(number)
	}
	result.Shell = loginShell(uid)
	return result
}

// Login makes programs of the workspace. Its functions are asked each time,
// because the manifest they come from can change while the agent runs.
type Login struct {
	// Environment returns variables as KEY=VALUE that are added to the agent's
	// own. Nil: none.
	Environment func() []string
	// Directory is where programs start; where it does not exist, the home
	// directory takes its place. Nil: the home directory.
	Directory func() string
}

// Variables is the environment of a program without those of its kind (an SSH
// session's, a terminal's), which follow and win: of two values for a name, the
// later one counts.
func (l Login) Variables() []string {
	who := Current()
	variables := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, ownPrefix)
	})
	variables = append(variables, "USER="+who.Name, "LOGNAME="+who.Name, "HOME="+who.Home, "SHELL="+who.Shell)
	if l.Environment != nil {
		variables = append(variables, l.Environment()...)
	}
	return variables
}

// WorkDirectory is the first that can be entered: the one that was asked for,
// the home directory, the root directory.
func (l Login) WorkDirectory() string {
	wanted := ""
	if l.Directory != nil {
		wanted = l.Directory()
	}
	for _, path := range []string{wanted, Current().Home} {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return path
		}
	}
	return string(filepath.Separator)
}

// Command makes, and does not start, what runs line: the login shell for "",
// the interpreter that a script with "#!" names, else the shell with the line.
// Its environment and directory are set; cleanup is called when it has ended.
func (l Login) Command(line string) (cmd *exec.Cmd, cleanup func(), err error) {
	shell := Current().Shell
	cleanup = func() {}
	switch {
	case line == "":
		cmd = exec.Command(shell, loginFlags...)
	case strings.HasPrefix(line, "#!"):
		interpreter, arguments, remove, err := writeScript(line)
		if err != nil {
			return nil, nil, err
		}
		cmd, cleanup = exec.Command(interpreter, arguments...), remove
	default:
		cmd = shellCommand(shell, line)
	}
	cmd.Dir, cmd.Env = l.WorkDirectory(), l.Variables()
	return cmd, cleanup, nil
}

// writeScript stores a script that names its interpreter. The interpreter is
// started by hand, as the kernel would, so that a file system mounted without
// the right to execute does no harm.
func writeScript(script string) (interpreter string, arguments []string, remove func(), err error) {
	first, _, _ := strings.Cut(strings.TrimPrefix(script, "#!"), "\n")
	words := strings.SplitN(strings.TrimSpace(first), " ", 2)
	if words[0] == "" {
		return "", nil, nil, errors.New("run script: the first line names no interpreter")
	}
	file, err := os.CreateTemp("", "causeway-script-*")
	if err != nil {
		return "", nil, nil, fmt.Errorf("store script: %w", err)
	}
	remove = func() { os.Remove(file.Name()) }
	_, writeErr := file.WriteString(script)
	if err := errors.Join(writeErr, file.Close()); err != nil {
		remove()
		return "", nil, nil, fmt.Errorf("store script %s: %w", file.Name(), err)
	}
	if len(words) == 2 {
		arguments = append(arguments, strings.TrimSpace(words[1]))
	}
	return words[0], append(arguments, file.Name()), remove, nil
}

// Valid refuses what cannot stand in an environment.
func Valid(name, value string) bool {
	return name != "" && !strings.ContainsAny(name, "=\x00") && !strings.Contains(value, "\x00")
}
