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

// TestDeviceAnswers is each answer that a device can get, on the clock.
func TestDeviceAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, plainURL)
		r.user("alice")
		b, device := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.9")
		expect := func(what, code, want string) {
			t.Helper()
			if got := device.poll(code); got.status != http.StatusBadRequest || got.oauth(t) != want {
				t.Errorf("%s: %d %s, want %s", what, got.status, got.body, want)
			}
		}
		codes := device.startDevice("")
		expect("first", codes.DeviceCode, "authorization_pending")
		time.Sleep(5 * time.Second)
		expect("after the interval", codes.DeviceCode, "authorization_pending")
		time.Sleep(4*time.Second + 100*time.Millisecond)
		expect("a little early, as the net delivers", codes.DeviceCode, "authorization_pending")
		time.Sleep(2 * time.Second)
		expect("too soon", codes.DeviceCode, "slow_down")
		time.Sleep(6 * time.Second)
		expect("at the old interval", codes.DeviceCode, "slow_down")
		time.Sleep(15 * time.Second)
		expect("at the new interval", codes.DeviceCode, "authorization_pending")

		b.get("/device?user_code=" + codes.UserCode)
		if got := b.post("/device", "user_code", codes.UserCode, "action", "deny"); got.status != http.StatusOK || !strings.Contains(got.body, "Refused") {
			t.Errorf("%+v", got)
		}
		expect("denied", codes.DeviceCode, "access_denied")
		expect("denied, once more", codes.DeviceCode, "invalid_grant")
		if got := b.post("/device", "user_code", codes.UserCode, "action", "approve"); got.status != http.StatusNotFound {
			t.Errorf("a yes after a no: %d", got.status)
		}

		codes = device.startDevice("")
		time.Sleep(deviceLife - time.Second)
		expect("the last second", codes.DeviceCode, "authorization_pending")
		time.Sleep(time.Second)
		if got := b.post("/device", "user_code", codes.UserCode, "action", "approve"); got.status != http.StatusNotFound {
			t.Errorf("a yes after the end: %d", got.status)
		}
		expect("expired", codes.DeviceCode, "expired_token")
		expect("expired, once more", codes.DeviceCode, "invalid_grant")

		codes = device.startDevice("")
		b.get("/device?user_code=" + codes.UserCode)
		b.post("/device", "user_code", codes.UserCode, "action", "approve")
		time.Sleep(deviceLife)
		expect("approved, and not fetched in time", codes.DeviceCode, "expired_token")
		expect("a code of nobody", "nonsense", "invalid_grant")
		expect("no code", "", "invalid_request")
	})
}

// TestUserCodeForms: people type the code as they like.
func TestUserCodeForms(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b, device := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.9")
	codes := device.startDevice("pi")
	bare := strings.ReplaceAll(codes.UserCode, "-", "")
	for _, typed := range []string{codes.UserCode, strings.ToLower(bare), " " + strings.Join(strings.Split(bare, ""), " ") + " "} {
		b.get("/device")
		got := b.post("/device", "user_code", typed)
		if got.status != http.StatusOK || !strings.Contains(got.body, codes.UserCode) || !strings.Contains(got.body, "192.0.2.9") {
			t.Errorf("%q: %d %s", typed, got.status, got.body)
		}
	}
	for _, typed := range []string{"", "x", bare[:7], strings.Repeat("B", 32), "<script>alert(1)</script>"} {
		got := b.post("/device", "user_code", typed)
		if got.status != http.StatusNotFound || !strings.Contains(got.body, "start the sign-in on the device again") || strings.Contains(got.body, "<script>") {
			t.Errorf("%q: %d %s", typed, got.status, got.body)
		}
	}
	if got := b.post("/device", "user_code", codes.UserCode, "action", "maybe"); got.status != http.StatusBadRequest {
		t.Errorf("neither yes nor no: %d", got.status)
	}
}

