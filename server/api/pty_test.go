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
	"time"

	"github.com/coder/websocket"
	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/store"
	"github.com/causewayhq/causeway/server/tailnetclient"
)

// fakeAgents is agents on pipes in place of the tunnel.
type fakeAgents struct {
	mu     sync.Mutex
	refuse error
	serve  func(port uint16, conn net.Conn)
	dialed []string
	work   sync.WaitGroup
}

func (f *fakeAgents) Dial(_ context.Context, agent uuid.UUID, port uint16) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dialed = append(f.dialed, fmt.Sprintf("%s:%d", agent, port))
	if f.refuse != nil {
		return nil, fmt.Errorf("connect: %w", f.refuse)
	}
	near, far := net.Pipe()
	f.work.Go(func() {
		defer far.Close()
		f.serve(port, far)
	})
	return near, nil
}

// readInit reads the first message as an agent does.
func readInit(conn net.Conn) (map[string]any, error) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.LittleEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	var init map[string]any
	return init, json.Unmarshal(body, &init)
}

// parrot shows what is typed, and the sizes it is told; "exit" ends it.
func parrot(_ uint16, conn net.Conn) {
	init, err := readInit(conn)
	if err != nil {
		return
	}
	fmt.Fprintf(conn, "%vx%v %v|", init["Width"], init["Height"], init["Command"])
	decoder := json.NewDecoder(conn)
	for {
		var typed struct {
			Data          string
			Width, Height int
		}
		if decoder.Decode(&typed) != nil || typed.Data == "exit" {
			return
		}
		fmt.Fprintf(conn, "%s %dx%d|", typed.Data, typed.Width, typed.Height)
	}
}

// ptyRig is the API with agents on pipes, and one browser session.
type ptyRig struct {
	*rig
	agents *fakeAgents
	alice  person
	path   string
	cookie string // what the browser shows
	valid  string // of the session that counts
}

func newPTYRig(t *testing.T, serve func(uint16, net.Conn)) *ptyRig {
	t.Helper()
	p := &ptyRig{agents: &fakeAgents{serve: serve}}
	p.rig = newRigWith(t, func(config *Config) {
		config.Agents = p.agents
		config.Session = func(r *http.Request) (store.Proof, string, error) {
			found, err := r.Cookie("session")
			if err != nil || found.Value != p.valid {
				return store.Proof{}, "", store.ErrNotFound
			}
			return store.Proof{User: p.alice.User}, found.Value, nil
		}
	})
	p.alice = p.person("alice")
	proof := p.prove(p.alice.User)
	secret, err := p.store.CreateSession(t.Context(), proof)
	if err != nil {
		t.Fatal(err)
	}
	p.cookie = secret.Reveal()
	p.valid = p.cookie
	p.path = "/api/v2/workspaceagents/" + p.alice.agent.ID.String() + "/pty?reconnect=" + uuid.NewString()
	t.Cleanup(p.agents.work.Wait)
	return p
}

// prove makes a password and shows it.
func (r *rig) prove(user store.User) store.Proof {
	r.t.Helper()
	if err := r.store.SetPassword(r.t.Context(), user, "correct horse battery"); err != nil {
		r.t.Fatal(err)
	}
	proof, err := r.store.AuthenticatePassword(r.t.Context(), user.Name, "correct horse battery")
	if err != nil {
		r.t.Fatal(err)
	}
	return proof
}

// browse dials as a page does.
func (p *ptyRig) browse(path, origin string) (*websocket.Conn, *http.Response, error) {
	header := http.Header{"Cookie": {"session=" + p.cookie}}
	if origin != "" {
		header.Set("Origin", origin)
	}
	conn, response, err := websocket.Dial(p.t.Context(), strings.Replace(p.url, "http", "ws", 1)+path, &websocket.DialOptions{HTTPHeader: header})
	if err == nil {
		p.t.Cleanup(func() { conn.CloseNow() })
	}
	return conn, response, err
}

// reads collects output until it ends with a text.
func reads(t *testing.T, conn *websocket.Conn, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got := ""
	for !strings.HasSuffix(got, want) {
		kind, data, err := conn.Read(ctx)
		if err != nil || kind != websocket.MessageBinary {
			t.Fatalf("after %q: %v, %v; want %q", got, kind, err, want)
		}
		got += string(data)
	}
}

