package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/server/coordinator"
	"github.com/causewayhq/causeway/server/store"
	tailnetsvc "github.com/causewayhq/causeway/server/tailnet"
)

func always(uuid.UUID) bool { return true }

// TestRetainSparesTheYoung: a token may have been made and used after the set of
// good ones was read.
func TestRetainSparesTheYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLive(always)
		read := time.Now()
		time.Sleep(time.Millisecond)
		stays, err := l.enter(t.Context(), store.Token{ID: "new"}, uuid.New())
		left, err2 := l.enter(t.Context(), store.Token{ID: "newer"}, uuid.New())
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		defer l.exit(stays)
		l.exit(left)
		if ended := l.retain(nil, read); len(ended) != 0 || stays.leave.Err() != nil || len(l.lost) != 1 {
			t.Errorf("ended %v, %v", ended, stays.cause())
		}
		if ended := l.retain(nil, time.Now()); len(ended) != 2 || stays.leave.Err() == nil {
			t.Errorf("later ended %v", ended)
		}
	})
}

// TestConnectionMadeWhileItsTokenIsRevoked: it was authenticated before, and is
// entered after the look that follows the revocation.
func TestConnectionMadeWhileItsTokenIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened, err := store.Open(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		logger := slog.New(slog.DiscardHandler)
		s := New(Config{Logger: logger, Store: opened, Coordinator: coordinator.New(logger)})
		ctx, stop := context.WithCancel(t.Context())
		swept := make(chan struct{})
		go func() { defer close(swept); s.sweep(ctx) }()
		defer func() { stop(); <-swept; s.Close(context.Background()) }()
		time.Sleep(time.Minute + time.Second) // after the start, and between two looks

		s.changed()
		entry, err := s.live.enter(t.Context(), store.Token{ID: "revoked"}, uuid.New())
		if err != nil {
			t.Fatal(err)
		}
		defer s.live.exit(entry)
		// 10 s are the limit, of which 2 s are for the peer to read why.
		time.Sleep(8 * time.Second)
		if !errors.Is(entry.cause(), errTokenEnded) {
			t.Errorf("8 s after the revocation: %v", entry.cause())
		}
	})
}

// TestWhoeverLeavesForGoodIsForgotten: they would take the places of the lost.
func TestWhoeverLeavesForGoodIsForgotten(t *testing.T) {
	lost := map[uuid.UUID]bool{}
	l := newLive(func(peer uuid.UUID) bool { return lost[peer] })
	for _, lingers := range []bool{true, false} {
		entry, err := l.enter(t.Context(), store.Token{ID: "a"}, uuid.New())
		if err != nil {
			t.Fatal(err)
		}
		lost[entry.peer] = lingers
		l.exit(entry)
	}
	if len(l.lost) != 1 {
		t.Errorf("%d remembered, want the lost one", len(l.lost))
	}
	clear(lost)
	if ended := l.retain(map[string]struct{}{"a": {}}, time.Now()); len(ended) != 0 || len(l.lost) != 0 {
		t.Errorf("ended %v; %d remembered that nobody serves", ended, len(l.lost))
	}
}

func TestRetainEndsExpired(t *testing.T) {
	l := newLive(always)
	at := time.Now()
	enter := func(id string, expires time.Time) *connection {
		entry, err := l.enter(t.Context(), store.Token{ID: id, ExpiresAt: expires}, uuid.New())
		if err != nil {
			t.Fatal(err)
		}
		return entry
	}
	stays, ends, left := enter("lasting", time.Time{}), enter("ending", at.Add(time.Minute)), enter("ending", at.Add(time.Minute))
	defer l.exit(stays)
	defer l.exit(ends)
	l.exit(left)
	both := map[string]struct{}{"lasting": {}, "ending": {}}
	if ended := l.retain(both, at); stays.leave.Err() != nil || ends.leave.Err() != nil || len(ended) != 0 {
		t.Errorf("ended too early: %v", ended)
	}
	ended := l.retain(both, at.Add(time.Minute))
	if stays.leave.Err() != nil || !errors.Is(ends.cause(), errTokenEnded) {
		t.Errorf("ended by %v and %v", stays.cause(), ends.cause())
	}
	// The one that has left before is named too: partners may still serve it.
	if len(ended) != 2 || !slices.Contains(ended, ends.peer) || !slices.Contains(ended, left.peer) {
		t.Errorf("ended %v, want %s and %s", ended, ends.peer, left.peer)
	}
}

