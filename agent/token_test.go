package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTokenRedacted(t *testing.T) {
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("token", Token("s3cret")))
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", Token("s3cret"), struct{ T Token }{"s3cret"}, Token("s3cret"), Token("s3cret"), Token("s3cret")), log.String()} {
		if strings.Contains(text, "s3cret") {
			t.Errorf("it prints: %s", text)
		}
	}
}

func TestReadToken(t *testing.T) {
	for text, want := range map[string]error{
		" cwa_1\r\n": nil, "": errTokenEmpty, " \n": errTokenEmpty, "a b": errTokenForm, "a\x00": errTokenForm, "ä": errTokenForm,
		strings.Repeat("x", tokenLimit-1): nil, strings.Repeat("x", tokenLimit): errTokenForm, strings.Repeat("x", 10*tokenLimit): errTokenForm,
	} {
		token, err := ReadToken(strings.NewReader(text))
		if !errors.Is(err, want) || want == nil && string(token) != strings.TrimSpace(text) {
			t.Errorf("%.20q: %.20q, %v", text, string(token), err)
		}
	}
}

func FuzzReadToken(f *testing.F) {
	f.Add("cwa_1\n")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ReadToken(strings.NewReader(text))
		if (err == nil) == (token == "") || len(token) >= tokenLimit || strings.ContainsAny(string(token), " \r\n\x00") {
			t.Errorf("%q, %v", string(token), err)
		}
	})
}

// TestTokenAge: what is not a dial asks again after a minute, and goes on with the
// old token when there is no new one.
func TestTokenAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		token, fails := Token("one"), error(nil)
		source := &tokens{source: func(context.Context) (Token, error) { return token, fails }}
		if _, err := source.dial(t.Context()); err != nil || source.current() != "one" {
			t.Fatalf("%q, %v", string(source.current()), err)
		}
		token = "two"
		if got := source.recent(); got != "one" {
			t.Errorf("asked at once: %q", string(got))
		}
		time.Sleep(tokenAge + time.Second)
		if got := source.recent(); got != "two" {
			t.Errorf("old: %q", string(got))
		}
		time.Sleep(tokenAge + time.Second)
		fails = errors.New("away")
		if got := source.recent(); got != "two" {
			t.Errorf("without an answer: %q", string(got))
		}
		if _, err := source.dial(t.Context()); !errors.Is(err, ErrNoToken) {
			t.Errorf("a dial: %v", err)
		}
	})
}

// TestTokenRotates: a file with another token is read at the next dial; one that is
// not there is told once and looked for again, and costs an accepted agent nothing.
func TestTokenRotates(t *testing.T) {
	p := newPlane(t)
	path := filepath.Join(t.TempDir(), "token")
	put := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log lines
	connected := make(chan []string, 4)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	put(testToken + "\n")
	go func() {
		ended <- Run(ctx, Config{
			Logger: slog.New(slog.NewTextHandler(&log, nil)), URL: p.url, Token: TokenFile(path), StateDir: filepath.Join(t.TempDir(), "s"),
			Connected: func(names []string) { connected <- names },
		})
	}()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-connected
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p.down()
	dials := p.dials.Load()
	p.up()
	eventually(t, "word of the missing file", func() bool { return log.count(outageToken) == 1 })
	if p.dials.Load() != dials {
		t.Error("it dials without a token")
	}
	put(testToken)
	eventually(t, "the connection", func() bool { return log.count("control plane is back") == 1 })
	put("another-token")
	p.down()
	p.up()
	eventually(t, "the other token to be shown", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.shown == "another-token"
	})
	if log.count(outageToken) != 1 || log.count(testToken)+log.count("another-token") != 0 {
		t.Errorf("log:\n%s", log.text.String())
	}
}

// TestNoTokenAtFirst: an agent that was never accepted ends when there is no token.
func TestNoTokenAtFirst(t *testing.T) {
	p := newPlane(t)
	err := Run(t.Context(), Config{Logger: testLogger(), URL: p.url, Token: TokenFile("/causeway/absent"), StateDir: filepath.Join(t.TempDir(), "s")})
	if !errors.Is(err, ErrNoToken) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
