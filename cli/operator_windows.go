package cli

import (
	"context"
	"os/user"

	"golang.org/x/sys/windows"

	"github.com/causewayhq/causeway/proto/localv1"
)

// userOf takes a name, or a security identifier as it is.
func userOf(_ context.Context, name string) (*localv1.Operator, error) {
	if sid, err := windows.StringToSid(name); err == nil {
		return &localv1.Operator{Sid: sid.String(), Name: name}, nil
	}
	found, err := user.Lookup(name)
	if err != nil {
		return nil, noSuchUser(name, "give the name as whoami prints it, or the identifier that `whoami /user` prints")
	}
	return &localv1.Operator{Sid: found.Uid, Name: name}, nil
}
