package tunnel

import (
	"testing"
	"time"
)

// The relays of the map stand in the report, with what was measured of them.
func TestMeasureNetwork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := barePlane()
		network := servePipes(t, p)
		r := newBubbleRig(t, p, network, t.TempDir())
		if _, measured := r.MeasureNetwork(t.Context()); measured {
			t.Error("measured without a data plane")
		}
		end := r.until()
		r.waitState(Connected)
		report, measured := r.MeasureNetwork(t.Context())
		if !measured || !report.UDP || len(report.Relays) == 0 {
			t.Fatalf("%+v, %v", report, measured)
		}
		for _, relay := range report.Relays {
			if want := map[int]time.Duration{999: time.Millisecond}[relay.RegionID]; relay.Latency != want {
				t.Errorf("%+v, want %v", relay, want)
			}
		}
		if err := end(nil); err != nil {
			t.Error(err)
		}
	})
}
