package api

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/tailnetclient"
)

// TestPTYAgentGoes holds that the browser hears of an agent that goes away in
// the middle, with the reason.
func TestPTYAgentGoes(t *testing.T) {
	gone := make(chan struct{})
	p := newPTYRig(t, nil)
	p.api.config.Agents = dialFunc(func() (net.Conn, error) {
		near, far := net.Pipe()
		go func() { _, _ = readInit(far); _, _ = far.Write([]byte("hello|")) }()
		return &breaking{Conn: near, gone: gone}, nil
	})
	conn, _, err := p.dial(p.path, p.alice.token)
	if err != nil {
		t.Fatal(err)
	}
	reads(t, conn, "hello|")
	close(gone)
	if code, reason := closeStatus(t, conn); code != websocket.StatusInternalError || !strings.Contains(reason, tailnetclient.ErrGone.Error()) {
		t.Errorf("closed with %v %q", code, reason)
	}
}

type dialFunc func() (net.Conn, error)

func (f dialFunc) Dial(context.Context, uuid.UUID, uint16) (net.Conn, error) { return f() }

// breaking ends its reads as a connection to an agent does that has left.
type breaking struct {
	net.Conn
	gone chan struct{}
	once sync.Once
}

func (b *breaking) Read(p []byte) (int, error) {
	b.once.Do(func() {
		go func() { <-b.gone; b.Close() }()
	})
	n, err := b.Conn.Read(p)
	if err != nil {
		err = tailnetclient.ErrGone
	}
	return n, err
}

