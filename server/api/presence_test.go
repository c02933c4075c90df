package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/store"
)

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		p := newPresence(func(uuid.UUID) { changes++ })
		fresh := store.Agent{ID: uuid.New(), OwnerID: uuid.New()}
		seen := store.Agent{ID: uuid.New(), OwnerID: fresh.OwnerID, FirstConnectedAt: time.Now()}
		expect := func(when string, want tailnetv2.Workspace_Status, agents ...store.Agent) {
			t.Helper()
			synctest.Wait()
			if got := p.workspaceStatus(agents); got != want {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		expect("no agent", tailnetv2.Workspace_PENDING)
		expect("never connected", tailnetv2.Workspace_PENDING, fresh)
		expect("just started", tailnetv2.Workspace_UNKNOWN, seen, fresh)
		time.Sleep(absenceGrace)
		expect("did not come back", tailnetv2.Workspace_STOPPED, seen, fresh)

		first, second := p.enter(seen), p.enter(seen)
		expect("connected", tailnetv2.Workspace_RUNNING, fresh, seen)
		first()
		time.Sleep(2 * absenceGrace)
		expect("one of two connections left", tailnetv2.Workspace_RUNNING, seen)
		second()
		time.Sleep(absenceGrace - time.Second)
		expect("gone for a moment", tailnetv2.Workspace_RUNNING, seen)
		again := p.enter(seen)
		time.Sleep(2 * absenceGrace)
		expect("came back", tailnetv2.Workspace_RUNNING, seen)
		before := changes
		again()
		time.Sleep(absenceGrace + time.Second)
		expect("gone", tailnetv2.Workspace_STOPPED, seen)
		if changes != before+1 {
			t.Errorf("%d changes told, want 1", changes-before)
		}
		p.enter(fresh)()
		p.close()
		time.Sleep(2 * absenceGrace)
	})
}

func TestKeepAlive(t *testing.T) {
	for name, limit := range map[string]time.Duration{"streams": pingInterval, "old relay maps": mapPingLimit} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				started, pings, failed := time.Now(), 0, false
				keepAlive(t.Context(), func(ctx context.Context) error {
					if pings++; pings <= 3 {
						return nil
					}
					<-ctx.Done() // silent from now on
					return ctx.Err()
				}, limit, func() { failed = true })
				if took := time.Since(started); !failed || took != 4*pingInterval+limit {
					t.Errorf("a peer that fell silent after %s was dropped after %s: %v", 3*pingInterval, took, failed)
				}
			})
		})
	}
}