// TestLostPeersAreRemembered with their token, until they come back or a day is over.
func TestLostPeersAreRemembered(t *testing.T) {
	l := newLive(always)
	first, second, peer := store.Token{ID: "first"}, store.Token{ID: "second"}, uuid.New()
	connect := func(token store.Token) *connection {
		entry, err := l.enter(t.Context(), token, peer)
		if err != nil {
			t.Fatal(err)
		}
		return entry
	}
	onlySecond := map[string]struct{}{"second": {}}
	old := connect(first)
	fresh := connect(second)
	l.exit(old)
	if ended := l.retain(onlySecond, time.Now()); len(ended) != 0 {
		t.Error("the end of an older token ends a peer that has come back with another")
	}
	l.exit(fresh)
	if ended := l.retain(map[string]struct{}{}, time.Now()); len(ended) != 1 {
		t.Error("a lost peer outlives its token")
	}
	l.exit(connect(second))
	if ended := l.retain(onlySecond, time.Now().Add(tailnetsvc.ResumeLife+time.Minute)); len(ended) != 0 || len(l.lost) != 0 {
		t.Errorf("ended %v, %d remembered", ended, len(l.lost))
	}
}

func TestConnectionsOfOneHolderAreLimited(t *testing.T) {
	l := newLive(always)
	greedy, other := store.Token{ID: "a", UserID: uuid.New()}, store.Token{ID: "b", UserID: uuid.New()}
	var open []*connection
	for range connectionLimit {
		entry, err := l.enter(t.Context(), greedy, uuid.New())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, entry)
	}
	var rejection *RejectionError
	if _, err := l.enter(t.Context(), greedy, uuid.New()); !errors.As(err, &rejection) || rejection.status != http.StatusTooManyRequests || rejection.retry != returnLimit {
		t.Errorf("one too many: %v, %v", err, rejection)
	}
	if entry, err := l.enter(t.Context(), other, uuid.New()); err != nil {
		t.Errorf("somebody else: %v", err)
	} else {
		l.exit(entry)
	}
	l.exit(open[0])
	entry, err := l.enter(t.Context(), greedy, uuid.New())
	if err != nil {
		t.Fatalf("after one has left: %v", err)
	}
	for _, each := range append(open[1:], entry) {
		l.exit(each)
	}
	if len(l.holders) != 0 || len(l.peers) != 0 || len(l.connections) != 0 {
		t.Errorf("left: %v, %v, %d", l.holders, l.peers, len(l.connections))
	}
}

var hint = regexp.MustCompile(`^server is shutting down; retry after (\S+)$`)

// TestDrainSpreadsTheReturn looks at what each of many connections is told.
func TestDrainSpreadsTheReturn(t *testing.T) {
	for count, want := range map[int]time.Duration{1: 0, 100: 500 * time.Millisecond, 1000: 5 * time.Second, 4000: returnLimit} {
		t.Run(strconv.Itoa(count), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLive(always)
				entries := make([]*connection, count)
				for i := range entries {
					var err error
					if entries[i], err = l.enter(t.Context(), store.Token{UserID: uuid.New()}, uuid.New()); err != nil {
						t.Fatal(err)
					}
				}
				drained := make(chan error, 1)
				go func() { drained <- l.drain(t.Context()) }()
				synctest.Wait()
				var times []time.Duration
				for _, entry := range entries {
					match := hint.FindStringSubmatch(entry.cause().Error())
					if match == nil {
						t.Fatalf("told %q", entry.cause())
					}
					wait, err := time.ParseDuration(match[1])
					if err != nil {
						t.Fatal(err)
					}
					times = append(times, wait)
					l.exit(entry)
				}
				if err := <-drained; err != nil {
					t.Error(err)
				}
				checkSpread(t, times, want)
				if _, err := l.enter(t.Context(), store.Token{}, uuid.New()); err == nil {
					t.Error("a connection after the drain")
				}
			})
		})
	}
}

