//go:build unix

package cli

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// userOf takes a name, or a number as it is: users of a directory service may
// not be found by name.
func userOf(ctx context.Context, name string) (*localv1.Operator, error) {
	found, err := localapi.UserNamed(ctx, name)
	if err != nil {
		return nil, noSuchUser(name, "check the name; a user of a directory that this machine does not search by name is given by number, which id -u prints for them")
	}
	return &localv1.Operator{Uid: proto.Uint32(found.UID), Name: name}, nil
}
