package store

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"
)

// TestReportsWaitOutsideThePool: in the pool, which chooses at random, Watch would
// wait behind a storm of them.
func TestReportsWaitOutsideThePool(t *testing.T) {
	s := open(t, t.TempDir())
	_, _, agent := sample(t, s, "alice")
	before := s.reports.Stats().WaitCount
	var storm sync.WaitGroup
	for number := range 50 {
		storm.Go(func() {
			for i := range 5 {
				if _, _, err := s.AppendLogs(t.Context(), agent.ID, uuid.UUID{byte(number)}, logLines(i, 1, numbered)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	storm.Wait()
	if waited := s.reports.Stats().WaitCount - before; waited != 0 {
		t.Errorf("%d waited for the connection", waited)
	}
}

// TestReportsLeaveTimeToOthers: small transactions follow each other at once,
// until a third of what they took is a pause worth making.
func TestReportsLeaveTimeToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{turns: semaphore.NewWeighted(1)}
		for number, test := range []struct{ worked, pause time.Duration }{
			{9 * time.Millisecond, 0}, {5 * time.Millisecond, 0}, {4 * time.Millisecond, 6 * time.Millisecond},
			{time.Millisecond, 0}, {300 * time.Millisecond, 100*time.Millisecond + time.Second/3000},
		} {
			if !s.turns.TryAcquire(1) {
				t.Fatalf("turn %d is taken", number)
			}
			s.yield(test.worked)
			if test.pause == 0 {
				continue
			}
			time.Sleep(test.pause - time.Microsecond)
			synctest.Wait()
			if s.turns.TryAcquire(1) {
				t.Fatalf("turn %d: the pause is too short", number)
			}
			time.Sleep(2 * time.Microsecond)
			synctest.Wait()
		}
	})
}