// checkSpread holds that times fill a window evenly: no tenth of a second has
// more than its share, with some room for chance.
func checkSpread(t *testing.T, times []time.Duration, window time.Duration) {
	t.Helper()
	bins := map[time.Duration]int{}
	for _, at := range times {
		bins[at/(100*time.Millisecond)]++
	}
	last := slices.Max(times)
	if last > window+window/10+10*time.Millisecond || last < window-window/5 {
		t.Errorf("the last comes back after %s, want %s", last, window)
	}
	share := max(float64(len(times))*0.1/max(window.Seconds(), 0.1), 1)
	for bin, count := range bins {
		if float64(count) > share*1.25+2 {
			t.Errorf("%d of %d come back in the tenth of a second after %s, want %.0f", count, len(times), bin*100*time.Millisecond, share)
		}
	}
}

// TestShutdownTellsConnections: the coordination stream says why and when to
// come back, and so does the websocket; later upgrades are refused with a time.
func TestShutdownTellsConnections(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	idle, _, err := r.dial(tailnetPath, alice.token)
	if err != nil {
		t.Fatal(err)
	}
	_, agentClient := r.open(agentPath, alice.agentKey)
	agent := r.coordinate(agentClient)
	if err := agent.Send(announce(t, proto.AddrFromUUID(proto.ServicePrefix, alice.agent.ID))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "agent connected", func() bool { return r.api.config.Coordinator.Node(alice.agent.ID) != nil })
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- r.api.Close(context.Background()) }()
	told, err := agent.Recv()
	if err != nil || !hint.MatchString(told.GetError()) {
		t.Errorf("agent was told %v, %v", told, err)
	}
	if _, err := agent.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("then: %v", err)
	}
	agentClient.Close() // as clients do once they are told
	if code, reason := closeStatus(t, idle); code != websocket.StatusGoingAway || !hint.MatchString(reason) {
		t.Errorf("closed with %v %q", code, reason)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %s", took)
	}
	_, response, err := r.dial(tailnetPath, alice.token)
	if err == nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("dialled after the shutdown: %v, %v", response, err)
	}
	defer response.Body.Close()
	if wait, err := strconv.Atoi(response.Header.Get("Retry-After")); err != nil || wait < 1 || wait > 10 {
		t.Errorf("retry after %q", response.Header.Get("Retry-After"))
	}
}

// TestRevocationIsTold: the stream of the peer, its partner's, and the relay's policy.
func TestRevocationIsTold(t *testing.T) {
	for name, lost := range map[string]bool{"connected": false, "lost before": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			alice := r.person("alice")
			_, agentClient := r.open(agentPath, alice.agentKey)
			agent := r.coordinate(agentClient)
			if err := agent.Send(announce(t, proto.AddrFromUUID(proto.ServicePrefix, alice.agent.ID))); err != nil {
				t.Fatal(err)
			}
			_, client := r.open(tailnetPath, alice.token)
			stream := r.coordinate(client)
			request := announce(t, proto.AddrFromUUID(proto.ServicePrefix, uuid.New()))
			request.AddTunnel = addTunnel(alice.agent.ID).GetAddTunnel()
			if err := stream.Send(request); err != nil {
				t.Fatal(err)
			}
			heard := func(want tailnetv2.CoordinateResponse_PeerUpdate_Kind) {
				t.Helper()
				overdue := time.AfterFunc(10*time.Second, func() { agentClient.Close() })
				defer overdue.Stop()
				response, err := agent.Recv()
				if err != nil || len(response.GetPeerUpdates()) != 1 || response.GetPeerUpdates()[0].GetKind() != want {
					t.Fatalf("agent heard %v, %v, want %s", response, err, want)
				}
			}
			heard(tailnetv2.CoordinateResponse_PeerUpdate_NODE)
			if lost {
				client.Close()
				heard(tailnetv2.CoordinateResponse_PeerUpdate_LOST)
				eventually(t, "connection over", func() bool { return r.api.live.count() == 1 })
			}
			if status, body := r.call("DELETE", "/api/v2/users/me/keys/"+alice.tokenID, alice.token, ""); status != 204 {
				t.Fatalf("%d %v", status, body)
			}
			heard(tailnetv2.CoordinateResponse_PeerUpdate_DISCONNECTED)
			if lost {
				return
			}
			for {
				response, err := stream.Recv()
				if err != nil {
					t.Fatalf("ended without a word: %v", err)
				}
				if response.GetError() != "" {
					if response.GetError() != errTokenEnded.Text {
						t.Errorf("told %q", response.GetError())
					}
					return
				}
			}
		})
	}
}
