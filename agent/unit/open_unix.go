//go:build unix

package unit

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// unheld are characters that a unit's program cannot have: they mean something
// to systemd in one place or another.
const unheld = "\n\"'\\%$"

// account finds the user by name, or with "" who runs this.
func account(name string) (*user.User, int, error) {
	found, err := user.Current()
	if name != "" {
		found, err = user.Lookup(name)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("find account: %w", err)
	}
	uid, err := strconv.Atoi(found.Uid)
	if err != nil {
		return nil, 0, fmt.Errorf("find account %s: %w", found.Username, err)
	}
	return found, uid, nil
}

// giveTo makes the file an account's.
func giveTo(file *os.File, name string) error {
	found, uid, err := account(name)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(found.Gid)
	if err != nil {
		return fmt.Errorf("find group of %s: %w", name, err)
	}
	return file.Chown(uid, gid)
}
