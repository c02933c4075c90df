package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

// userLoop is a loop as the desktop runs it.
func userLoop(dialer *Dialer, coordinatee Coordinatee, heard *reports) *Loop {
	return &Loop{
		Dialer: dialer, Coordinatee: coordinatee, Connected: heard.hear, OwnerID: uuid.New(),
		RelayMap:   func(proto.RelayMap) {},
		Workspaces: func(*workspace.State, workspace.Diff) error { return nil },
	}
}

func TestDialSendsVersionTokenAndHeaders(t *testing.T) {
	p := &plane{}
	dialer := serve(t, p, nil)
	dialer.Version = proto.V23
	dialer.Header = http.Header{"X-Extra": {"yes"}}
	conn, err := dialer.Dial(t.Context(), "resume me")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	got := p.seen()[0]
	if got.path != UserPath || got.query.Get("version") != "2.3" || got.query.Get("resume_token") != "resume me" {
		t.Errorf("asked for %s?%s", got.path, got.query.Encode())
	}
	if got.head.Get(TokenHeader) != "secret-session" || got.head.Get("X-Extra") != "yes" {
		t.Errorf("headers %v", got.head)
	}
}

func TestDialRejections(t *testing.T) {
	tests := []struct {
		name      string
		status    int
		body      string
		want      []string
		signedOut bool
	}{
		{"version", 400, `{"message":"Unknown or unsupported API version","validations":[{"field":"version","detail":"behind"}]}`,
			[]string{"HTTP 400", "Unknown or unsupported API version", "version: behind", "must match"}, false},
		{"token", 401, `{"message":"no session","detail":"sign in"}`, []string{"HTTP 401", "no session", "sign in"}, true},
		{"resume token", 401, `{"message":"Invalid resume token","validations":[{"field":"resume_token","detail":"old"}]}`, []string{"Invalid resume token"}, false},
		{"not JSON", 502, `<html>`, []string{"HTTP 502", "Bad Gateway"}, false},
		{"wrong JSON", 409, `[1]`, []string{"HTTP 409", "Conflict"}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dialer := serve(t, &plane{reject: func(int, *http.Request) (int, string) { return test.status, test.body }}, nil)
			_, err := dialer.Dial(t.Context(), "resume-secret")
			var rejected *DialError
			if !errors.As(err, &rejected) || rejected.Status != test.status {
				t.Fatalf("got %v", err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q is not in %q", part, err)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("a secret shows in %q", err)
			}
			if errors.Is(err, ErrSignedOut) != test.signedOut {
				t.Errorf("signed out: %v, want %v", !test.signedOut, test.signedOut)
			}
		})
	}
}

func TestDialErrorHidesTokens(t *testing.T) {
	dialer := serve(t, &plane{}, nil)
	dialer.URL.Host = "127.0.0.1:1"
	_, err := dialer.Dial(t.Context(), "resume-secret")
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Fatalf("got %v", err)
	}
}

func TestDialRefusesRedirectElsewhere(t *testing.T) {
	other := &plane{}
	elsewhere := serve(t, other, nil)
	p := &plane{}
	dialer := serve(t, p, nil)
	redirecting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL.String()+"/api/v2/tailnet", http.StatusTemporaryRedirect)
	})
	server := newServer(t, redirecting)
	dialer.URL = server
	if _, err := dialer.Dial(t.Context(), ""); err == nil {
		t.Fatal("the redirect was followed")
	}
	if len(other.seen()) != 0 {
		t.Error("the other host saw a request")
	}
}

func TestBackoffBounds(t *testing.T) {
	var b backoff
	bound := 2 * backoffFloor
	for range 12 {
		for range 20 {
			probe := b
			if wait := probe.next(0); wait < backoffFloor || wait > bound {
				t.Fatalf("wait %v outside %v..%v", wait, backoffFloor, bound)
			}
		}
		b.next(0)
		bound = min(2*bound, backoffCeiling)
	}
	if wait := b.next(time.Minute); wait != backoffFloor {
		t.Errorf("after a dial of a minute the wait is %v", wait)
	}
}

