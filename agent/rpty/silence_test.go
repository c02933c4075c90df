package rpty

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSilentViewers: who gives signs of life and then none is a viewer no more;
// who has never given any, as other clients, stays.
func TestSilentViewers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		quiet, gone := s.attach(initial{ID: id(1)}), s.attach(initial{ID: id(1)})
		defer quiet.Close()
		defer gone.Close()
		viewers := func() int {
			synctest.Wait()
			return s.List()[0].Viewers
		}
		for range 10 {
			gone.send(message{})
			time.Sleep(silenceLimit - time.Second)
			if viewers() != 2 {
				t.Fatal("given up although it gives signs")
			}
		}
		time.Sleep(2 * time.Second)
		if viewers() != 1 {
			t.Errorf("%d viewers", viewers())
		}
		time.Sleep(time.Hour)
		if viewers() != 1 {
			t.Error("a client that sends no signs is given up")
		}
	})
}