// TestUserCodeGuesses: somebody who is signed in cannot look for the devices of
// others. A right code is not counted, and the time to wait is told and true.
func TestUserCodeGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, plainURL)
		r.user("mallory")
		r.user("alice")
		b, device := r.signIn("mallory", "192.0.2.66"), r.browser("192.0.2.9")
		codes := device.startDevice("")
		for range 3 * entryBurst {
			if got := b.get("/device?user_code=" + codes.UserCode); got.status != http.StatusOK {
				t.Fatalf("a right code: %d", got.status)
			}
		}
		for i := range entryBurst {
			if got := b.get("/device?user_code=BBBBBBB" + string("BCDFGHJKLM"[i])); got.status != http.StatusNotFound {
				t.Fatalf("guess %d: %d", i, got.status)
			}
		}
		got := b.get("/device?user_code=" + codes.UserCode)
		wait, err := strconv.Atoi(got.header.Get("Retry-After"))
		if got.status != http.StatusTooManyRequests || err != nil || wait < 1 || wait > 10 || strings.Contains(got.body, "192.0.2.9") {
			t.Fatalf("one too many: %d, wait %d, %v", got.status, wait, err)
		}
		if got := b.post("/device", "user_code", codes.UserCode, "action", "approve"); got.status != http.StatusTooManyRequests {
			t.Errorf("approval: %d", got.status)
		}
		if got := r.signIn("alice", "192.0.2.66").get("/device?user_code=" + codes.UserCode); got.status != http.StatusOK {
			t.Errorf("somebody else at the same address: %d", got.status)
		}
		time.Sleep(time.Duration(wait) * time.Second)
		if got := b.get("/device?user_code=" + codes.UserCode); got.status != http.StatusOK {
			t.Errorf("after the wait: %d", got.status)
		}
	})
}

// TestWrongUser: what one user has answered is nobody else's, a form of one
// session does nothing in another, and without a session there is nothing to see.
func TestWrongUser(t *testing.T) {
	r := newRig(t, plainURL)
	alice := r.user("alice")
	r.user("mallory")
	a, m, device := r.signIn("alice", "192.0.2.1"), r.signIn("mallory", "192.0.2.66"), r.browser("192.0.2.9")
	codes := device.startDevice("pi")
	a.get("/device?user_code=" + codes.UserCode)
	stranger := r.browser("192.0.2.67")
	stranger.get("/login")
	for _, csrf := range []string{stranger.csrf, a.csrf} {
		got := stranger.send("/device", "user_code", codes.UserCode, "action", "approve", "csrf", csrf)
		if got.status == http.StatusOK || strings.Contains(got.body, "192.0.2.9") {
			t.Errorf("without a session: %d %s", got.status, got.body)
		}
	}
	if got := m.send("/device", "user_code", codes.UserCode, "action", "approve", "csrf", a.csrf); got.status != http.StatusForbidden {
		t.Errorf("alice's form in mallory's session: %d", got.status)
	}
	if got := m.send("/oauth2/authorize", append(flat(request()), "action", "approve", "csrf", a.csrf)...); got.status != http.StatusForbidden {
		t.Errorf("alice's consent in mallory's session: %d %s", got.status, got.location())
	}
	if got := device.poll(codes.DeviceCode); got.oauth(t) != "authorization_pending" {
		t.Errorf("after all that: %s", got.body)
	}
	a.post("/device", "user_code", codes.UserCode, "action", "approve")
	for _, action := range []string{"", "approve", "deny"} {
		m.get("/device")
		if got := m.post("/device", "user_code", codes.UserCode, "action", action); got.status != http.StatusNotFound || strings.Contains(got.body, "192.0.2.9") {
			t.Errorf("what alice has answered, %q by mallory: %d", action, got.status)
		}
	}
	if _, user, _ := r.accessToken(device.poll(codes.DeviceCode)); user.ID != alice.ID {
		t.Errorf("the token is %s's", user.Name)
	}
}

