package service

import (
	"errors"
	"testing"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// Names are repaired by a tunnel that runs; what it could not do is an answer.
func TestRepairNames(t *testing.T) {
	r := newRig(t)
	_, call, stop := r.start(t)
	var known *localapi.Error
	if _, err := call.RepairNames(t.Context(), &localv1.RepairNamesRequest{}); !errors.As(err, &known) || known.Code != localapi.CodeNotSignedIn {
		t.Errorf("signed out: %v", err)
	}
	tunnel := upAs(t, r, call)
	for _, flush := range []bool{true, false} {
		answer, err := call.RepairNames(t.Context(), &localv1.RepairNamesRequest{FlushOnly: flush})
		if err != nil || !answer.GetCanaryOk() || answer.GetCause() != "" || tunnel.flushed.Load() != flush {
			t.Errorf("flush %v: %v, %v", flush, answer, err)
		}
	}
	tunnel.relay = errors.New("apply: no permission\nlook up: silence") // what the fake fails with
	answer, err := call.RepairNames(t.Context(), &localv1.RepairNamesRequest{})
	if err != nil || answer.GetCanaryOk() || answer.GetCause() != "apply: no permission; look up: silence" {
		t.Errorf("%v, %v", answer, err)
	}
	examined, err := call.Examine(t.Context(), &localv1.ExamineRequest{})
	if err != nil || examined.GetNetwork() != nil {
		t.Errorf("the network was measured unasked: %v, %v", examined, err)
	}
	if examined, err = call.Examine(t.Context(), &localv1.ExamineRequest{Network: true}); err != nil || !examined.GetNetwork().GetUdp() {
		t.Errorf("Examine() = %v, %v", examined, err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run() = %v", err)
	}
}
