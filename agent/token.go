package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// tokenLimit is far above any token; it keeps a wrong file harmless.
	tokenLimit = 4096
	// tokenTime is how long a command may take for a token: as long as a dial may.
	tokenTime = 10 * time.Second
	// tokenGrace is how long its children may keep its output open after it.
	tokenGrace = time.Second
	// tokenAge is how long what is not a dial uses the token of the last time.
	tokenAge = time.Minute
)

// TokenVariable holds a token for the agent; what a token source runs does not
// get it.
const TokenVariable = "CAUSEWAY_AGENT_TOKEN"

// ErrNoToken means that the token source gives none.
var ErrNoToken = errors.New("there is no token")

// Token is the agent's secret. It never prints.
type Token string

func (Token) String() string { return "[redacted]" }

// GoString is what %#v shows.
func (Token) GoString() string { return "[redacted]" }

// LogValue keeps the token out of logs.
func (Token) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// TokenSource gives the token, and is asked at each dial, so that a token can
// change while the agent runs. Its errors never hold the token. It may be asked
// from several goroutines.
type TokenSource func(ctx context.Context) (Token, error)

// FixedToken is a source of one token.
func FixedToken(token Token) TokenSource {
	return func(context.Context) (Token, error) { return token, nil }
}

// TokenFile is a source that reads the file each time.
func TokenFile(path string) TokenSource {
	return func(context.Context) (Token, error) {
		file, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("read token: %w", err)
		}
		defer file.Close()
		token, err := ReadToken(file)
		if err != nil {
			return "", fmt.Errorf("read token of %s: %w", path, err)
		}
		return token, nil
	}
}

// TokenCommand is a source that runs a program, without a shell, and takes what
// it prints to its standard output. It has 10 s. Nothing that it prints is shown
// to anybody.
func TokenCommand(program string, arguments ...string) TokenSource {
	return func(ctx context.Context) (Token, error) {
		token, err := runTokenCommand(ctx, exec.Command(program, arguments...)) //nolint:noctx // its end is waited for below
		if err != nil {
			return "", fmt.Errorf("run token command %s: %w", program, err)
		}
		return token, nil
	}
}

func runTokenCommand(ctx context.Context, wanted *exec.Cmd) (Token, error) {
	if wanted.Err != nil {
		return "", wanted.Err
	}
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, wanted.Path, wanted.Args[1:]...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, TokenVariable+"=") })
	cmd.WaitDelay = tokenGrace
	output := &bounded{}
	cmd.Stdout = output
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("it was not done in time (%s at most)", tokenTime)
	case output.over:
		return "", errTokenForm // and not how the pipe's end ended it
	case err != nil:
		return "", err
	}
	return ReadToken(&output.data)
}

// bounded takes what a token may have. It has nothing of the buffer's but Write,
// for io.Copy prefers ReadFrom.
type bounded struct {
	data bytes.Buffer
	over bool
}

func (b *bounded) Write(data []byte) (int, error) {
	if b.data.Len()+len(data) > tokenLimit {
		b.over = true
		return 0, errTokenForm
	}
	return b.data.Write(data)
}

var (
	errTokenEmpty = errors.New("it is empty")
	errTokenForm  = errors.New("it holds characters that no token has, or too many")
)

// ReadToken reads a token with blanks around it.
func ReadToken(from io.Reader) (Token, error) {
	content, err := io.ReadAll(io.LimitReader(from, tokenLimit))
	token := strings.TrimSpace(string(content))
	switch {
	case err != nil:
		return "", err
	case token == "":
		return "", errTokenEmpty
	case len(token) >= tokenLimit || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }):
		return "", errTokenForm
	}
	return Token(token), nil
}

// tokens is a source with the token of the last time.
type tokens struct {
	source TokenSource

	mu    sync.Mutex
	last  Token
	asked time.Time
}

// ask asks the source.
func (t *tokens) ask(ctx context.Context) error {
	token, err := t.source(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoToken, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.asked = token, time.Now()
	return nil
}

// dial asks the source before a dial. There are no headers to add.
func (t *tokens) dial(ctx context.Context) (http.Header, error) { return nil, t.ask(ctx) }

// current is the token of the last time, at once.
func (t *tokens) current() Token {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// recent is the token of the last time, unless that was long ago; the one of long
// ago when the source gives none.
func (t *tokens) recent() Token {
	t.mu.Lock()
	old := time.Since(t.asked) > tokenAge
	t.mu.Unlock()
	if old {
		ctx, cancel := context.WithTimeout(context.Background(), tokenTime)
		defer cancel()
		_ = t.ask(ctx) // the next dial says why, if it still fails
	}
	return t.current()
}
