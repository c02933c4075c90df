package tailnetclient

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/tailnetv2"
)

func TestDial(t *testing.T) {
	for name, relayedOnly := range map[string]bool{"direct": false, "relays only": true} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t, relayedOnly)
			a := p.startAgent(t, relayedOnly, echo)
			if _, _, running := p.client.state(); running {
				t.Error("there is a network before anybody asked")
			}
			began := time.Now()
			conn, err := p.client.Dial(t.Context(), a.id, 7)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("first dial took %s", time.Since(began))
			says(t, conn, "hello")
			began = time.Now()
			second, err := p.client.Dial(t.Context(), a.id, 7)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("second dial took %s", time.Since(began))
			says(t, second, "again")
			if open, destinations, _ := p.client.state(); open != 2 || destinations != 1 {
				t.Errorf("%d connections to %d agents", open, destinations)
			}
			conn.Close()
			conn.Close()
			second.Close()
			if open, destinations, _ := p.client.state(); open != 0 || destinations != 1 {
				t.Errorf("after the end %d connections to %d agents", open, destinations)
			}
			if relayedOnly && p.relay.Connections() != 2 {
				t.Errorf("%d connections at the relay", p.relay.Connections())
			}
		})
	}
}

func TestDialFails(t *testing.T) {
	p := newPlane(t, false)
	began := time.Now()
	_, err := p.client.Dial(t.Context(), uuid.New(), 7)
	if !errors.Is(err, ErrNotConnected) || time.Since(began) > time.Second {
		t.Errorf("unknown agent: %v after %s", err, time.Since(began))
	}
	if _, _, running := p.client.state(); running {
		t.Error("an agent that is not there started the network")
	}
	a := p.startAgent(t, false, echo)
	if conn, err := p.client.Dial(t.Context(), a.id, 8); err == nil {
		conn.Close()
		t.Error("a port that nobody serves was reached")
	} else if errors.Is(err, ErrSilent) || errors.Is(err, ErrNotConnected) {
		t.Errorf("refused port: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.client.Dial(ended, a.id, 7); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	if open, _, _ := p.client.state(); open != 0 {
		t.Errorf("%d uses are left", open)
	}
	p.client.Close()
	if _, err := p.client.Dial(t.Context(), a.id, 7); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestTooManyConnections holds the limit of all users together.
func TestTooManyConnections(t *testing.T) {
	p := newPlane(t, false)
	a := p.startAgent(t, false, echo)
	p.client.mu.Lock()
	p.client.open = connLimit
	p.client.mu.Unlock()
	if _, err := p.client.Dial(t.Context(), a.id, 7); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	p.client.mu.Lock()
	p.client.open = 0
	p.client.mu.Unlock()
}

// TestAgentLeaves holds that a connection hears at once of an agent that leaves
// with a goodbye.
func TestAgentLeaves(t *testing.T) {
	p := newPlane(t, false)
	a := p.startAgent(t, false, echo)
	conn, err := p.client.Dial(t.Context(), a.id, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	says(t, conn, "hello")
	if err := a.stream.Send(&tailnetv2.CoordinateRequest{Disconnect: &tailnetv2.CoordinateRequest_Disconnect{}}); err != nil {
		t.Fatal(err)
	}
	heard := make(chan error, 1)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		heard <- err
	}()
	select {
	case err := <-heard:
		if !errors.Is(err, ErrGone) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("nothing heard")
	}
}

// TestAgentStartsAnew holds that an agent is reached again after it has said
// goodbye, or was killed, and has come back with other keys.
func TestAgentStartsAnew(t *testing.T) {
	for name, goodbye := range map[string]bool{"goodbye": true, "killed": false} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t, false)
			before := p.startAgent(t, false, echo)
			conn, err := p.client.Dial(t.Context(), before.id, 7)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			says(t, conn, "before")
			if goodbye {
				if err := before.stream.Send(&tailnetv2.CoordinateRequest{Disconnect: &tailnetv2.CoordinateRequest_Disconnect{}}); err != nil {
					t.Fatal(err)
				}
			}
			before.net.Close()
			before.stream.Close()
			<-before.ended
			p.startAgentAs(t, before.id, false, echo)
			for try := range 2 {
				began := time.Now()
				again, err := p.client.Dial(t.Context(), before.id, 7)
				for err != nil && time.Since(began) < patience { // as a page does; on a busy machine handshakes get lost
					t.Logf("dial %d after %s: %v", try, time.Since(began), err)
					again, err = p.client.Dial(t.Context(), before.id, 7)
				}
				if err != nil {
					t.Fatalf("dial %d after %s: %v", try, time.Since(began), err)
				}
				defer again.Close()
				says(t, again, "after")
				t.Logf("dial %d took %s", try, time.Since(began))
			}
		})
	}
}

