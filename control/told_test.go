package control

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func TestHints(t *testing.T) {
	reasons := map[string]time.Duration{
		"server is shutting down; retry after 1.7s":    1700 * time.Millisecond,
		"server is shutting down; retry after 1ns":     hintFloor,
		"server is shutting down; retry after 0s":      hintFloor,
		"server is shutting down; retry after 1000h":   hintCeiling,
		"server is shutting down; retry after -3s":     0,
		"server is shutting down; retry after soon":    0,
		"server is shutting down; retry after 1s, ok?": 0,
		"server is shutting down; retry after ":        0,
		"server is shutting down":                      0,
		"":                                             0,
	}
	for reason, want := range reasons {
		if got := hintOf(reason); got != want {
			t.Errorf("%q: %v, want %v", reason, got, want)
		}
	}
	headers := map[string]time.Duration{
		"3": 3 * time.Second, "0": time.Second, "36000": hintCeiling, "99999999999999999999999": hintCeiling,
		"-1": 0, "soon": 0, "1.5": 0, "Wed, 21 Oct 2026 07:28:00 GMT": 0, "": 0,
	}
	for text, want := range headers {
		if got := retryAfter(http.Header{"Retry-After": {text}}); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestForeignTextsArePrintable(t *testing.T) {
	got := told("a\x1b[31m\nb\xff" + strings.Repeat("ü", 5000)).Error()
	if !strings.HasPrefix(got, "control plane says: a [31m b") || len(got) > toldLimit+30 || strings.ContainsAny(got, "\x1b\n") || !utf8.ValidString(got) {
		t.Errorf("got %q", got)
	}
	if err := (&DialError{URL: "u", Status: 400, Message: "x\x1b" + strings.Repeat("y", 5000)}); len(err.Error()) > toldLimit+100 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("got %q", err.Error())
	}
}

// lastErr is what the newest report said.
func (r *reports) lastErr() string {
	list := r.all()
	if len(list) == 0 || list[len(list)-1].err == nil {
		return ""
	}
	return list[len(list)-1].err.Error()
}

// A server that shuts down says when to come back: to the very instant, shown
// with its own words, logged once; and the hint grows no backoff.
func TestDrainHintIsHonoured(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, heard, lines := &plane{}, &reports{}, &journal{}
		loop := userLoop(serve(t, p, newPipes()), &data{}, heard)
		loop.Logger = slog.New(lines)
		stop := run(t, loop)
		for round := range 10 {
			time.Sleep(time.Second)
			began := time.Now()
			p.end(websocket.StatusGoingAway, "server is shutting down; retry after 1.7s")
			synctest.Wait()
			if want := "control plane says: server is shutting down; retry after 1.7s"; heard.lastErr() != want {
				t.Fatalf("heard %q, want %q", heard.lastErr(), want)
			}
			if n := lines.count(slog.LevelWarn, "shutting down"); n != round+1 {
				t.Errorf("logged %d times after %d ends", n, round+1)
			}
			time.Sleep(2 * time.Second)
			dials := p.seen()
			if len(dials) != round+2 || dials[round+1].at.Sub(began) != 1700*time.Millisecond {
				t.Fatalf("round %d: %d dials, the last %v after the end", round, len(dials), dials[len(dials)-1].at.Sub(began))
			}
		}
		// A kick does not wait.
		p.end(websocket.StatusGoingAway, "server is shutting down; retry after 9s")
		synctest.Wait()
		loop.Kick()
		synctest.Wait()
		if len(p.seen()) != 12 {
			t.Error("a kick did not cut the hinted wait short")
		}
		// A drop after all this meets a backoff that never grew.
		time.Sleep(time.Second)
		began := time.Now()
		p.drop()
		time.Sleep(time.Second)
		dials := p.seen()
		if gap := dials[len(dials)-1].at.Sub(began); gap > 2*backoffFloor+time.Millisecond {
			t.Errorf("after a drop it took %v", gap)
		}
		stop()
	})
}

// The streams may end before the close frame with the reason comes.
func TestReasonThatComesAfterTheStreamsIsFound(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p, heard := &plane{}, &reports{}
		end := make(chan struct{})
		p.coordinate = func(dial int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
			if dial == 1 {
				<-end
				return nil
			}
			<-stream.Context().Done()
			return nil
		}
		stop := run(t, userLoop(serve(t, p, newPipes()), &data{}, heard))
		time.Sleep(time.Second)
		close(end)
		time.Sleep(20 * time.Millisecond)
		began := time.Now()
		p.end(websocket.StatusGoingAway, "server is shutting down; retry after 5s")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		list := heard.all()
		if len(list) != 3 || list[1].err == nil || !strings.Contains(list[1].err.Error(), "shutting down") || p.seen()[1].at.Sub(began) != 5*time.Second {
			t.Errorf("heard %+v", list)
		}
		stop()
	})
}

