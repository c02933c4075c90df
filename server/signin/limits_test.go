package signin

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestLoginLimits: guesses at an account are limited from one address and from
// all, the time to wait is told and true, the right password counts for nothing,
// and a one-time code gets its user in while others guess.
func TestLoginLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Too long for any: it counts like every other one, and costs no hash here.
		wrong := strings.Repeat("x", 1025)
		r := newRig(t, plainURL)
		alice := r.user("alice")
		r.user("bob")
		try := func(from, name, secret string) answer {
			b := r.browser(from)
			b.get("/login")
			return b.post("/login", "username", name, "password", secret)
		}
		refusedAfter := func(attempt func(int) answer) (int, answer) {
			for i := range 1000 {
				if got := attempt(i); got.status == http.StatusTooManyRequests {
					return i, got
				}
			}
			t.Fatal("nobody is ever refused")
			return 0, answer{}
		}
		for range 2 * pairBurst {
			if got := try("192.0.2.1", "alice", goodPassword); got.status != http.StatusSeeOther {
				t.Fatalf("the right password: %d", got.status)
			}
		}
		count, got := refusedAfter(func(int) answer { return try("192.0.2.66", "Alice", wrong) })
		wait, err := strconv.Atoi(got.header.Get("Retry-After"))
		if count != pairBurst || err != nil || wait < 1 || wait > 30 || !strings.Contains(got.body, fmt.Sprintf("Wait %d seconds", wait)) {
			t.Errorf("refused after %d, wait %d (%v)", count, wait, err)
		}
		if got := try("192.0.2.66", "alice", goodPassword); got.status != http.StatusTooManyRequests {
			t.Errorf("the right guess beyond the limit: %d", got.status)
		}
		if got := try("192.0.2.66", "bob", goodPassword); got.status != http.StatusSeeOther {
			t.Errorf("somebody else at that address: %d", got.status)
		}
		if got := try("192.0.2.1", "alice", goodPassword); got.status != http.StatusSeeOther {
			t.Errorf("herself at another address: %d", got.status)
		}
		time.Sleep(time.Duration(wait) * time.Second)
		if got := try("192.0.2.66", "alice", goodPassword); got.status != http.StatusSeeOther {
			t.Errorf("after the wait: %d", got.status)
		}
		// One that does not exist is limited in the same way.
		if count, _ := refusedAfter(func(int) answer { return try("192.0.2.70", "nobody", wrong) }); count != pairBurst {
			t.Errorf("nobody: refused after %d", count)
		}
		// Many names from one address.
		count, _ = refusedAfter(func(i int) answer { return try("192.0.2.71", fmt.Sprintf("name%d", i), wrong) })
		if count != addressBurst {
			t.Errorf("one address: refused after %d", count)
		}
		time.Sleep(time.Hour)
		// One name from many addresses.
		count, _ = refusedAfter(func(i int) answer { return try(fmt.Sprintf("198.51.100.%d", i), "alice", wrong) })
		if count != accountBurst {
			t.Errorf("one account: refused after %d", count)
		}
		code, _, err := r.store.CreateOneTimeCode(t.Context(), alice)
		if err != nil {
			t.Fatal(err)
		}
		if got := try("192.0.2.1", "alice", code.Reveal()); got.status != http.StatusSeeOther {
			t.Errorf("a one-time code under attack: %d", got.status)
		}
		// Attempts go on all the time, and yet nobody is locked out for good.
		time.Sleep(accountEvery)
		if got := try("192.0.2.1", "alice", goodPassword); got.status != http.StatusSeeOther {
			t.Errorf("after the attack: %d", got.status)
		}
	})
}

// TestGuessesAtOnce: of many guesses at the same moment no more are checked than
// the limit says.
func TestGuessesAtOnce(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	var checked atomic.Int32
	var all sync.WaitGroup
	for range 3 * pairBurst {
		all.Go(func() {
			b := r.browser("192.0.2.66")
			b.get("/login")
			if got := b.post("/login", "username", "alice", "password", "a wrong password"); got.status == http.StatusUnauthorized {
				checked.Add(1)
			}
		})
	}
	all.Wait()
	if checked.Load() > pairBurst+1 || checked.Load() < 1 { // one more comes free if that takes long
		t.Errorf("%d guesses were checked", checked.Load())
	}
}

// TestOneTimeCodeLogin: the code works once, in any form, and says nothing else
// than a wrong password when it does not.
func TestOneTimeCodeLogin(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("bob")
	alice, err := r.store.CreateUser(t.Context(), "alice", "")
	if err != nil {
		t.Fatal(err)
	}
	code, _, err := r.store.CreateOneTimeCode(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	try := func(name, secret string) answer {
		b := r.browser("192.0.2.1")
		b.get("/login")
		return b.post("/login", "username", name, "password", secret)
	}
	wrong := try("alice", "not the code")
	for name, got := range map[string]answer{"another user": try("bob", code.Reveal()), "nobody": try("nobody", code.Reveal()), "nothing": try("alice", ""), "long": try("alice", strings.Repeat("x", 4000))} {
		if got.status != http.StatusUnauthorized || message(got) != message(wrong) || message(got) == "" {
			t.Errorf("%s: %d %s", name, got.status, message(got))
		}
	}
	if got := try("alice", strings.ToLower(code.Reveal())); got.status != http.StatusSeeOther {
		t.Errorf("the code: %d", got.status)
	}
	if got := try("alice", code.Reveal()); got.status != http.StatusUnauthorized {
		t.Errorf("the code again: %d", got.status)
	}
	if strings.Contains(r.logs.String(), code.Reveal()) || strings.Contains(wrong.body, "not the code") {
		t.Error("what was typed is shown")
	}
}