// TestAgentIsLost holds that a session outlives its agent's control connection,
// and ends when the agent does not answer in the tunnel either.
func TestAgentIsLost(t *testing.T) {
	p := newPlane(t, false)
	a := p.startAgent(t, false, echo)
	conn, err := p.client.Dial(t.Context(), a.id, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a.stream.Close()
	eventually(t, "the agent is lost", func() bool { return !p.coordinator.Connected(a.id) })
	p.client.mu.Lock()
	n := p.client.network
	p.client.mu.Unlock()
	now := time.Now()
	if found := p.client.absent(n, now); len(found) != 0 {
		t.Errorf("asked at once: %v", found)
	}
	if found := p.client.absent(n, now.Add(absenceLimit-time.Second)); len(found) != 0 {
		t.Errorf("asked too early: %v", found)
	}
	later := now.Add(absenceLimit)
	lost := p.client.absent(n, later)
	if len(lost) != 1 || lost[0] != a.id {
		t.Fatalf("to be asked: %v", lost)
	}
	p.client.endSilent(n, lost)
	says(t, conn, "the agent answers in the tunnel")
	if _, err := p.client.Dial(t.Context(), a.id, 7); !errors.Is(err, ErrNotConnected) {
		t.Errorf("dial: %v", err)
	}
	a.net.Close()
	p.client.endSilent(n, p.client.absent(n, later))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, ErrGone) {
		t.Errorf("ended with %v", err)
	}
}

// TestIdle holds that an agent is let go of half an hour after its last use, and
// that the network ends with the last.
func TestIdle(t *testing.T) {
	p := newPlane(t, false)
	a := p.startAgent(t, false, echo)
	conn, err := p.client.Dial(t.Context(), a.id, 7)
	if err != nil {
		t.Fatal(err)
	}
	p.client.mu.Lock()
	first := p.client.network
	p.client.mu.Unlock()
	if p.client.dropIdle(first, time.Now().Add(24*time.Hour)) {
		t.Fatal("an agent in use was dropped")
	}
	conn.Close()
	if p.client.dropIdle(first, time.Now().Add(idleLimit-time.Minute)) {
		t.Fatal("dropped too early")
	}
	if !p.client.dropIdle(first, time.Now().Add(idleLimit+time.Second)) {
		t.Fatal("not dropped")
	}
	first.close()
	eventually(t, "the relay is rid of it", func() bool { return p.relay.Connections() <= 1 })
	again, err := p.client.Dial(t.Context(), a.id, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	says(t, again, "a new network")
}

// TestCoordinationComesBack holds that the end of our stream costs no session,
// and that new ones can be had afterwards.
func TestCoordinationComesBack(t *testing.T) {
	p := newPlane(t, false)
	a := p.startAgent(t, false, echo)
	conn, err := p.client.Dial(t.Context(), a.id, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	says(t, conn, "before")
	p.client.mu.Lock()
	stream := p.client.network.stream
	p.client.mu.Unlock()
	stream.Close()
	says(t, conn, "meanwhile")
	b := p.startAgent(t, false, echo)
	other, err := p.client.Dial(t.Context(), b.id, 7)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	says(t, other, "after")
	says(t, conn, "still")
}

// TestCloseEndsConnections holds that nothing waits for a client that is closed.
func TestCloseEndsConnections(t *testing.T) {
	p := newPlane(t, false)
	a := p.startAgent(t, false, func(uint16) (func(net.Conn), bool) {
		return func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)); conn.Close() }, true
	})
	conn, err := p.client.Dial(t.Context(), a.id, 7)
	if err != nil {
		t.Fatal(err)
	}
	p.client.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("ended with %v", err)
	}
	conn.Close()
}
