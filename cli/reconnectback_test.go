package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// farTerminal is an agent with one terminal, behind a network that may be down.
type farTerminal struct {
	id    uuid.UUID
	heals time.Time     // before, nothing gets through
	holds bool          // the terminal is there
	mute  bool          // it has no list of terminals
	again chan net.Conn // ends of those that attach
}

// dial connects as systems do: they ask 0, 1, 3, 7 and 15 s after the beginning.
func (f *farTerminal) dial(ctx context.Context, _, address string) (net.Conn, error) {
	for pause := time.Second; time.Now().Before(f.heals); pause *= 2 {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	near, far := net.Pipe()
	if strings.HasSuffix(address, fmt.Sprintf(":%d", terminalPort)) {
		go func() {
			buffer := make([]byte, 1<<10) // the request
			if _, err := far.Read(buffer); err == nil {
				f.again <- far
			}
		}()
		return near, nil
	}
	go func() {
		defer far.Close()
		if _, err := http.ReadRequest(bufio.NewReader(far)); err != nil {
			return
		}
		if f.mute {
			_, _ = io.WriteString(far, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n") // it may be gone
			return
		}
		list := ""
		if f.holds {
			list = `{"id":"` + f.id.String() + `"}`
		}
		body := `{"version":1,"terminals":[` + list + `]}`
		_, _ = fmt.Fprintf(far, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body) // it may be gone
	}()
	return near, nil
}

func (f *farTerminal) attachment() *attachment {
	app := &app{env: Env{LookupEnv: noEnv, Stderr: io.Discard, dialAgent: f.dial}}
	agent := &localv1.AgentStatus{Name: "main", Workspace: "myws", Names: []string{"myws.coder"}}
	port := func(number uint16) *agentPort {
		return &agentPort{app: app, agent: agent, addr: agentAddress, port: number, what: "attach to a terminal of"}
	}
	return &attachment{
		app: app, console: silentTTY{}, shown: &screenWatch{to: io.Discard}, port: port(terminalPort), api: port(agentHTTPPort),
		request: attachRequest{ID: f.id},
	}
}

// silentTTY is a terminal at which nobody types.
type silentTTY struct{ tty }

func (silentTTY) size() (width, height int)          { return 80, 24 }
func (silentTTY) resized() (<-chan struct{}, func()) { return nil, func() {} }

// TestComeBackSoon: however long an outage was, the terminal is back within a few
// seconds after it.
func TestComeBackSoon(t *testing.T) {
	for outage := 5 * time.Second; outage < 65*time.Second; outage += 700 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			f := &farTerminal{id: uuid.New(), heals: time.Now().Add(outage), holds: true, again: make(chan net.Conn, 1)}
			conn, err := f.attachment().comeBack(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if late := time.Since(f.heals); late > 4100*time.Millisecond {
				t.Errorf("after an outage of %s it takes %s", outage, late)
			}
			conn.Close()
			(<-f.again).Close()
		})
	}
}

// firstWord notes when something was printed first.
type firstWord struct{ at time.Time }

func (f *firstWord) Write(data []byte) (int, error) {
	if f.at.IsZero() {
		f.at = time.Now()
	}
	return len(data), nil
}

// TestLossIsSaidAtOnce: of a connection that has broken off people hear before the
// first attempt; of one that was closed, as an agent does that is replaced, only
// when the first has failed.
func TestLossIsSaidAtOnce(t *testing.T) {
	for cut, want := range map[bool]time.Duration{true: 0, false: attemptLimit} {
		synctest.Test(t, func(t *testing.T) {
			f := &farTerminal{id: uuid.New(), heals: time.Now().Add(20 * time.Second), holds: true, again: make(chan net.Conn, 1)}
			session, word, began := f.attachment(), &firstWord{}, time.Now()
			session.app.env.Stderr, session.cut = word, cut
			conn, err := session.comeBack(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if word.at.IsZero() || word.at.Sub(began) != want {
				t.Errorf("cut off %t: said after %s, want %s", cut, word.at.Sub(began), want)
			}
			conn.Close()
			(<-f.again).Close()
		})
	}
}

// TestRefusalsArePaced: an agent that refuses to attach a terminal which it lists
// is not asked as fast as it answers.
func TestRefusalsArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &farTerminal{id: uuid.New(), holds: true, again: make(chan net.Conn)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		refused := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case far := <-f.again:
					refused++
					far.Close()
				case <-ctx.Done():
					return
				}
			}
		}()
		if err := f.attachment().run(ctx); err == nil {
			t.Error("no error")
		}
		<-done
		if most := int(time.Minute/reconnectMost) + 2; refused > most || refused < most/2 {
			t.Errorf("asked %d times in a minute, want about %d", refused, most)
		}
	})
}

// TestAgentsThatCannotTell: one that has no list of terminals, as those of other
// deployments, is asked for the terminal after a loss; one that has closed the
// connection has ended it.
func TestAgentsThatCannotTell(t *testing.T) {
	for cut, want := range map[bool]error{true: nil, false: errOver} {
		synctest.Test(t, func(t *testing.T) {
			f := &farTerminal{id: uuid.New(), mute: true, again: make(chan net.Conn, 1)}
			session := f.attachment()
			session.cut = cut
			conn, err := session.comeBack(t.Context(), nil)
			if !errors.Is(err, want) {
				t.Errorf("cut off %t: %v, want %v", cut, err, want)
			}
			if err == nil {
				conn.Close()
				(<-f.again).Close()
			}
		})
	}
}

// brokenConn breaks off.
type brokenConn struct{ net.Conn }

func (b brokenConn) Read(data []byte) (int, error) {
	if count, err := b.Conn.Read(data); err == nil {
		return count, nil
	}
	return 0, syscall.ECONNRESET
}

// TestTerminalNotThere: a terminal that is not there any more has ended when the
// agent has closed its connection and answers at once; else nobody knows.
func TestTerminalNotThere(t *testing.T) {
	for name, c := range map[string]struct {
		breaks bool
		outage time.Duration
		code   localapi.Code
	}{
		"closed":                  {},
		"broken":                  {breaks: true, code: localapi.CodeNotFound},
		"closed before an outage": {outage: 6 * time.Second, code: localapi.CodeNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &farTerminal{id: uuid.New(), again: make(chan net.Conn, 1)}
				session := f.attachment()
				dial := session.app.env.dialAgent
				session.app.env.dialAgent = func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := dial(ctx, network, address)
					if c.breaks {
						conn = brokenConn{conn}
					}
					return conn, err
				}
				go func() {
					far := <-f.again
					f.heals = time.Now().Add(c.outage)
					far.Close()
				}()
				err := session.run(t.Context())
				if got := exitOf(err); got != c.code {
					t.Errorf("exit code %d, want %d: %v", got, c.code, err)
				}
				var known *localapi.Error
				if c.code != 0 && (!errors.As(err, &known) || !strings.Contains(known.Cause, "of myws.coder is not there any more: it has ended, or ")) {
					t.Errorf("%v", err)
				}
				if c.code == 0 && !strings.HasSuffix(session.outcome, "of myws.coder has ended") {
					t.Errorf("%q", session.outcome)
				}
			})
		})
	}
}
