package tunnel

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A relay that is being connected to is asked again; one that is not there
// costs no more than the limit.
func TestAskRelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir())
		if asked, err := r.AskRelay(t.Context()); asked || err != nil {
			t.Errorf("without a data plane: %v, %v", asked, err)
		}
		end := r.until()
		r.waitState(Connected)
		absent := errors.New("no connection to it")
		e := r.engine()
		for name, test := range map[string]struct {
			comes, took time.Duration
			want        error
		}{
			"there": {0, 0, nil}, "comes": {900 * time.Millisecond, time.Second, nil}, "absent": {time.Minute, relayAskTimeout, absent},
		} {
			e.do(func() { e.homeless = absent })
			timer := time.AfterFunc(test.comes, func() { e.do(func() { e.homeless = nil }) })
			synctest.Wait()
			began := time.Now()
			if asked, err := r.AskRelay(t.Context()); !asked || !errors.Is(err, test.want) || time.Since(began) != test.took {
				t.Errorf("%s: %v, %v after %v", name, asked, err, time.Since(began))
			}
			timer.Stop()
		}
		if err := end(nil); err != nil {
			t.Error(err)
		}
	})
}