// TestPTYBrowserGoes holds that the agent's side ends with the browser's.
func TestPTYBrowserGoes(t *testing.T) {
	ended := make(chan error, 1)
	p := newPTYRig(t, func(_ uint16, conn net.Conn) {
		_, _ = readInit(conn)
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	})
	conn, _, err := p.dial(p.path, p.alice.token)
	if err != nil {
		t.Fatal(err)
	}
	conn.CloseNow()
	select {
	case err := <-ended:
		if !errors.Is(err, io.EOF) {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the agent's side goes on")
	}
	eventually(t, "the connection is forgotten", func() bool { return p.api.live.count() == 0 })
}

// TestPTYBrowserIsLost holds that the agent is told of a browser of ours that goes
// without closing its connection, and of none that closes it.
func TestPTYBrowserIsLost(t *testing.T) {
	said := make(chan string, 1)
	p := newPTYRig(t, func(_ uint16, conn net.Conn) {
		_, _ = readInit(conn)
		text, _ := io.ReadAll(conn)
		said <- string(text)
	})
	for _, test := range []struct {
		query string
		leave func(*websocket.Conn) error
		want  string
	}{
		{"&flow=1", (*websocket.Conn).CloseNow, `{"away":true}`},
		{"&flow=1", func(c *websocket.Conn) error { return c.Close(websocket.StatusGoingAway, "") }, ""},
		{"", (*websocket.Conn).CloseNow, ""}, // it may have cut a value in two
	} {
		conn, _, err := p.dial(p.path+test.query, p.alice.token)
		if err != nil {
			t.Fatal(err)
		}
		_ = test.leave(conn) // either way
		select {
		case got := <-said:
			if got != test.want {
				t.Errorf("%q: the agent hears %q, want %q", test.query, got, test.want)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the agent's side goes on")
		}
	}
}

// TestPTYServerStops holds that a draining server ends terminals with a word.
func TestPTYServerStops(t *testing.T) {
	p := newPTYRig(t, parrot)
	conn, _, err := p.dial(p.path, p.alice.token)
	if err != nil {
		t.Fatal(err)
	}
	reads(t, conn, "80x80 |")
	drained := make(chan error, 1)
	go func() { drained <- p.api.live.drain(t.Context()) }()
	if code, reason := closeStatus(t, conn); code != websocket.StatusGoingAway || !strings.Contains(reason, "shutting down") {
		t.Errorf("closed with %v %q", code, reason)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

// TestPTYText holds that text is for pages that say what they have shown.
func TestPTYText(t *testing.T) {
	p := newPTYRig(t, parrot)
	for _, test := range []struct{ query, text string }{{"", "17"}, {"&flow=1", "many"}, {"&flow=1", strings.Repeat("1", 30)}} {
		conn, _, err := p.dial(p.path+test.query, p.alice.token)
		if err != nil {
			t.Fatal(err)
		}
		reads(t, conn, "80x80 |")
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(test.text)); err != nil {
			t.Fatal(err)
		}
		if code, _ := closeStatus(t, conn); code != websocket.StatusInternalError {
			t.Errorf("%q: closed with %v", test.text, code)
		}
	}
}

// TestPTYFlow holds that a page which shows nothing is sent no more than the
// window, and goes on when it says that it has.
func TestPTYFlow(t *testing.T) {
	p := newPTYRig(t, func(_ uint16, conn net.Conn) {
		_, _ = readInit(conn)
		line := []byte(strings.Repeat("y\n", 8<<10))
		for {
			if _, err := conn.Write(line); err != nil {
				return
			}
		}
	})
	conn, _, err := p.dial(p.path+"&flow=1", p.alice.token)
	if err != nil {
		t.Fatal(err)
	}
	var got int
	receive := func(until int) {
		t.Helper()
		for got < until {
			_, data, err := conn.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got += len(data)
		}
	}
	receive(flowWindow)
	next := make(chan int, 1)
	go func() {
		_, data, _ := conn.Read(context.WithoutCancel(t.Context()))
		next <- len(data)
	}()
	select {
	case n := <-next:
		t.Fatalf("%d bytes beyond the window of %d", n, got)
	case <-time.After(300 * time.Millisecond):
	}
	if err := conn.Write(t.Context(), websocket.MessageText, []byte(fmt.Sprint(got))); err != nil {
		t.Fatal(err)
	}
	got = <-next
	receive(flowWindow)
}

// TestCredit holds the wait, its end, and that nothing is counted twice.
func TestCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free *credit
		if err := free.take(t.Context(), 1<<30); err != nil {
			t.Error(err)
		}
		window := newCredit(10)
		if err := window.take(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error, 1)
		go func() { waited <- window.take(t.Context(), 5) }()
		synctest.Wait()
		select {
		case <-waited:
			t.Fatal("did not wait")
		default:
		}
		window.give(1 << 20)
		if err := <-waited; err != nil || window.taken != 5 {
			t.Errorf("%v, %d taken", err, window.taken)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		window.taken = 10
		for {
			if err := window.take(ctx, 1); errors.Is(err, context.Canceled) {
				return
			}
		}
	})
}

// TestPTYSlowBrowser holds that a browser which reads nothing holds no more than
// the buffers, and does not stay for ever: the ping or the write ends it.
func TestPTYSlowBrowser(t *testing.T) {
	t.Parallel()
	sent, ended := make(chan int, 1), make(chan struct{})
	p := newPTYRig(t, func(_ uint16, conn net.Conn) {
		defer close(ended)
		_, _ = readInit(conn)
		block, total := make([]byte, 16<<10), 0
		for {
			n, err := conn.Write(block)
			total += n
			if err != nil {
				sent <- total
				return
			}
		}
	})
	if _, _, err := p.dial(p.path, p.alice.token); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-time.After(2*pingInterval + writeLimit):
		t.Fatal("still there")
	}
	// What the kernel's buffers of both ends take is the rest.
	if total := <-sent; total > 16<<20 {
		t.Errorf("%d bytes were taken for a browser that reads nothing", total)
	} else {
		t.Logf("%d bytes were taken", total)
	}
}

func FuzzPTYQuery(f *testing.F) {
	f.Add("reconnect=00000000-0000-4000-8000-000000000001&width=1&height=2&command=x")
	f.Fuzz(func(t *testing.T, text string) {
		request, err := http.NewRequest(http.MethodGet, "http://x/?"+text, http.NoBody)
		if err != nil {
			return
		}
		init, err := readPTYQuery(request.URL.Query())
		if err != nil {
			return
		}
		message, err := init.message()
		if err != nil {
			return
		}
		if len(message) != 2+int(binary.LittleEndian.Uint16(message)) || !json.Valid(message[2:]) {
			t.Errorf("%q makes %q", text, message)
		}
	})
}