// Hostile hints neither stop the loop nor make it spin.
func TestHostileHints(t *testing.T) {
	tests := []struct {
		reason   string
		min, max time.Duration
	}{
		{"bye; retry after 1000h", hintCeiling, hintCeiling},
		{"bye; retry after 1ns", hintFloor, hintFloor},
		{"bye; retry after -1h", backoffFloor, 2 * backoffFloor},
		{"bye; retry after NaN", backoffFloor, 2 * backoffFloor},
		{"", backoffFloor, 2 * backoffFloor},
	}
	for _, test := range tests {
		bubble(t, func(t *testing.T) {
			p := &plane{}
			stop := run(t, userLoop(serve(t, p, newPipes()), &data{}, &reports{}))
			time.Sleep(time.Second)
			began := time.Now()
			p.end(websocket.StatusGoingAway, test.reason)
			time.Sleep(20 * time.Second)
			synctest.Wait()
			dials := p.seen()
			if len(dials) < 2 {
				t.Fatalf("%q: never dialled again", test.reason)
			}
			if gap := dials[1].at.Sub(began); gap < test.min || gap > test.max {
				t.Errorf("%q: dialled after %v, want %v to %v", test.reason, gap, test.min, test.max)
			}
			stop()
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &plane{header: http.Header{"Retry-After": {"4"}}}
		p.reject = func(dial int, _ *http.Request) (int, string) {
			switch {
			case dial <= 20:
				return http.StatusServiceUnavailable, `{"message":"The server is shutting down."}`
			case dial == 21: // only this status carries a hint
				return http.StatusBadGateway, `{"message":"no"}`
			}
			return 0, ""
		}
		heard := &reports{}
		stop := run(t, userLoop(serve(t, p, newPipes()), &data{}, heard))
		time.Sleep(3 * time.Minute)
		dials := p.seen()
		if len(dials) != 22 {
			t.Fatalf("%d dials", len(dials))
		}
		spread := map[time.Duration]bool{}
		for i := 1; i <= 20; i++ {
			gap := dials[i].at.Sub(dials[i-1].at)
			if gap < 4*time.Second || gap > 5*time.Second {
				t.Errorf("dial %d came after %v", i+1, gap)
			}
			spread[gap] = true
		}
		if len(spread) < 10 {
			t.Error("clients that are told the same would come back together")
		}
		if gap := dials[21].at.Sub(dials[20].at); gap > 2*backoffFloor {
			t.Errorf("the hints grew the backoff: %v", gap)
		}
		if !strings.Contains(heard.all()[0].err.Error(), "HTTP 503: The server is shutting down.") {
			t.Errorf("heard %v", heard.all()[0].err)
		}
		stop()
	})
}

// What the coordinator says before it ends the stream is the reason of the
// end, logged once; the one error that ends nothing is a warning of its own.
func TestCoordinationErrorsAreTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const fatal, passing = "peer ID overwritten by new connection", `ready for handshake error: you do not share a tunnel with "x"`
		p, heard, lines := &plane{}, &reports{}, &journal{}
		p.coordinate = func(dial int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
			if dial > 1 {
				<-stream.Context().Done()
				return nil
			}
			_ = stream.Send(&tailnetv2.CoordinateResponse{Error: passing})
			time.Sleep(10 * time.Second)
			return stream.Send(&tailnetv2.CoordinateResponse{Error: fatal})
		}
		loop := userLoop(serve(t, p, newPipes()), &data{}, heard)
		loop.Logger = slog.New(lines)
		stop := run(t, loop)
		time.Sleep(9 * time.Second)
		if len(heard.all()) != 1 || lines.count(slog.LevelWarn, "ready for handshake") != 1 {
			t.Errorf("a refused acknowledgement: %+v", heard.all())
		}
		time.Sleep(10 * time.Second)
		stop()
		list := heard.all()
		var said *toldError
		if len(list) != 4 || !errors.As(list[1].err, &said) || said.Error() != "control plane says: "+fatal+"; another client or agent uses this identity" || !errors.Is(said, ErrReplaced) {
			t.Errorf("heard %+v", list)
		}
		if n := lines.count(slog.LevelDebug, fatal); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}
