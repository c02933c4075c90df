//go:build !linux

package service

import (
	"context"

	"github.com/causewayhq/causeway/localapi"
)

// SystemSessions cannot tell here.
func SystemSessions(context.Context, localapi.User) (present bool, changed <-chan struct{}, err error) {
	return false, nil, errNoSessions
}
