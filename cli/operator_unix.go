//go:build unix

package cli

import (
	"os/user"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/localv1"
)

// userOf takes a name, or a number as it is: users of a directory service may
// not be found by name.
func userOf(name string) (*localv1.Operator, error) {
	text := name
	if found, err := user.Lookup(name); err == nil {
		text = found.Uid
	}
	uid, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, noSuchUser(name, "give the number that `id -u "+quote(name)+"` prints")
	}
	return &localv1.Operator{Uid: proto.Uint32(uint32(uid)), Name: name}, nil
}
