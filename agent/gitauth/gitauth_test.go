//go:build unix

package gitauth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "the-agent-s-token"

// plane is the part of a control plane that git needs.
type plane struct {
	*httptest.Server
	asked  atomic.Int32
	status atomic.Int32
	body   atomic.Pointer[string]
	match  atomic.Pointer[string]
}

func newPlane(t *testing.T) *plane {
	p := &plane{}
	p.status.Store(http.StatusOK)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		if r.Header.Get(tokenHeader) != token || r.Header.Get("X-Front") != "yes" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		match := r.URL.Query().Get("match")
		p.match.Store(&match)
		if status := int(p.status.Load()); status != http.StatusOK {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
			return
		}
		_, _ = io.WriteString(w, *p.body.Load())
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *plane) answers(fields map[string]string) {
	content, _ := json.Marshal(fields)
	text := string(content)
	p.body.Store(&text)
}

func newKey(t *testing.T) (ssh.Signer, string) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(pem.EncodeToMemory(block))
}

type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start serves the sockets in a directory of the test.
func start(t *testing.T, p *plane) (directory string, server *Server, log *logged) {
	t.Helper()
	access, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	directory, err = os.MkdirTemp("", "git") // a socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	log = &logged{}
	server = New(Config{
		Logger: slog.New(slog.NewTextHandler(log, nil)), URL: access, Token: func() string { return token },
		Header: http.Header{"X-Front": {"yes"}}, HTTP: p.Client(), Directory: filepath.Join(directory, "git"),
	})
	// As a killed process leaves it.
	if err := os.MkdirAll(filepath.Join(directory, "git"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(directory, "git", KeySocket), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if left, _ := os.ReadDir(filepath.Join(directory, "git")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		os.RemoveAll(directory)
	})
	directory = filepath.Join(directory, "git")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("unix", filepath.Join(directory, CredentialSocket))
		if err == nil {
			conn.Close()
			return directory, server, log
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestKey: the key signs, through the socket only, cannot be changed, is asked
// for once, and works on while the control plane is away.
func TestKey(t *testing.T) {
	p := newPlane(t)
	signer, private := newKey(t)
	p.answers(map[string]string{"private_key": private})
	directory, server, log := start(t, p)
	for _, name := range []string{KeySocket, CredentialSocket} {
		if info, err := os.Stat(filepath.Join(directory, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	conn, err := net.Dial("unix", filepath.Join(directory, KeySocket))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := agent.NewClient(conn)
	for range 3 {
		keys, err := client.List()
		if err != nil || len(keys) != 1 || !bytes.Equal(keys[0].Blob, signer.PublicKey().Marshal()) {
			t.Fatalf("%v, %v", keys, err)
		}
	}
	check := func() {
		t.Helper()
		data := []byte("what git signs")
		signature, err := client.Sign(signer.PublicKey(), data)
		if err != nil {
			t.Fatal(err)
		}
		if err := signer.PublicKey().Verify(data, signature); err != nil {
			t.Error(err)
		}
	}
	check()
	if asked := p.asked.Load(); asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	for name, change := range map[string]func() error{
		"remove": func() error { return client.Remove(signer.PublicKey()) }, "remove all": client.RemoveAll,
		"lock": func() error { return client.Lock([]byte("x")) },
		"add": func() error {
			_, other, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return client.Add(agent.AddedKey{PrivateKey: other})
		},
	} {
		if change() == nil {
			t.Errorf("%s was taken", name)
		}
	}
	p.status.Store(http.StatusBadGateway)
	server.mu.Lock()
	server.fetched = time.Now().Add(-2 * keyAge)
	server.mu.Unlock()
	check()
	if asked := p.asked.Load(); asked != 2 {
		t.Errorf("asked %d times, the outage is to be noticed once", asked)
	}
	check()
	if asked := p.asked.Load(); asked != 2 {
		t.Errorf("asked %d times within an outage", asked)
	}
	if text := log.String(); strings.Contains(text, "PRIVATE") || strings.Contains(text, token) || strings.Count(text, "git key was not fetched") != 1 {
		t.Errorf("log: %s", text)
	}
}

// TestKeyRefusals: what the control plane may answer instead of a key.
func TestKeyRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		says   string
	}{
		"redirect": {http.StatusFound, "", "302"}, "none": {http.StatusNotFound, "", ErrNone.Error()}, "signed out": {http.StatusUnauthorized, "", "401"},
		"no JSON": {http.StatusOK, "<html>", "read answer"}, "no key": {http.StatusOK, `{}`, "read git key"}, "garbage": {http.StatusOK, `{"private_key":"x"}`, "read git key"},
		"endless": {http.StatusOK, `{"private_key":"` + strings.Repeat("x", 1<<20), "read answer"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlane(t)
			p.status.Store(int32(test.status))
			p.body.Store(&test.body)
			_, server, _ := start(t, p)
			if _, err := server.key(t.Context()); err == nil || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), token) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestCredential: for the host that git names, by the socket, with the forms of
// answers that deployments give.
func TestCredential(t *testing.T) {
	p := newPlane(t)
	directory, _, log := start(t, p)
	for name, test := range map[string]struct {
		body           map[string]string
		user, password string
	}{
		"ours":       {map[string]string{"username": "al", "password": "s3cret", "access_token": "s3cret"}, "al", "s3cret"},
		"token only": {map[string]string{"access_token": "t0ken"}, "t0ken", ""}, "name and token": {map[string]string{"username": "oauth2", "access_token": "t0ken"}, "oauth2", "t0ken"},
		"nothing": {map[string]string{}, "", ""},
	} {
		p.answers(test.body)
		got, err := Ask(t.Context(), directory, "https://github.com/a/b?c=d&e")
		if (test.user == "") != errors.Is(err, ErrNone) || got.Username != test.user || string(got.Password) != test.password {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if match := *p.match.Load(); match != "https://github.com/a/b?c=d&e" {
			t.Errorf("asked for %q", match)
		}
		if text := fmt.Sprintf("%v %+v", got, got); test.password != "" && strings.Contains(text, test.password) {
			t.Errorf("the password prints: %s", text)
		}
	}
	p.status.Store(http.StatusNotFound)
	if _, err := Ask(t.Context(), directory, "https://x"); !errors.Is(err, ErrNone) {
		t.Error(err)
	}
	p.status.Store(http.StatusInternalServerError)
	if _, err := Ask(t.Context(), directory, "https://x"); err == nil || errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "500") {
		t.Error(err)
	}
	if _, err := Ask(t.Context(), t.TempDir(), "https://x"); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("no agent: %v", err)
	}
	if strings.Contains(log.String(), "s3cret") || strings.Contains(log.String(), token) {
		t.Error("a secret in the log")
	}
}

func TestReadPrompt(t *testing.T) {
	for prompt, want := range map[string]Question{
		"Username for 'https://github.com': ":                {false, "https://github.com"},
		"Password for 'https://al@github.com:8443/a/b.git':": {true, "https://github.com:8443/a/b.git"},
		"Password for 'https://al:s3cret@h': ":               {true, "https://h"},
		"Enter passphrase for key '/home/al/.ssh/id': ":      {}, "Username for 'ssh://h': ": {}, "Username for https://h: ": {}, "Password for 'http://al@h:8443': ": {}, "Password for ''": {}, "": {}, "Username for '": {},
	} {
		got, ours := ReadPrompt(prompt)
		if got != want || ours != (want.URL != "") {
			t.Errorf("%q: %+v, %v", prompt, got, ours)
		}
	}
}

func FuzzReadPrompt(f *testing.F) {
	f.Add("Username for 'https://github.com': ")
	f.Add("Password for 'https://a:b@h/c': ")
	f.Fuzz(func(t *testing.T, prompt string) {
		if question, ours := ReadPrompt(prompt); ours {
			target, err := url.Parse(question.URL)
			if err != nil || target.User != nil || target.Host == "" {
				t.Errorf("%q: %+v, %v", prompt, question, err)
			}
		}
	})
}

// TestConnectionsAreBounded: one too many is closed at once, and leaves room again.
func TestConnectionsAreBounded(t *testing.T) {
	p := newPlane(t)
	_, private := newKey(t)
	p.answers(map[string]string{"private_key": private})
	directory, _, _ := start(t, p)
	var held []net.Conn
	defer func() {
		for _, conn := range held {
			conn.Close()
		}
	}()
	works := func() bool {
		conn, err := net.Dial("unix", filepath.Join(directory, KeySocket))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		_, err = agent.NewClient(conn).List()
		return err == nil
	}
	for range connections {
		if !works() {
			t.Fatalf("refused after %d", len(held))
		}
	}
	if works() {
		t.Error("no bound")
	}
	for _, conn := range held {
		conn.Close()
	}
	for deadline := time.Now().Add(10 * time.Second); !works(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no room again")
		}
	}
}
