package service

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Memory is given back after changes, at a limited rate, and not at all while
// nothing happens.
func TestGiveBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var changed broadcast
		var mu sync.Mutex
		var freed []time.Duration
		began := time.Now()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			giveBack(ctx, changed.next, func() { mu.Lock(); defer mu.Unlock(); freed = append(freed, time.Since(began)) })
		}()
		at := func(offset time.Duration) {
			time.Sleep(time.Until(began.Add(offset)))
			synctest.Wait()
		}
		want := func(when string, times ...time.Duration) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(freed, times) {
				t.Errorf("%s: freed at %v, want %v", when, freed, times)
			}
		}
		at(time.Hour)
		want("without a change")
		for second := range 5 {
			changed.wake()
			at(time.Hour + time.Duration(second+1)*time.Second)
		}
		at(time.Hour + 15*time.Second)
		first := time.Hour + restAfter
		want("after a start", first)
		changed.wake()
		at(first + restPause - time.Second)
		want("a change soon after", first)
		at(2 * time.Hour)
		want("a change soon after, later", first, first+restPause)
		cancel()
		<-ended
	})
}
