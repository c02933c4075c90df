package api

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"
)

// storm lets clients come until each was taken, as they do: the first attempt
// at a time of first, then when they were asked to, and up to a second later.
// It gives the time that each was taken after.
func storm(t *testing.T, admit func() time.Duration, clients int, first func() time.Duration) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var taken []time.Duration
	began := time.Now()
	var group sync.WaitGroup
	for range clients {
		group.Go(func() {
			time.Sleep(first())
			for {
				wait := admit()
				if wait == 0 {
					mu.Lock()
					taken = append(taken, time.Since(began))
					mu.Unlock()
					return
				}
				// The header has whole seconds, rounded up.
				wait = (wait + time.Second - 1).Truncate(time.Second)
				time.Sleep(wait + rand.N(time.Second))
			}
		})
	}
	group.Wait()
	slices.Sort(taken)
	return taken
}

func gate(a *admission) func() time.Duration {
	return func() time.Duration { return a.admit(time.Now()) }
}

// gates is what stands before an upgrade, of a server that has just started.
func gates() *Server {
	return &Server{
		storm: newAdmission(time.Now()), holders: newBuckets[uuid.UUID](holderRate, holderBurst), accounts: newBuckets[uuid.UUID](accountRate, accountBurst),
	}
}

// wait is what somebody is told to wait, zero when it is taken.
func (s *Server) wait(holder, account uuid.UUID) time.Duration {
	var rejection *RejectionError
	if errors.As(s.admit(holder, account), &rejection) {
		return rejection.retry
	}
	return 0
}

// TestFleetOfOneAccount: 1,000 agents of one service account come back at once,
// after the server was killed and at the times that it told them when it was not.
func TestFleetOfOneAccount(t *testing.T) {
	for name, spread := range map[string]time.Duration{"killed": 50 * time.Millisecond, "told": window(1000)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, account := gates(), uuid.New()
				attempts := atomic.Int32{}
				admit := func() time.Duration { attempts.Add(1); return s.wait(uuid.New(), account) }
				taken := storm(t, admit, 1000, func() time.Duration { return rand.N(spread) })
				half, last := taken[500], taken[999]
				t.Logf("half back after %s, the last after %s, %d attempts", half, last, attempts.Load())
				if half > 7*time.Second || last > 13*time.Second {
					t.Errorf("half back after %s, the last after %s", half, last)
				}
			})
		})
	}
}

// TestRestartOfAHundredAgents of one user, beside a server that has been up for
// a while: nobody waits.
func TestRestartOfAHundredAgents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, account := gates(), uuid.New()
		time.Sleep(time.Minute)
		for i := range 100 {
			if wait := s.wait(uuid.New(), account); wait != 0 {
				t.Fatalf("agent %d is to wait %s", i, wait)
			}
		}
	})
}

// TestAgentsInALoopTakeNobodysPlace: fifty agents of one user dial without end,
// and take at most half of what the server takes.
func TestAgentsInALoopTakeNobodysPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, account := gates(), uuid.New()
		agents := make([]uuid.UUID, 50)
		for i := range agents {
			agents[i] = uuid.New()
		}
		const life = time.Minute
		taken := 0
		for tick := range int(life / (10 * time.Millisecond)) {
			for _, agent := range agents {
				if s.wait(agent, account) == 0 {
					taken++
				}
			}
			// One after the other, at a pace that the rest of the server has room for.
			if other := uuid.New(); tick > 500 && tick%2 == 0 && s.wait(other, other) != 0 {
				t.Fatalf("somebody else waits after %s", time.Duration(tick)*10*time.Millisecond)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if most := accountBurst + int(accountRate*life.Seconds()) + 1; taken > most {
			t.Errorf("%d were taken, want at most %d", taken, most)
		}
	})
}

// TestAdmissionSpreadsAStorm: 1,000 clients of a server that was killed come in
// the same moment. All are back within 15 s, and no tenth of a second takes more
// than a twentieth of them.
func TestAdmissionSpreadsAStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		taken := storm(t, gate(newAdmission(time.Now())), 1000, func() time.Duration { return rand.N(50 * time.Millisecond) })
		bins := map[time.Duration]int{}
		for _, at := range taken {
			bins[at/(100*time.Millisecond)]++
		}
		fullest := 0
		for _, count := range bins {
			fullest = max(fullest, count)
		}
		last := taken[len(taken)-1]
		t.Logf("last client back after %s, fullest tenth of a second takes %d", last, fullest)
		if last > 15*time.Second || fullest > 50 {
			t.Errorf("last after %s, %d in a tenth of a second", last, fullest)
		}
	})
}

func TestAdmissionLeavesNormalUseAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := newAdmission(time.Now())
		for i := range admissionStart {
			if gate.admit(time.Now()) != 0 {
				t.Fatalf("client %d of a server that has just started is refused", i)
			}
		}
		time.Sleep(5 * time.Second)
		for i := range admissionBurst {
			if gate.admit(time.Now()) != 0 {
				t.Fatalf("client %d of a team that comes to work is refused", i)
			}
		}
		// And then for hours at a quiet pace.
		for range 10000 {
			time.Sleep(10 * time.Millisecond)
			if gate.admit(time.Now()) != 0 {
				t.Fatal("refused at half the rate")
			}
		}
	})
}

func TestAdmissionNeverAsksForMoreThanTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := newAdmission(time.Now())
		longest := time.Duration(0)
		for range 100000 {
			longest = max(longest, gate.admit(time.Now()))
		}
		if longest < returnLimit || longest > returnLimit+time.Second {
			t.Errorf("asked to wait %s", longest)
		}
		time.Sleep(time.Second)
		if wait := gate.admit(time.Now()); wait != 0 {
			t.Errorf("a second later: %s", wait)
		}
	})
}

func TestBucketsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBuckets[int](1, 2)
		for id := range 3 * bucketLimit {
			b.admit(id, time.Now())
			if len(b.byID) > bucketLimit {
				t.Fatalf("%d remembered", len(b.byID))
			}
			time.Sleep(time.Millisecond)
		}
		last := 3*bucketLimit - 1
		b.admit(last, time.Now())
		if b.admit(last, time.Now()) == 0 {
			t.Error("a bucket that was just emptied gives more")
		}
		if b.admit(-1, time.Now()) > 0 {
			t.Error("another one is empty too")
		}
	})
}

// TestUpgradeStormIsAnswered holds the wire form of both refusals, and that
// somebody else is taken beside an account in a loop.
func TestUpgradeStormIsAnswered(t *testing.T) {
	r := newRig(t)
	alice, bob := r.person("alice"), r.person("bob")
	dial := func(token string) *http.Response {
		t.Helper()
		conn, response, err := r.dial(tailnetPath, token)
		if err == nil {
			conn.CloseNow()
			return nil
		}
		response.Body.Close()
		return response
	}
	var refused *http.Response
	for name, each := range map[string]*buckets[uuid.UUID]{"holder": r.api.holders, "account": r.api.accounts} {
		each.byID[alice.ID] = &admission{limiter: rate.NewLimiter(holderRate, 0)} // used up, however slow the test is
		if refused = dial(alice.token); refused == nil || refused.StatusCode != http.StatusTooManyRequests || refused.Header.Get("Retry-After") != "1" {
			t.Errorf("the %s in a loop got %v", name, refused)
		}
		// Its agents are holders of their own, of the same account.
		conn, _, err := r.dial(agentPath, alice.agentKey)
		if (err == nil) != (name == "holder") {
			t.Errorf("the agent beside a %s in a loop got %v", name, err)
		}
		if err == nil {
			conn.CloseNow()
		}
		delete(each.byID, alice.ID)
	}
	if response := dial(bob.token); response != nil {
		t.Errorf("bob got %v", response)
	}
	r.api.storm.limiter = rate.NewLimiter(admissionRate, 0)
	refused = dial(bob.token)
	if refused == nil || refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" || refused.Header.Get("Content-Type") == "" {
		t.Errorf("in the storm bob got %v", refused)
	}
}

// TestWrongTokensAreSlowedDown: the guesser gets 429 in the end, and everybody
// with a good token is answered all along, from the same address too.
func TestWrongTokensAreSlowedDown(t *testing.T) {
	synctest.Test(t, testWrongTokens) // on a clock that stands still, or a slow machine gives the guesser more
}

func testWrongTokens(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	wrong := "cwu_" + strings.Repeat("a", 16) + "_" + strings.Repeat("a", 52)
	ask := func(address, token string) *httptest.ResponseRecorder {
		request := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/api/v2/users/me", http.NoBody)
		request.RemoteAddr = address
		request.Header.Set(tokenHeader, token)
		answer := httptest.NewRecorder()
		r.api.ServeHTTP(answer, request)
		return answer
	}
	statuses := map[int]int{}
	for range failureBurst + 100 {
		statuses[ask("192.0.2.1:1000", wrong).Code]++
		if status := ask("192.0.2.1:2000", alice.token).Code; status != http.StatusOK {
			t.Fatalf("a good token from the same address: %d", status)
		}
	}
	if statuses[401] != failureBurst || statuses[429] != 100 || len(statuses) != 2 {
		t.Errorf("the guesser got %v", statuses)
	}
	answer := ask("192.0.2.1:1000", wrong)
	if answer.Code != 429 || answer.Header().Get("Retry-After") != "1" || !strings.Contains(answer.Body.String(), `"message"`) {
		t.Errorf("%d %v %s", answer.Code, answer.Header(), answer.Body)
	}
	if status, _ := r.call("DELETE", "/api/v2/users/me/keys/"+alice.tokenID, alice.token, ""); status != 204 {
		t.Fatal(status)
	}
	if answer := ask("192.0.2.1:1000", alice.token); answer.Code != 401 || !strings.Contains(answer.Body.String(), "revoked") {
		t.Errorf("a revoked token beside the guesser: %d %s", answer.Code, answer.Body)
	}
	if status := ask("192.0.2.2:1000", wrong).Code; status != 401 {
		t.Errorf("another address: %d", status)
	}
	// One machine has a whole /64.
	ask("[2001:db8::1]:1000", wrong)
	for _, one := range r.api.failures.byID {
		one.limiter.SetBurst(0)
	}
	if status := ask("[2001:db8::1234]:1000", wrong).Code; status != 429 {
		t.Errorf("a neighbour address in the same /64: %d", status)
	}
	if status := ask("[2001:db8:0:1::1]:1000", wrong).Code; status != 401 {
		t.Errorf("another /64: %d", status)
	}
}
