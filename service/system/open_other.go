//go:build !linux && !darwin && !windows

package system

import (
	"errors"

	"github.com/causewayhq/causeway/service"
)

func open(Options) (backend, error) {
	return nil, &service.Error{Failure: service.FailurePlatform, Err: errors.New("find service manager: this operating system is not supported yet")}
}

func visible(string) error { return nil }
