package continuity

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// replaceAgent puts another agent of the same name in the place of the spare
// one, while the client hears nothing.
func replaceAgent(t *testing.T, h *house) time.Time {
	ctx := t.Context()
	began := time.Now()
	must(t, h.Net.Server.Cut(ctx, everywhere...))
	h.isCut = true
	t.Cleanup(func() { h.healed(t) })
	must(t, rig.Eventually(within(t, detect+dial), func() error {
		if now := h.load.Control(); now.Connected {
			return fmt.Errorf("the control connection is not lost: %v", now)
		}
		return nil
	}))
	path := rig.Owner + "/" + spare + "/" + rig.Agent
	_, err := h.Admin(ctx, "agent", "delete", path)
	must(t, err)
	token, err := h.NewAgent(ctx, path)
	must(t, err)
	h.startSpare(t, token)
	hold(t, max(0, h.lengths.cut-time.Since(began)))
	h.healed(t)
	return time.Now()
}

// replaced wants one change of the name's address for each way of asking, in time,
// and the new agent behind it.
func replaced(t *testing.T, h *house, began, healed time.Time) {
	var changes []rig.Event
	for _, e := range h.load.Since(began) {
		if e.Kind == "address" && e.Of == spareName {
			changes = append(changes, e)
		}
	}
	last := len(changes) - 1
	if len(changes) == 0 || len(changes) > 2 || changes[0].Detail != changes[last].Detail {
		t.Errorf("the address of %s changed %d times, want once by the resolver and once by the system: %v", spareName, len(changes), changes)
		return
	}
	took := changes[last].Time().Sub(healed)
	limit := redial(0).limit + dial
	figure(t, "%s has its new address %.2f s after the end of the cut, bound %.1f s = longest pause 10 + dial 1 + snapshot 1", spareName, took.Seconds(), limit.Seconds())
	if took > limit+reach || took < 0 {
		t.Errorf("new address after %v, the bound is %v", took, limit)
	}
	now, err := h.addressOf(t.Context(), spareName)
	if err != nil || now != changes[0].Detail {
		t.Errorf("%s is %s, want %s: %v", spareName, now, changes[0].Detail, err)
	}
	if _, err := h.Client(within(t, 30*time.Second), h.Path("probe"), "tcp-check", spareName+":"+echoPort, "20s"); err != nil {
		t.Errorf("reach the new agent by its name: %v", err)
	}
}

// reconfigure makes and removes workspaces all the time.
func reconfigure(t *testing.T, h *house) time.Time {
	ctx, cancel := context.WithCancel(t.Context())
	var churning sync.WaitGroup
	defer churning.Wait()
	defer cancel()
	began, count := time.Now(), 0
	workspace := func(number int) string { return fmt.Sprintf("%s/churn-%d", rig.Owner, number) }
	for ; time.Since(began) < h.lengths.churn; count++ {
		_, err := h.AddAgent(ctx, rig.Owner, fmt.Sprintf("churn-%d", count), rig.Agent)
		must(t, err)
		if count >= 3 {
			_, err := h.Admin(ctx, "workspace", "delete", workspace(count-3))
			must(t, err)
		}
	}
	healed := time.Now()
	figure(t, "%d workspaces made and %d removed in %.0f s", count, count-3, healed.Sub(began).Seconds())
	name := func(number int) string { return fmt.Sprintf("%s.churn-%d.me.coder", rig.Agent, number) }
	must(t, rig.Eventually(within(t, 10*time.Second), func() error {
		if _, err := h.addressOf(ctx, name(count-1)); err != nil {
			return err
		}
		if addr, err := h.addressOf(ctx, name(count-4)); err == nil {
			return fmt.Errorf("%s is still %s", name(count-4), addr)
		}
		return nil
	}))
	return healed
}
