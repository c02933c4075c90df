package service

import (
	"strings"
	"testing"

	"github.com/causewayhq/causeway/proto/localv1"
)

// TestKeepGoing: under a service manager that shows nobody why a program ended,
// a machine without a driver has a daemon that says so, until it has a device.
func TestKeepGoing(t *testing.T) {
	r := newRig(t)
	opened, ready := make(chan struct{}), make(chan struct{})
	r.config.Opened = opened
	r.config.KeepGoing = true
	r.config.Ready = func() { close(ready) }
	r.config.Preflight = func() error { return fail(FailureTUN, "install the driver", "no driver") }
	_, call, stop := r.start(t)
	<-ready
	status := statusOf(t, call)
	if status.GetState() != localv1.State_FAILED || len(status.GetProblems()) != 1 {
		t.Fatalf("status %v", status)
	}
	if p := status.GetProblems()[0]; p.GetCode() != "tun-failed" || !strings.Contains(p.GetCause(), "no driver") || p.GetRemedy() != "install the driver" {
		t.Errorf("problem %v", p)
	}
	if r.os.cleanups != 1 {
		t.Errorf("cleaned up %d times at the start", r.os.cleanups)
	}
	close(opened) // the driver came, and a tunnel had its device
	if status := statusOf(t, call); status.GetState() != localv1.State_SIGNED_OUT || len(status.GetProblems()) != 0 {
		t.Errorf("with a device: %v", status)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