func types(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageBinary, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestPTY(t *testing.T) {
	p := newPTYRig(t, parrot)
	conn, _, err := p.dial(p.path+"&width=120&height=40&command=htop", p.alice.token)
	if err != nil {
		t.Fatal(err)
	}
	reads(t, conn, "120x40 htop|")
	types(t, conn, `{"data":"ls"}`)
	reads(t, conn, "ls 0x0|")
	// Values need not be whole in a message.
	types(t, conn, `{"height":50,`)
	types(t, conn, `"width":90}`)
	reads(t, conn, " 90x50|")
	types(t, conn, `{"data":"exit"}`)
	if code, _ := closeStatus(t, conn); code != websocket.StatusNormalClosure {
		t.Errorf("closed with %v", code)
	}
	if want := p.alice.agent.ID.String() + ":2"; len(p.agents.dialed) != 1 || p.agents.dialed[0] != want {
		t.Errorf("dialled %v", p.agents.dialed)
	}
	plain, _, err := p.dial(p.path, p.alice.token)
	if err != nil {
		t.Fatal(err)
	}
	reads(t, plain, "80x80 |")
}

// TestPTYRefused holds each refusal before the upgrade, and that no agent is
// asked for what is refused.
func TestPTYRefused(t *testing.T) {
	p := newPTYRig(t, parrot)
	mallory := p.person("mallory")
	base := "/api/v2/workspaceagents/" + p.alice.agent.ID.String() + "/pty"
	for name, test := range map[string]struct {
		path, token string
		want        int
	}{
		"no token":           {p.path, "", 401},
		"wrong token":        {p.path, "cwu_x_y", 401},
		"agent's own token":  {p.path, p.alice.agentKey, 401},
		"other user's agent": {p.path, mallory.token, 404},
		"unknown agent":      {"/api/v2/workspaceagents/" + uuid.NewString() + "/pty?reconnect=" + uuid.NewString(), p.alice.token, 404},
		"agent is no UUID":   {"/api/v2/workspaceagents/main/pty?reconnect=" + uuid.NewString(), p.alice.token, 400},
		"no id":              {base, p.alice.token, 400},
		"bad id":             {base + "?reconnect=1234", p.alice.token, 400},
		"nil id":             {base + "?reconnect=" + uuid.Nil.String(), p.alice.token, 400},
		"bad width":          {p.path + "&width=wide", p.alice.token, 400},
		"negative height":    {p.path + "&height=-1", p.alice.token, 400},
		"too wide":           {p.path + "&width=4097", p.alice.token, 400},
		"long command":       {p.path + "&command=" + strings.Repeat("x", ptyCommandLimit+1), p.alice.token, 400},
		"long container":     {p.path + "&container=" + strings.Repeat("x", ptyNameLimit+1), p.alice.token, 400},
	} {
		t.Run(name, func(t *testing.T) {
			if _, response, err := p.dial(test.path, test.token); err == nil || response.StatusCode != test.want {
				t.Errorf("%v, %v, want %d", response, err, test.want)
			}
		})
	}
	if status, _ := p.call("GET", p.path, p.alice.token, ""); status != http.StatusUpgradeRequired {
		t.Errorf("without a websocket: %d", status)
	}
	if len(p.agents.dialed) != 0 {
		t.Errorf("dialled %v", p.agents.dialed)
	}
	for failure, want := range map[error]int{
		tailnetclient.ErrNotConnected: 428, tailnetclient.ErrSilent: 504, tailnetclient.ErrBusy: 503, tailnetclient.ErrClosed: 503, errors.New("refused"): 502,
	} {
		p.agents.refuse = failure
		if _, response, err := p.dial(p.path, p.alice.token); err == nil || response.StatusCode != want {
			t.Errorf("%v: %v, want %d", failure, err, want)
		}
	}
}

// TestPTYCookie holds who may use a browser's session: our own page, and for
// this route alone.
func TestPTYCookie(t *testing.T) {
	p := newPTYRig(t, parrot)
	host := strings.TrimPrefix(p.url, "http://")
	for origin, good := range map[string]bool{
		"http://" + host: true, "http://causeway.example.com": true,
		"": false, "null": false, "http://evil.example.com": false, "https://" + host: false, "http://127.0.0.1:1": false,
		"http://causeway.example.com.evil.example.com": false, "http://causeway.example.com:81": false, "file://": false, "http://%zz": false,
	} {
		conn, response, err := p.browse(p.path, origin)
		switch {
		case good && err != nil:
			t.Errorf("origin %q refused: %v", origin, err)
		case good:
			reads(t, conn, "80x80 |")
			conn.CloseNow()
		case err == nil || response.StatusCode != http.StatusForbidden:
			t.Errorf("origin %q: %v, %v", origin, response, err)
		}
	}
	for _, path := range []string{"/api/v2/users/me", "/api/v2/workspaces", "/api/v2/workspaceagents/" + p.alice.agent.ID.String() + "/listening-ports"} {
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, http.NoBody)
		request.Header.Set("Cookie", "session="+p.cookie)
		request.Header.Set("Origin", p.url)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s takes the cookie: %d", path, response.StatusCode)
		}
	}
	p.cookie = "ended"
	if _, response, err := p.browse(p.path, "http://"+host); err == nil || response.StatusCode != http.StatusUnauthorized {
		t.Errorf("ended session: %v, %v", response, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestPTYEndsWithItsSession holds that signing out ends the browser's terminals.
func TestPTYEndsWithItsSession(t *testing.T) {
	for name, end := range map[string]func(*ptyRig) error{
		"signed out": func(p *ptyRig) error { return p.store.EndSession(p.t.Context(), p.cookie) },
		"password changed": func(p *ptyRig) error {
			return p.store.SetPassword(p.t.Context(), p.alice.User, "another horse battery")
		},
		"user deleted": func(p *ptyRig) error { return p.store.DeleteUser(p.t.Context(), p.alice.ID) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPTYRig(t, parrot)
			conn, _, err := p.browse(p.path, p.url)
			if err != nil {
				t.Fatal(err)
			}
			reads(t, conn, "80x80 |")
			p.api.Changed() // nothing has: the terminal goes on
			types(t, conn, `{"data":"still"}`)
			reads(t, conn, "still 0x0|")
			if err := end(p); err != nil {
				t.Fatal(err)
			}
			p.api.Changed()
			if code, reason := closeStatus(t, conn); code != websocket.StatusGoingAway || reason != errTokenEnded.Text {
				t.Errorf("closed with %v %q", code, reason)
			}
		})
	}
}