// TestPendingCodesAreBounded: 10,000 requests of one address leave 256 codes,
// of 40 addresses 4,096, none of which stays for long.
func TestPendingCodesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, plainURL)
		r.user("alice")
		first := r.browser("192.0.2.9").startDevice("")
		taken, refused := 0, 0
		for i := range 10_000 {
			got := r.browser("192.0.2.66").send("/oauth2/device", "client_id", clientID)
			switch got.status {
			case http.StatusOK:
				taken++
			case http.StatusTooManyRequests:
				refused++
				if wait, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || wait < 1 || wait > 60 || got.oauth(t) != "temporarily_unavailable" {
					t.Fatalf("%+v", got)
				}
			default:
				t.Fatalf("%+v", got)
			}
			if i%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		t.Logf("of 10,000 device codes asked by one address within 100 s, %d were made and %d refused", taken, refused)
		if waiting := len(r.server.grants.devices); waiting > startBurst+100+1+1 || waiting < 100 {
			t.Errorf("%d wait", waiting)
		}
		now := time.Now()
		from := func(i int) string { return fmt.Sprintf("198.51.100.%d", i) }
		whole := 0
		for i := range 10_000 {
			b := r.browser(from(i / 250))
			_, _, problem := r.server.grants.addDevice("", b.from, addressOf(b.from), now)
			if problem == errTooMany {
				whole++
			}
		}
		if waiting := len(r.server.grants.devices); waiting != devicesMost || whole == 0 {
			t.Errorf("%d wait, %d refused", waiting, whole)
		}
		for range 2 * devicesEach {
			r.server.grants.addDevice("", "", addressOf("203.0.113.1:1"), now)
		}
		// Whoever was there before the flood is served.
		b := r.signIn("alice", "192.0.2.1")
		b.get("/device?user_code=" + first.UserCode)
		b.post("/device", "user_code", first.UserCode, "action", "approve")
		r.accessToken(r.browser("192.0.2.9").poll(first.DeviceCode))
		time.Sleep(deviceLife + afterlife)
		r.browser("192.0.2.9").startDevice("")
		if g := r.server.grants; len(g.devices) != 1 || len(g.asking) != 1 || len(g.waiting) != 1 {
			t.Errorf("left after the end: %d, %d, %d", len(g.devices), len(g.asking), len(g.waiting))
		}
	})
}

// TestOneAddressHasItsBound holds the bound itself, without the rate before it.
func TestOneAddressHasItsBound(t *testing.T) {
	g, now := newGrants(), time.Now()
	for i := range 10_000 {
		_, _, problem := g.addDevice("", "", addressOf("192.0.2.66:1"), now)
		if (problem == nil) != (i < devicesEach) {
			t.Fatalf("code %d: %v", i, problem)
		}
	}
	if _, _, problem := g.addDevice("", "", addressOf("192.0.2.1:1"), now); problem != nil {
		t.Errorf("another address: %v", problem)
	}
}

// TestConcurrentPolls: of many that fetch one token at once exactly one gets it.
func TestConcurrentPolls(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b, device := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.9")
	codes := device.startDevice("")
	b.get("/device?user_code=" + codes.UserCode)
	b.post("/device", "user_code", codes.UserCode, "action", "approve")
	var good atomic.Int32
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if got := r.browser("192.0.2.9").poll(codes.DeviceCode); got.status == http.StatusOK {
				good.Add(1)
			}
		})
	}
	all.Wait()
	if good.Load() != 1 {
		t.Errorf("%d tokens of one code", good.Load())
	}
}

// TestDatabaseTrouble: a token that could not be made can still be fetched.
func TestDatabaseTrouble(t *testing.T) {
	r := newRig(t, plainURL)
	r.user("alice")
	b, device := r.signIn("alice", "192.0.2.1"), r.browser("192.0.2.9")
	codes := device.startDevice("")
	b.get("/device?user_code=" + codes.UserCode)
	b.post("/device", "user_code", codes.UserCode, "action", "approve")
	good := r.server.config.Store
	broken := newRig(t, plainURL)
	broken.store.Close()
	r.server.config.Store = broken.store
	got := device.poll(codes.DeviceCode)
	if got.status != http.StatusServiceUnavailable || got.oauth(t) != "temporarily_unavailable" || got.header.Get("Retry-After") == "" {
		t.Errorf("%+v", got)
	}
	if got := b.get("/device"); got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, "Try again") {
		t.Errorf("%+v", got)
	}
	r.server.config.Store = good
	r.accessToken(device.poll(codes.DeviceCode))
}
