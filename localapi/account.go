package localapi

import (
	"context"
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

// UserNamed finds a user of this machine by a name, by a number or by a SID. A
// number is taken as it is: who it belongs to may not be known yet.
func UserNamed(ctx context.Context, name string) (User, error) {
	lookUp := user.Lookup
	if strings.HasPrefix(name, "S-1-") {
		lookUp = user.LookupId
	}
	found, err := lookUp(name)
	if err != nil {
		if uid, numeric := strconv.ParseUint(name, 10, 32); numeric == nil {
			return User{UID: uint32(uid)}, nil
		}
		found, err = directory(ctx, name)
	}
	if err != nil {
		return User{}, fmt.Errorf("look up user %q: %w", name, err)
	}
	if uid, numeric := strconv.ParseUint(found.Uid, 10, 32); numeric == nil {
		return User{UID: uint32(uid)}, nil
	}
	return User{SID: found.Uid}, nil
}

// Name is what the system calls the user.
func (u User) Name(ctx context.Context) (string, error) {
	id := u.SID
	if id == "" {
		id = strconv.FormatUint(uint64(u.UID), 10)
	}
	found, err := user.LookupId(id)
	if err != nil {
		found, err = directory(ctx, id)
	}
	if err != nil {
		return "", fmt.Errorf("look up %s: %w", u, err)
	}
	return found.Username, nil
}