// The loop survives every kind of failure, each dial within the bound of the
// last, and comes back at once after a drop.
func TestLoopRetriesForever(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &plane{reject: func(dial int, _ *http.Request) (int, string) {
			if dial <= 20 {
				return []int{500, 404, 409, 400, 503}[dial%5], `{"message":"no"}`
			}
			return 0, ""
		}}
		heard := &reports{}
		dialer := serve(t, p, newPipes())
		stop := run(t, userLoop(dialer, &data{}, heard))
		time.Sleep(4 * time.Minute)
		dials := p.seen()
		if len(dials) != 21 || heard.ups() != 1 {
			t.Fatalf("%d dials, %d connections", len(dials), heard.ups())
		}
		for i := 1; i < len(dials); i++ {
			if gap := dials[i].at.Sub(dials[i-1].at); gap < backoffFloor || gap > backoffCeiling+time.Second {
				t.Errorf("dial %d came after %v", i+1, gap)
			}
		}
		for range 50 {
			before := time.Now()
			p.drop()
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
			dials = p.seen()
			if gap := dials[len(dials)-1].at.Sub(before); gap < 0 || gap > 2*backoffFloor+time.Millisecond {
				t.Fatalf("redial %v after a drop", gap)
			}
		}
		stop()
	})
}

func TestBlackholeIsNoticedAndLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		network, p, heard := newPipes(), &plane{}, &reports{}
		run(t, userLoop(serve(t, p, network), &data{}, heard))
		time.Sleep(time.Minute)
		if heard.ups() != 1 {
			t.Fatalf("connections: %+v", heard.all())
		}
		network.setBlack(true)
		began := time.Now()
		time.Sleep(pingInterval + pingTimeout + time.Millisecond)
		synctest.Wait()
		list := heard.all()
		last := list[len(list)-1]
		if down := last.at.Sub(began); last.connected || down > 10*time.Second || last.err == nil {
			for _, one := range list {
				t.Logf("%+v", one)
			}
			t.Fatal("the silence was not noticed within 10 s")
		}
		time.Sleep(25 * time.Second)
		network.setBlack(false)
		began = time.Now()
		time.Sleep(dialTimeout + backoffCeiling)
		synctest.Wait()
		if heard.ups() != 2 {
			t.Fatalf("not back %v after the network came back", time.Since(began))
		}
		p.hangUp()
	})
}

// TestKicksThatNeverEnd: a network that changes all the time does not end every
// dial of a slow path.
func TestKicksThatNeverEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		network, p, heard := newPipes(), &plane{}, &reports{}
		p.setReject(func(int, *http.Request) (int, string) {
			time.Sleep(2 * time.Second) // a slow answer, and no refusal
			return 0, ""
		})
		loop := userLoop(serve(t, p, network), &data{}, heard)
		run(t, loop)
		for range 20 {
			time.Sleep(400 * time.Millisecond)
			loop.Kick()
		}
		synctest.Wait()
		if heard.ups() == 0 {
			t.Fatal("no dial was let finish")
		}
		p.hangUp()
	})
}

// TestProbeShortensAPingUnderWay: a ping that was sent just before the network
// changed does not delay the notice by its whole patience.
func TestProbeShortensAPingUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		network, p, heard := newPipes(), &plane{}, &reports{}
		loop := userLoop(serve(t, p, network), &data{}, heard)
		run(t, loop)
		time.Sleep(pingInterval - 100*time.Millisecond)
		network.setBlack(true)
		time.Sleep(200 * time.Millisecond) // the ping has been sent, and has 5 s
		loop.Kick()
		time.Sleep(probeTimeout + 300*time.Millisecond)
		synctest.Wait()
		if list := heard.all(); list[len(list)-1].connected {
			t.Fatal("the ping under way kept its whole patience")
		}
		network.setBlack(false)
		p.hangUp()
	})
}

func TestKickCutsEverythingShort(t *testing.T) {
	bubble(t, func(t *testing.T) {
		network, p, heard := newPipes(), &plane{}, &reports{}
		loop := userLoop(serve(t, p, network), &data{}, heard)
		network.setBlack(true)
		run(t, loop)
		time.Sleep(3 * time.Second) // inside a dial that hangs
		network.setBlack(false)
		loop.Kick()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if heard.ups() != 1 {
			t.Fatal("a kick did not replace a dial that hangs")
		}
		time.Sleep(time.Second)
		network.setBlack(true)
		loop.Kick()
		time.Sleep(probeTimeout + 300*time.Millisecond)
		synctest.Wait()
		if list := heard.all(); list[len(list)-1].connected {
			t.Fatal("a kick did not probe the connection")
		}
		p.setReject(func(int, *http.Request) (int, string) { return 401, `{"message":"who?"}` })
		network.setBlack(false)
		time.Sleep(20 * time.Second)
		p.setReject(nil)
		loop.Kick()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if heard.ups() != 2 {
			t.Fatal("a kick did not cut the wait of a signed-out loop short")
		}
		p.hangUp()
	})
}

