package rpty

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
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

// TestLostViewers: a terminal waits for a viewer that went without a word, as that
// of a laptop which sleeps, for a day; for others, who closed their connections,
// it does not wait longer than it is told to.
func TestLostViewers(t *testing.T) {
	for name, test := range map[string]struct {
		idle time.Duration
		then func(s *stage) // after the loss, an hour later
		want time.Duration  // from the loss to the end
		said bool           // by the server, of a browser
	}{
		"a browser":                 {0, func(*stage) {}, lostLimit, true},
		"nobody comes":              {0, func(*stage) {}, lostLimit, false},
		"comes back, and leaves":    {0, func(s *stage) { s.attach(initial{ID: id(1)}).Close() }, time.Hour + DefaultIdle, false},
		"waits for longer anyway":   {48 * time.Hour, func(*stage) {}, 48 * time.Hour, false},
		"another watches meanwhile": {0, nil, lostLimit, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				s := newStage(t, Config{Idle: test.idle})
				defer s.close()
				lost, other := s.attach(initial{ID: id(1)}), s.attach(initial{ID: id(1)})
				defer lost.Close()
				if test.said {
					lost.send(message{Away: true})
					synctest.Wait()
					time.Sleep(silenceLimit)
					lost.Close()
				} else {
					lost.send(message{})
				}
				if test.then != nil {
					other.Close()
				}
				if !test.said {
					time.Sleep(silenceLimit)
				}
				synctest.Wait()
				at := time.Now()
				time.Sleep(time.Hour)
				if test.then != nil {
					test.then(s)
				} else {
					other.Close()
				}
				time.Sleep(time.Until(at.Add(test.want - time.Second)))
				synctest.Wait()
				if len(s.List()) != 1 {
					t.Fatalf("ended before %v", test.want)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if len(s.List()) != 0 {
					t.Errorf("not ended after %v", test.want)
				}
			})
		})
	}
}

// TestLostViewersMakeRoom: where there are as many terminals as may be, the one
// that has waited longest for a lost viewer ends for a new one; the others stay.
func TestLostViewersMakeRoom(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		for i := range maxSessions {
			c := s.attach(initial{ID: id(byte(i + 1))})
			defer c.Close()
			if i < 2 {
				c.send(message{})
				time.Sleep(time.Second) // the first is lost first
			}
		}
		late := func(number byte) (refused bool) {
			c := s.attach(initial{ID: id(number)})
			defer c.Close()
			synctest.Wait()
			text, ended := c.got()
			return ended && strings.Contains(text, "no more are allowed")
		}
		time.Sleep(silenceLimit + DefaultIdle - 10*time.Second)
		if !late(200) {
			t.Error("one ended that is not idle for long enough")
		}
		time.Sleep(20 * time.Second)
		if late(201) {
			t.Error("refused although there is one to end")
		}
		time.Sleep(endGrace + time.Second)
		there := map[uuid.UUID]bool{}
		for _, each := range s.List() {
			there[each.ID] = true
		}
		if len(there) != maxSessions || there[id(1)] || !there[id(2)] || !there[id(maxSessions)] || s.program(0).endings() == 0 || s.program(1).endings() != 0 {
			t.Errorf("%d terminals: %v", len(there), there)
		}
	})
}
