package service

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/proto/localv1"
)

// hostChanges is the journal that the platforms keep in the state directory.
const hostChanges = "host-changes.json"

// ListChanges tells what the daemon has changed on this machine and not undone.
func (s *Service) ListChanges(context.Context, *localv1.ListChangesRequest) (*localv1.ListChangesResponse, error) {
	changes, err := netcfg.ReadJournal(filepath.Join(s.config.StateDir, hostChanges))
	if err != nil {
		return nil, &localapi.Error{Code: localapi.CodeGeneric, Cause: "list changes: " + inOneLine(err), Remedy: "stop causewayd, then " + runAsAdmin + "causewayd cleanup"}
	}
	out := &localv1.ListChangesResponse{}
	for _, change := range changes {
		out.Changes = append(out.Changes, &localv1.Change{Kind: change.Kind, What: changeText(change)})
	}
	return out, nil
}

// changeText names the thing, and the interface on which it hangs.
func changeText(change netcfg.Change) string {
	var words []string
	if change.Value != "" {
		words = append(words, change.Value)
	}
	switch {
	case change.Interface != "":
		words = append(words, "on "+change.Interface)
	case change.Index != 0:
		words = append(words, fmt.Sprintf("on interface %d", change.Index))
	}
	return validText(strings.Join(words, " "))
}
