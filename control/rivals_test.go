package control

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// Two programs with one identity leave each other half a minute, once they
// have taken each other's place a few times.
func TestRivalsDoNotFightForEver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		network, p := newPipes(), &plane{}
		var overwrite chan struct{} // of the connection that is there
		taken := 0
		turn := make(chan struct{}, 1)
		p.coordinate = func(_ int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
			turn <- struct{}{}
			if overwrite != nil {
				close(overwrite)
				taken++
			}
			mine := make(chan struct{})
			overwrite = mine
			<-turn
			select {
			case <-mine:
				return stream.Send(&tailnetv2.CoordinateResponse{Error: replacedText})
			case <-stream.Context().Done():
				return nil
			}
		}
		heard := [2]reports{}
		dialer := serve(t, p, network)
		stops := []func(){run(t, userLoop(dialer, &data{}, &heard[0])), run(t, userLoop(dialer, &data{}, &heard[1]))}
		count := func() int { turn <- struct{}{}; defer func() { <-turn }(); return taken }
		time.Sleep(45 * time.Second)
		synctest.Wait()
		first := count()
		if first < 3 || first > 2*rivalSpared+3 {
			t.Errorf("%d takeovers in the first 45 s", first)
		}
		time.Sleep(10 * time.Minute)
		if more := count() - first; more < 15 || more > 25 {
			t.Errorf("%d takeovers in ten more minutes, want one in half a minute", more)
		}
		for i := range heard {
			var said bool
			for _, report := range heard[i].all() {
				said = said || errors.Is(report.err, ErrReplaced)
			}
			if !said {
				t.Errorf("program %d never heard why", i)
			}
		}
		for _, stop := range stops {
			stop()
		}
	})
}

// One that is replaced now and then, by a dial of its own that came late or by
// a program that ends, is back at once each time; a drop is no replacement.
func TestReplacedOnceIsBackAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, end := &plane{}, make(chan struct{})
		p.coordinate = func(_ int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
			select {
			case <-end:
				return stream.Send(&tailnetv2.CoordinateResponse{Error: replacedText})
			case <-stream.Context().Done():
				return nil
			}
		}
		stop := run(t, userLoop(serve(t, p, newPipes()), &data{}, &reports{}))
		back := func(what string) {
			t.Helper()
			began := time.Now()
			time.Sleep(2 * time.Second)
			dials := p.seen()
			// A session that the far side ended waits a moment for its last words.
			if gap := dials[len(dials)-1].at.Sub(began); gap < 0 || gap > 10*backoffFloor {
				t.Errorf("%s: the next dial came after %v", what, gap)
			}
		}
		for range 3 {
			for range rivalSpared {
				time.Sleep(time.Second)
				end <- struct{}{}
				back("replaced")
			}
			for range 5 {
				time.Sleep(time.Second)
				p.drop()
				back("dropped")
			}
			time.Sleep(rivalWindow)
		}
		stop()
	})
}
