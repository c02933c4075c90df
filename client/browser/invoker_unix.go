//go:build unix

package browser

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// asInvoker makes a program run by sudo the program of the user who ran sudo: a
// browser of root's would be another's, and a danger.
func (o Opener) asInvoker(command *exec.Cmd) error {
	uid, err := strconv.ParseUint(o.getenv("SUDO_UID"), 10, 32)
	if os.Geteuid() != 0 || err != nil || uid == 0 {
		return nil
	}
	found, err := user.LookupId(o.getenv("SUDO_UID"))
	if err != nil {
		return fmt.Errorf("find the user who ran sudo: %w", err)
	}
	gid, err := strconv.ParseUint(found.Gid, 10, 32)
	if err != nil {
		return fmt.Errorf("find the group of the user who ran sudo: %w", err)
	}
	credential := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if groups, err := found.GroupIds(); err == nil {
		for _, group := range groups {
			if id, err := strconv.ParseUint(group, 10, 32); err == nil {
				credential.Groups = append(credential.Groups, uint32(id))
			}
		}
	}
	command.SysProcAttr.Credential, command.Dir = credential, "/"
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); !strings.HasPrefix(name, "SUDO_") {
			command.Env = append(command.Env, pair)
		}
	}
	runtime := "/run/user/" + found.Uid
	command.Env = append(command.Env, "HOME="+found.HomeDir, "USER="+found.Username, "LOGNAME="+found.Username,
		"XDG_RUNTIME_DIR="+runtime, "DBUS_SESSION_BUS_ADDRESS=unix:path="+runtime+"/bus")
	return nil
}
