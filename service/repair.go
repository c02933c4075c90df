package service

import (
	"context"
	"errors"
	"strings"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/tunnel"
)

// RepairNames has the tunnel put back what names need on this host. What it
// could not is an answer, not an error.
func (s *Service) RepairNames(ctx context.Context, in *localv1.RepairNamesRequest) (*localv1.RepairNamesResponse, error) {
	running, err := s.running()
	if err != nil {
		return nil, err
	}
	answers, err := running.RepairNames(ctx, in.GetFlushOnly())
	switch {
	case errors.Is(err, tunnel.ErrNotRunning):
		return nil, &localapi.Error{Code: localapi.CodeDegraded, Cause: err.Error(), Remedy: "see: causeway status"}
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	out := &localv1.RepairNamesResponse{CanaryOk: answers}
	if err != nil {
		out.Cause = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return out, nil
}
