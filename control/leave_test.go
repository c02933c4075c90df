package control

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// TestLeave says goodbye once, while Extra goes on over the same connection and
// over the next one, on which there is no coordination.
func TestLeave(t *testing.T) {
	var coordinations, goodbyes, extras atomic.Int32
	p := &plane{coordinate: func(_ int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
		coordinations.Add(1)
		for {
			request, err := stream.Recv()
			if err != nil {
				return nil
			}
			if request.GetDisconnect() != nil {
				goodbyes.Add(1)
				return nil
			}
		}
	}}
	var heard reports
	ended := make(chan struct{}, 2)
	l := &Loop{
		Dialer: serve(t, p, nil), Coordinatee: &data{}, RelayMap: func(proto.RelayMap) {}, Connected: heard.hear,
		Extra: func(ctx context.Context, _ *Conn) error {
			extras.Add(1)
			<-ctx.Done()
			ended <- struct{}{}
			return ctx.Err()
		},
	}
	stop := run(t, l)
	eventually(t, "a connection", func() bool { return heard.ups() == 1 })
	started := time.Now()
	l.Leave(t.Context())
	if took := time.Since(started); goodbyes.Load() != 1 || took >= graceful {
		t.Fatalf("%d goodbyes after %s", goodbyes.Load(), took)
	}
	l.Leave(t.Context()) // nothing more to say
	select {
	case <-ended:
		t.Fatal("Extra ended")
	case <-time.After(4 * backoffFloor):
	}
	p.drop()
	eventually(t, "the next connection", func() bool { return heard.ups() == 2 && extras.Load() == 2 })
	stop()
	if coordinations.Load() != 1 || goodbyes.Load() != 1 {
		t.Errorf("%d coordinations, %d goodbyes", coordinations.Load(), goodbyes.Load())
	}
}

func TestLeaveWithoutConnection(t *testing.T) {
	bubble(t, func(t *testing.T) {
		network := newPipes()
		p := &plane{reject: func(int, *http.Request) (int, string) { return http.StatusServiceUnavailable, "{}" }}
		l := &Loop{Dialer: serve(t, p, network), Coordinatee: &data{}}
		stop := run(t, l)
		time.Sleep(time.Second)
		started := time.Now()
		l.Leave(t.Context())
		if took := time.Since(started); took != 0 {
			t.Errorf("took %s", took)
		}
		stop()
	})
}

// TestLeaveIsBounded: a control plane that does not hang up costs the graceful
// second, or what is left of the caller's time.
func TestLeaveIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &plane{coordinate: func(_ int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
			<-stream.Context().Done()
			return nil
		}}
		var heard reports
		l := &Loop{Dialer: serve(t, p, newPipes()), Coordinatee: &data{}, Connected: heard.hear}
		stop := run(t, l)
		time.Sleep(time.Second)
		if heard.ups() != 1 {
			t.Fatalf("not connected: %v", heard.all())
		}
		for _, limit := range []time.Duration{100 * time.Millisecond, time.Hour} {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			started := time.Now()
			l.Leave(ctx)
			cancel()
			if took := time.Since(started); took != min(limit, graceful) {
				t.Errorf("took %s", took)
			}
		}
		stop()
	})
}

func TestWish(t *testing.T) {
	refusal := `{"message": "Unknown or unsupported API version", "validations": [{"field": "version", "detail": "behind requested minor version"}]}`
	tests := []struct {
		name   string
		reject func(int, *http.Request) (int, string)
		asked  []string
	}{
		{"granted", nil, []string{"2.4"}},
		{"refused", func(_ int, r *http.Request) (int, string) {
			if r.URL.Query().Get("version") == "2.4" {
				return http.StatusBadRequest, refusal
			}
			return 0, ""
		}, []string{"2.4", "2.0"}},
		// Another refusal is none of the version.
		{"away", func(dial int, _ *http.Request) (int, string) {
			if dial == 1 {
				return http.StatusServiceUnavailable, "{}"
			}
			return 0, ""
		}, []string{"2.4", "2.4"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				refreshed := false
				p := &plane{reject: test.reject, refresh: func(int) (*tailnetv2.RefreshResumeTokenResponse, error) {
					refreshed = true
					return &tailnetv2.RefreshResumeTokenResponse{}, nil
				}}
				var heard reports
				l := &Loop{Dialer: serve(t, p, newPipes()), Coordinatee: &data{}, Connected: heard.hear, Wish: proto.V24}
				stop := run(t, l)
				time.Sleep(3 * time.Second)
				var asked []string
				for _, dial := range p.seen() {
					asked = append(asked, dial.query.Get("version"))
				}
				if len(asked) != len(test.asked) || asked[0] != test.asked[0] || asked[len(asked)-1] != test.asked[len(test.asked)-1] || heard.ups() != 1 {
					t.Errorf("asked for %v, want %v; %d connections", asked, test.asked, heard.ups())
				}
				// A wish is not what the loop's own controllers use.
				if refreshed {
					t.Error("a resume token was asked for")
				}
				stop()
			})
		})
	}
}

func TestBackoffFloor(t *testing.T) {
	floor := 100 * time.Millisecond
	b := backoff{floor: floor}
	for bound := floor; bound < 100*time.Second; bound *= 2 {
		if wait := b.next(0); wait < floor || wait > min(2*bound, backoffCeiling) {
			t.Errorf("waits %s, want %s to %s", wait, floor, min(2*bound, backoffCeiling))
		}
	}
	b.reset()
	if wait := b.next(time.Hour); wait != floor {
		t.Errorf("waits %s after a long attempt", wait)
	}
}