func TestSignedOutIsReportedAndRetriedSlowly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &plane{reject: func(int, *http.Request) (int, string) { return 401, `{"message":"who?"}` }}
		heard := &reports{}
		stop := run(t, userLoop(serve(t, p, newPipes()), &data{}, heard))
		time.Sleep(5 * time.Minute)
		stop()
		if n := len(p.seen()); n < 9 || n > 11 {
			t.Errorf("%d dials in 5 minutes", n)
		}
		if list := heard.all(); !errors.Is(list[0].err, ErrSignedOut) {
			t.Errorf("reported %v", list[0].err)
		}
	})
}

// A connection that the control plane ends with an error at once does not
// reset the backoff.
func TestRejectedSessionsBackOff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &plane{coordinate: func(_ int, stream tailnetv2.DRPCTailnet_CoordinateStream) error {
			return stream.Send(&tailnetv2.CoordinateResponse{Error: "authorization: no"})
		}}
		stop := run(t, userLoop(serve(t, p, newPipes()), &data{}, &reports{}))
		time.Sleep(5 * time.Minute)
		stop()
		if n := len(p.seen()); n > 100 || n < 30 {
			t.Errorf("%d dials in 5 minutes", n)
		}
	})
}

func TestResumeToken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := &plane{}
		p.refresh = func(dial int) (*tailnetv2.RefreshResumeTokenResponse, error) {
			return &tailnetv2.RefreshResumeTokenResponse{
				Token: fmt.Sprint("token-", dial), RefreshIn: durationpb.New(time.Hour), ExpiresAt: timestamppb.New(time.Now().Add(2 * time.Hour)),
			}, nil
		}
		p.reject = func(dial int, r *http.Request) (int, string) {
			if dial == 3 {
				return 401, `{"message":"Invalid resume token","validations":[{"field":"resume_token","detail":"x"}]}`
			}
			return 0, ""
		}
		var saved []ResumeToken
		loop := userLoop(serve(t, p, newPipes()), &data{}, &reports{})
		loop.Resume = ResumeToken{Token: "from-disk", Expires: time.Now().Add(time.Hour)}
		loop.ResumeChanged = func(token ResumeToken) { saved = append(saved, token) }
		stop := run(t, loop)
		time.Sleep(90 * time.Minute) // one refresh later
		p.drop()
		time.Sleep(time.Second)
		p.drop() // the next dial is refused, and the one after goes without
		time.Sleep(time.Second)
		p.drop()
		time.Sleep(time.Second)
		stop()
		var sent []string
		for _, dial := range p.seen() {
			sent = append(sent, dial.query.Get("resume_token"))
		}
		if got, want := fmt.Sprint(sent), "[from-disk token-1 token-2  token-4]"; got != want {
			t.Errorf("sent %s, want %s", got, want)
		}
		if len(saved) != 5 {
			t.Errorf("%d tokens were saved", len(saved))
		}
		if text := fmt.Sprintf("%v %+v %#v", saved[0], saved[0], saved[0]); strings.Contains(text, "token-1") {
			t.Errorf("the token shows in %q", text)
		}
	})
}

func TestResumeTokenExpiryAndSupersession(t *testing.T) {
	now := time.Now()
	store := resumeStore{token: ResumeToken{Token: "a", Expires: now}}
	if store.usable(now) != "a" {
		t.Error("not usable at the very instant of its end")
	}
	if store.usable(now.Add(time.Nanosecond)) != "" {
		t.Error("usable after its end")
	}
	older, newer := store.begin(), store.begin()
	store.set(newer, ResumeToken{Token: "new", Expires: now})
	store.set(older, ResumeToken{Token: "late", Expires: now})
	if store.usable(now) != "new" {
		t.Error("a late answer on an older connection won")
	}
	store.dialed(context.DeadlineExceeded)
	if store.usable(now) == "" {
		t.Error("a dial that failed otherwise took the token away")
	}
}
