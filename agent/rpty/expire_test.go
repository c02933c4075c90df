package rpty

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestLateExpiry: a timer that has fired just before somebody came, and went
// again, ends nothing: the time without viewers begins anew.
func TestLateExpiry(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := newStage(t, Config{})
		defer s.close()
		c := s.attach(initial{ID: id(1)})
		synctest.Wait()
		late := s.all()[0]
		late.expire()
		c.Close()
		synctest.Wait()
		late.expire()
		time.Sleep(DefaultIdle - time.Second)
		late.expire()
		if p := s.program(0); p.endings() != 0 || len(s.List()) != 1 {
			t.Errorf("ended too early")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if p := s.program(0); p.endings() == 0 || len(s.List()) != 0 {
			t.Errorf("not ended")
		}
	})
}
